"""Takes personal data out of a text before it is stored, for good: a token stands where it was, and nothing leads back.

What is found: Chinese resident identity numbers, mobile and landline phones, e-mail addresses, bank cards, passports
and travel permits, number plates, IP addresses, unified social credit codes, and names and addresses where a word says
that one follows. Digits may be full-width or spaced. A name without such a word is not found: this is a net, no wall.

Written here because no library that reads Chinese personal data is among the locked packages.
"""

import ipaddress
import re
import unicodedata
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

from cluster.surnames import SURNAMES

# Where a wrong guess costs a word of a training text and a miss costs a person, the guess is made.
_BREAK: Final = r"[ \-.·]?"
_NO_DIGIT_BEFORE: Final = "(?<![0-9])"
_NO_DIGIT_AFTER: Final = "(?![0-9])"
_MAX_PASSES: Final = 10
_HAN: Final = "\u4e00-\u9fff"
# Full-width signs are ASCII by then.
_IS: Final = "[ ]?(?:[:=]|是|为|叫)[ ]?"

# The first two digits of an identity number: provinces, and residents from elsewhere.
_PROVINCES: Final = frozenset(
    f"{place}" for place in (*range(11, 16), *range(21, 24), *range(31, 38), *range(41, 47), *range(50, 55),
                             *range(61, 66), 71, 81, 82, 83, 91)
)  # fmt: skip
_PLATE_PLACES: Final = "京津沪渝冀豫云辽黑湘皖鲁新苏浙赣鄂桂甘晋蒙陕吉闽贵粤青藏川宁琼使"
# GB 32100-2015: 31 signs without I, O, S, V and Z, each place with a weight, modulo 31.
_CREDIT_SIGNS: Final = "0123456789ABCDEFGHJKLMNPQRTUWXY"
_CREDIT_WEIGHTS: Final = (1, 3, 9, 27, 19, 26, 16, 17, 20, 29, 25, 13, 8, 24, 10, 30, 28)
# Unicode has no decimal digit beyond it; a look at all its 1.1 million code points takes a tenth of a second.
_LAST_DIGIT: Final = 0x1FFFF
_NO_NAMES: Final = (
    "a an the not on in at no wrong also still missing misspelled spelled different listed written registered changed "
    "what is it this that unknown required"
)


class _Sign(NamedTuple):
    """One kind of personal data and how it is found."""

    token: str
    pattern: re.Pattern[str]
    is_meant: Callable[[str], bool] = lambda _: True
    """Whether what the pattern found is it; given without spaces and dashes."""


def masked(text: str) -> str:
    """The text with a token in place of each piece of personal data. Masking it again changes nothing."""
    # What stood right against another piece is seen only when that is gone. Once more is nearly always enough.
    for _ in range(_MAX_PASSES):
        fresh = _masked_once(text)
        if fresh == text:
            break
        text = fresh
    return text


def _masked_once(text: str) -> str:
    # The same number of characters, so that places agree.
    plain = text.translate(_PLAIN)
    spans = sorted(_spans(plain))
    parts: list[str] = []
    done = at = 0
    while at < len(spans):
        start, end, _ = spans[at]
        tokens = []
        # What overlaps is one piece, called by the strongest sign in it: no half of anything is left.
        while at < len(spans) and spans[at][0] < max(end, start + 1):
            end = max(end, spans[at][1])
            tokens.append(spans[at][2])
            at += 1
        parts += [text[done:start], f"[{_SIGNS[min(tokens)].token}]"]
        done = end
    return "".join([*parts, text[done:]])


def _spans(plain: str) -> Iterator[tuple[int, int, int]]:
    """Start, end and number of the sign of all that is found; they may overlap."""
    for number, sign in enumerate(_SIGNS):
        for found in sign.pattern.finditer(plain):
            start, end = found.span("it")
            if start < end and sign.is_meant(re.sub(r"[ \-.·]", "", plain[start:end])):
                yield start, end, number


# ---- what is what ---------------------------------------------------------------------------------------------------


def _is_identity(number: str) -> bool:
    """Whether place and birthday are possible. The check digit is not asked: a slip of the pen still names a person."""
    day = number[6:14] if len(number) == 18 else f"19{number[6:12]}"
    return (
        number[:2] in _PROVINCES
        and day[:2] in ("18", "19", "20")
        and 1 <= int(day[4:6]) <= 12
        and 1 <= int(day[6:8]) <= 31
    )


def _is_card(number: str) -> bool:
    """Luhn's check, which every bank card passes (ISO/IEC 7812-1)."""
    total = 0
    for place, digit in enumerate(reversed(number)):
        value = int(digit) * (1 + place % 2)
        total += value - 9 if value > 9 else value
    return total % 10 == 0 and len(set(number)) > 1


