"""What each character is to the judge: three tables over Unicode's first plane, made once when the process starts.

Texts come folded (`router.fold`): one width, one case. Characters beyond the first plane (emoji, rare Han) count as
one.
"""

from enum import IntEnum
from typing import Final

import numpy as np
from opencc import OpenCC

PLANE: Final = 1 << 16
BEYOND: Final = 0xD800
"""Half a surrogate pair, which stands in no well-formed text: the place of everything beyond the plane."""
NEWLINE: Final = 10
_HAN_CODES: Final = range(0x3400, 0xA000)


class Kind(IntEnum):
    """Kinds of characters, as far as they tell a question's difficulty in any language."""

    OTHER = 0
    SPACE = 1
    NEWLINE = 2
    DIGIT = 3
    LETTER = 4
    HAN = 5
    COMMA = 6
    STOP = 7
    QUESTION = 8
    BRACKET = 9
    MATH = 10
    MONEY = 11
    COLON = 12
    QUOTE = 13


_MARKS: Final = {
    Kind.NEWLINE: "\n",
    Kind.COMMA: ",;、",
    Kind.STOP: ".!。",
    Kind.QUESTION: "?",
    Kind.BRACKET: "()[]{}<>【】《》「」『』",
    Kind.MATH: "+-*/=^_|~%\\&#√∑∏∫∞≈≠≤≥±×÷−∈∪∩",
    Kind.MONEY: "$€£¥",
    Kind.COLON: ":",
    Kind.QUOTE: "'\"`‘’“”",
}


def _kinds() -> np.ndarray:
    kinds = np.zeros(PLANE, np.uint16)
    for code in range(PLANE):
        char = chr(code)
        if char.isspace():
            kinds[code] = Kind.SPACE
        elif char.isdigit():
            kinds[code] = Kind.DIGIT
        elif char.isalpha():
            kinds[code] = Kind.HAN if 0x2E80 <= code < 0xA000 or 0xF900 <= code < 0xFB00 else Kind.LETTER
    for kind, marks in _MARKS.items():
        kinds[[ord(mark) for mark in marks]] = kind
    return kinds


def _mixed(codes: np.ndarray) -> np.ndarray:
    """Numbers without a pattern for numbers in order (the finishing step of MurmurHash3)."""
    codes = codes ^ (codes >> np.uint32(16))
    codes = codes * np.uint32(0x85EBCA6B)
    codes = codes ^ (codes >> np.uint32(13))
    codes = codes * np.uint32(0xC2B2AE35)
    mixed: np.ndarray = codes ^ (codes >> np.uint32(16))
    return mixed


def _hashes() -> np.ndarray:
    simplified = np.arange(1, PLANE + 1, dtype=np.uint32)
    # A line each: beside another character one might be turned as a part of a word.
    forms = OpenCC("t2s").convert("\n".join(map(chr, _HAN_CODES))).split("\n")
    for code, simple in zip(_HAN_CODES, forms, strict=True):
        if len(simple) == 1 and ord(simple) < PLANE:
            simplified[code] = ord(simple) + 1
    return _mixed(simplified)


KIND: Final = _kinds()
"""The `Kind` of each character."""
HASH: Final = _hashes()
"""One number per character; traditional characters have their simplified form's."""
