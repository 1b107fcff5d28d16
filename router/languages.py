"""Which natural languages a text is written in, as far as its scripts tell."""

import re

# Ranges of letters only. The Japanese ones leave out the middle dot (U+30FB), which Chinese uses in foreign names.
_HAN = re.compile("[\u2e80-\u2fd5\u3007\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]")
_LATIN = re.compile("[A-Za-z\uff21-\uff3a\uff41-\uff5a\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u024f\u1e00-\u1eff]")
_GREEK = "\u0370-\u03ff\u1f00-\u1fff"
_OTHERS = {
    "ja": re.compile("[\u3041-\u3096\u30a1-\u30fa\u31f0-\u31ff\uff66-\uff9d]"),
    "ko": re.compile("[\u1100-\u11ff\u3131-\u318e\uac00-\ud7a3\uffa1-\uffdc]"),
    "ru": re.compile("[\u0400-\u052f]"),
    "ar": re.compile("[\u0620-\u064a\u066e-\u06d3\u0750-\u077f\ufb50-\ufdff\ufe70-\ufefc]"),
    "th": re.compile("[\u0e01-\u0e30\u0e40-\u0e46]"),
    # One or two Greek letters are a formula (pi, alpha beta), not Greek.
    "el": re.compile(f"[{_GREEK}]{{3}}"),
    "he": re.compile("[\u05d0-\u05ea]"),
    "hi": re.compile("[\u0904-\u0939\u0958-\u0961]"),
}
# Nearly every text is Chinese or English: one look says that none of the other scripts needs a search of its own. To
# eat what is not theirs takes half the time of a search for what is.
_FORMULA = f"[{_GREEK}]{{1,2}}(?![{_GREEK}])"
_WESTERN = re.compile(f"(?:[\x00-\u036f\u2000-\u2e7f]++|{_FORMULA})*+")
_WESTERN_OR_CHINESE = re.compile(
    "(?:[\x00-\u036f\u1200-\u1eff\u2000-\u3040\u3097-\u30a0\u30fb-\u3130\u318f-\u31ef\u3200-\uabff\ud7a4-\ufb4f"
    f"\ufe00-\ufe6f\ufefd-\uff65\uff9e-\uffa0\uffdd-\U0010ffff]++|{_FORMULA})*+"
)
_NONE: frozenset[str] = frozenset()
_EN = frozenset({"en"})
_ZH = frozenset({"zh"})


def languages_of(*texts: str) -> frozenset[str]:
    """Name the languages (ISO 639-1) that a model must know to read all of `texts`.

    Scripts are all that is looked at: Latin letters count as `en`, for French or Vietnamese cannot be told from
    English by letters; Cyrillic counts as `ru`, Arabic as `ar`, Devanagari as `hi`. A single Han character asks for
    `zh`, or for `ja` where kana stand beside it. Latin letters beside Chinese or Japanese add nothing: names and
    codes are everywhere. A text without letters needs no language.
    """
    has_latin = has_han = False
    others: set[str] = set()
    for text in texts:
        if not (text.isascii() or _WESTERN.fullmatch(text)):
            has_han = has_han or _HAN.search(text) is not None
            if not _WESTERN_OR_CHINESE.fullmatch(text):
                others.update([code for code, letters in _OTHERS.items() if letters.search(text)])
        # Beside Han letters the Latin ones do not count.
        has_latin = has_latin or has_han or _LATIN.search(text) is not None
    if not others:
        return _ZH if has_han else _EN if has_latin else _NONE
    if "ja" not in others and (has_han or has_latin):
        others.add("zh" if has_han else "en")
    return frozenset(others)