def _is_credit_code(code: str) -> bool:
    upper = code.upper()
    if any(sign not in _CREDIT_SIGNS for sign in upper):
        return False
    total = sum(_CREDIT_SIGNS.index(sign) * weight for sign, weight in zip(upper, _CREDIT_WEIGHTS, strict=False))
    return _CREDIT_SIGNS[-total % 31] == upper[17]


def _is_ipv6(address: str) -> bool:
    # A scope of C++ (`add::be`) is no address.
    if not any(sign.isdigit() for sign in address):
        return False
    try:
        ipaddress.IPv6Address(address)
    except ValueError:
        return False
    return True


def _spaced(first: str, *others: str) -> str:
    """Digits with at most one separator between any two."""
    return _BREAK.join((first, *others))


def _found(it: str, before: str = "", after: str = "") -> re.Pattern[str]:
    return re.compile(f"{before}(?P<it>{it}){after}", re.IGNORECASE)


def _digits(it: str) -> re.Pattern[str]:
    return _found(it, _NO_DIGIT_BEFORE, _NO_DIGIT_AFTER)


def _word(it: str) -> re.Pattern[str]:
    return _found(it, "(?<![0-9A-Za-z])", "(?![0-9A-Za-z])")


def _cued(words: str, it: str, between: str = _IS) -> re.Pattern[str]:
    return re.compile(rf"(?:{words}){between}(?P<it>{it})", re.IGNORECASE)


_D: Final = "[0-9]"
_SURNAME: Final = f"(?:{'|'.join(sorted(SURNAMES, key=len, reverse=True))})"
# A run of characters that ends is a name as it stands; in a longer one, two characters after the surname at most.
_CHINESE_NAME: Final = (
    rf"[{_HAN}]{{1,8}}(?:·[{_HAN}]{{1,8}})+|{_SURNAME}[{_HAN}]{{1,3}}(?![{_HAN}])|{_SURNAME}[{_HAN}]{{1,2}}"
)
_CAPITALS: Final = r"(?-i:[A-Z])[\w'’-]*(?:[ ](?-i:[A-Z])[\w'’.-]*){0,3}"
_LATIN_NAME: Final = rf"(?!(?:{'|'.join(_NO_NAMES.split())})\b)(?:{_CAPITALS}|[A-Za-z][A-Za-z'’-]+)"
_TO_THE_END: Final = r"[^\[\]\n,，。;；!！?？]{2,60}"
_PLACE: Final = rf"[{_HAN}0-9A-Za-z#\-]"
_IPV4_PART: Final = "(?:25[0-5]|2[0-4][0-9]|1?[0-9]?[0-9])"
_EMAIL: Final = r"[A-Za-z0-9._%+-]{1,256}@[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63}){1,8}"
_IDENTITY: Final = f"{_spaced(*[_D] * 17, f'(?:[0-9]{_NO_DIGIT_AFTER}|X)')}|{_spaced(*[_D] * 15)}{_NO_DIGIT_AFTER}"
_CARD: Final = (
    "[2-9][0-9]{12,18}|[2-9][0-9]{3}(?:[ -][0-9]{4}){2,3}(?:[ -][0-9]{1,7})?|3[0-9]{3}[ -][0-9]{6}[ -][0-9]{5}"
)
_MOBILE: Final = (
    rf"(?:(?:\+|00)?86{_BREAK})?(?:1[3-9][0-9]{_BREAK}[0-9]{{4}}{_BREAK}[0-9]{{4}}"
    rf"|1[3-9][0-9]{{2}}{_BREAK}[0-9]{{3}}{_BREAK}[0-9]{{4}}|1 [3-9](?: [0-9]){{9}})"
)
# With its area code, in brackets or not, and an extension.
_LANDLINE: Final = (
    rf"(?:\+?86{_BREAK})?(?:\(0[1-9][0-9]{{1,2}}\)|0[1-9][0-9]{{1,2}})[ -]{{0,2}}[2-9][0-9]{{2,3}}{_BREAK}[0-9]{{4}}"
    r"(?:(?:-|转|ext\.?)[ ]?[0-9]{1,5})?"
)
# Ordinary, service and diplomatic passports, and the permits for Hong Kong, Macao and Taiwan.
_PASSPORT: Final = "[EDSPG][0-9]{8}|[EC][A-HJ-NP-Z][0-9]{7}|[CHMWT][0-9]{8,10}|1[45][0-9]{7}"
_PLATE: Final = rf"[{_PLATE_PLACES}][ ]?[A-HJ-Z][ ·-]?[A-HJ-NP-Z0-9]{{4,5}}[A-HJ-NP-Z0-9挂学警港澳领]"

