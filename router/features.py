"""Folds what must not change the choice: width, case, spaces, courtesies. By compiled patterns and `str` methods.

`router.fold` does the same for what is not rare.
"""

import re
import unicodedata
from typing import Any

import numpy as np

from router.scan import WINDOW_CHARS

Points = np.ndarray[Any, np.dtype[np.uint32]]

# The full-width marks of ordinary Chinese. Unicode's own folding (NFKC) of a whole text costs 55 microseconds, so it is
# kept for the rare characters that are left over.
_MARKS = (("，", ","), ("：", ":"), ("；", ";"), ("？", "?"), ("！", "!"), ("（", "("), ("）", ")"))
_RARE = "[\u00a0\u2000-\u200d\u202f\u205f\u2460-\u24ff\u3000\ufb00-\ufb06\ufeff\uff00-\uffef]"
# Not `[...]+`: only before a pattern that starts with a single character does the engine skip quickly.
_WIDE = re.compile(f"{_RARE}{_RARE}*")
# Most of Chinese and its signs: neither wide nor in capitals, so that there is nothing to fold. To eat what matches
# takes half the time of a search for what does not.
_FOLDED = re.compile(
    "[\\x00-@\\[-\x9f\xa1-\xbf\xd7\xf7\u200e-\u202e\u2030-\u205e\u2190-\u245f\u2500-\u2bff\u3001-\ua63f"
    "\U0001f300-\U0001faff\U00020000-\U0003ffff]*+"
)
_WITHOUT_HAN = re.compile("[\x00-\u2e7f]*+")
# A run of blanks with a wide character on either side. To skip to one character is five times as fast as to skip to
# one of two, and tabs are rare.
_AFTER_BLANK = "(?:(?<=[\u2e80-\uffff][ \t])[ \t]*|[ \t]*(?=[\u2e80-\uffff]))"
_SPACES_BESIDE_HAN = re.compile(" " + _AFTER_BLANK)
_BLANKS_BESIDE_HAN = re.compile("[ \t]" + _AFTER_BLANK)
_POLITE_HEAD = re.compile(
    r"(?:[\s,.!:;。、~]+|"
    r"(?:尊敬的)?(?:工作人员|工作人員)|[您你][们們]?好|早上好|下午好|晚上好|大家好|打扰了?|打擾了?|不好意思|劳驾|勞駕|"
    r"(?:能不能|可不可以|可以|能)?(?:麻烦|麻煩|拜托|拜託)[您你]?|"
    r"我?想?(?:请|請)(?:问一下|問一下|教一下|问|問|教|您|你)?|(?:帮|幫)(?:我|忙)|"
    r"(?:hello|hi|hey|dear (?:sir|madam|assistant|all)|good (?:morning|afternoon|evening)|"
    r"sorry|excuse me|please|kindly|(?:could|can|would|will) you (?:please |kindly )?(?:(?:help me|tell me)\b)?|"
    r"i(?: would|'d) like to (?:ask|know)|would you mind|i have a question)\b)+"
)
_POLITE_TAIL = re.compile(
    r"(?:[\s,.!。、~]*(?:(?:非常|十分)?(?:谢谢|謝謝|多谢|多謝|感谢|感謝)(?:[您你]|了|啦)?|麻烦[您你]?了?|辛苦[您你]?了?|"
    r"\bplease|\b(?:many )?thanks(?: a lot| in advance)?|\bthank you(?: very much| so much| in advance)?)[\s,.!。~]*)+$"
)
# Most questions end otherwise, which is told at once.
_ENDS_OF_THANKS = ("谢", "謝", "您", "你", "了", "啦", "苦", "please", "thanks", "lot", "advance", "you", "much")
_MARKS_AT_END = " ,.!。~\t\r\n"
# Thanks longer than this are a message of their own.
_TAIL_CHARS = 60


def normalised(text: str) -> str:
    """Fold what must not change the choice: width, case, spaces, and courtesies at both ends."""
    if len(text) > 2 * WINDOW_CHARS:
        text = f"{text[:WINDOW_CHARS]}\n{text[-WINDOW_CHARS:]}"
    text = (text.lower() if text.isascii() else _folded(text)).strip()
    text = text[_length_of_head(text) :]
    if not text.rstrip(_MARKS_AT_END).endswith(_ENDS_OF_THANKS):
        return text
    if tail := _POLITE_TAIL.search(text, max(0, len(text) - _TAIL_CHARS)):
        text = text[: tail.start()]
    return text


def _folded(text: str) -> str:
    for wide, narrow in _MARKS:
        text = text.replace(wide, narrow)
    is_folded = _FOLDED.fullmatch(text)
    if not is_folded:
        text = _WIDE.sub(_narrow, text)
    if " " in text and not _WITHOUT_HAN.fullmatch(text):
        text = (_BLANKS_BESIDE_HAN if "\t" in text else _SPACES_BESIDE_HAN).sub("", text)
    return text if is_folded else text.lower()


def _narrow(wide: re.Match[str]) -> str:
    return unicodedata.normalize("NFKC", wide[0])


def _length_of_head(text: str) -> int:
    head = _POLITE_HEAD.match(text)
    return head.end() if head else 0


def points_of(text: str) -> Points:
    """A text as the compiled steps want it: its code points."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