_ID_WORDS: Final = "身份证(?:号码?|件号码?)?|公民身份号码|id (?:card )?(?:no|number)"
_CARD_WORDS: Final = "银行卡号?|卡号|银行账[号户]|账号|帐号|(?:card|account) (?:no|number)"
_PHONE_WORDS: Final = "电话(?:号码)?|手机号?码?|联系方式|tel(?:ephone)?|phone(?: number)?"
_NAME_WORDS: Final = "姓名|名字|联系人|申请人|当事人|代表人|负责人|经办人|收件人|户主|我叫|名叫|本人"

# The strongest first.
_SIGNS: Final = (
    _Sign("email", _found(_EMAIL, before="(?<![A-Za-z0-9._%+-])")),
    _Sign("id", _found(_IDENTITY, _NO_DIGIT_BEFORE), _is_identity),
    _Sign("id", _cued(_ID_WORDS, "[0-9][0-9X ]{5,20}[0-9X]", f"(?:{_IS})?")),
    _Sign("company", _word("[0-9A-Y]{2}[0-9]{6}[0-9A-Y]{10}"), _is_credit_code),
    _Sign("company", _cued("统一社会信用代码|信用代码", "[0-9A-Z]{15,18}")),
    _Sign("card", _digits(_CARD), _is_card),
    _Sign("card", _cued(_CARD_WORDS, "[0-9][0-9 -]{6,26}[0-9]", f"(?:{_IS})?")),
    _Sign("phone", _digits(_MOBILE)),
    _Sign("phone", _digits(_LANDLINE)),
    # From abroad: with its country, or as in North America.
    _Sign("phone", _found(rf"\+[1-9]{_BREAK}(?:\(?[0-9]\)?{_BREAK}){{7,13}}[0-9]", after=_NO_DIGIT_AFTER)),
    _Sign("phone", _digits(r"(?:\([2-9][0-9]{2}\)|[2-9][0-9]{2})[-. ][0-9]{3}[-. ][0-9]{4}")),
    _Sign("phone", _cued(_PHONE_WORDS, "[0-9][0-9 -]{5,13}[0-9]", f"(?:{_IS})?")),
    _Sign("passport", _word(_PASSPORT)),
    _Sign("passport", _cued("护照号?码?|通行证号?码?|台胞证号?|passport (?:no|number)", "[A-Z0-9]{6,12}")),
    _Sign("plate", _found(_PLATE, after="(?![A-Za-z0-9])")),
    _Sign("ip", _found(rf"(?:{_IPV4_PART}\.){{3}}{_IPV4_PART}", before="(?<![0-9.])", after=r"(?![0-9])(?!\.[0-9])")),
    _Sign("ip", _found("[0-9A-F]{0,4}(?::[0-9A-F]{0,4}){2,8}", "(?<![0-9A-Z_:])", "(?![0-9A-Z_:])"), _is_ipv6),
    _Sign("name", _cued(_NAME_WORDS, _CHINESE_NAME, f"(?:{_IS})?")),
    _Sign("name", _cued(r"\bmy (?:full )?name(?: is|'s|’s)|\bi am called|\bcall me", _LATIN_NAME, "[ ]")),
    _Sign("name", _cued(r"\bname|\bcontact|姓名|联系人", _CAPITALS)),
    _Sign("name", _cued(r"\b(?-i:Mr|Mrs|Ms|Miss|Dr)\.?", _CAPITALS, "[ ]")),
    _Sign("address", _cued("地址|住址|户籍所?在?地|户口所在地", _TO_THE_END)),
    # Without a colon only what has a number in it: "住在养老院的老人" names nobody's home.
    _Sign("address", _cued("家住|住在|现住|居住[在于]", f"{_PLACE}{{2,40}}?[0-9]+{_PLACE}{{0,20}}", "[ :]?")),
    _Sign("address", _cued(r"\baddress|\bi live at", r"[^\[\]\n;。；]{4,80}", r"(?:[ ]?[:=]|[ ]is)?[ ]")),
)  # fmt: skip


def _plain_signs() -> dict[int, str]:
    """Every digit of any script, full-width sign and invisible character as the ASCII one that it looks like."""
    signs = {code: chr(code - 0xFEE0) for code in range(0xFF01, 0xFF5F)}
    signs |= dict.fromkeys(map(ord, "\u3000\u00a0\u2002\u2003\u2009\u200b\u200c\u200d\u2060\ufeff\t"), " ")
    signs |= dict.fromkeys(map(ord, "\u2010\u2011\u2012\u2013\u2014\u2212"), "-")
    signs |= dict.fromkeys(map(ord, "\u2022\u30fb"), "·")
    for code in range(0x80, _LAST_DIGIT + 1):
        digit = unicodedata.decimal(chr(code), None)
        if digit is not None:
            signs[code] = str(digit)
    return signs


_PLAIN: Final = _plain_signs()
