"""The shape of a question, compiled: how long it is and what characters it is made of, without reading a word.

Nothing here belongs to one language, so that it carries over to kinds of questions that no judge was trained on.
"""

from math import log1p
from typing import Final

import numpy as np

from router.characters import BEYOND, PLANE, Kind
from router.compiled import njit, types

SHAPES: Final = (
    "words", "numbers", "long_numbers", "formulas", "sentences", "questions", "clauses", "brackets", "money", "lines",
    "quotes", "colons", "long_words", "chinese", "digits_ratio", "formulas_ratio", "lines_ratio", "clauses_ratio",
    "very_long", "very_short", "numbers_in_much_text", "asks", "has_numbers", "has_money", "has_chinese",
)  # fmt: skip
"""Names of the numbers in a row of `shape`."""

# One Chinese character carries about 0.6 of an English word.
_WORDS_PER_HAN: Final = 0.6
# On the scale of log(1 + words): 54 and 19 words.
_VERY_LONG: Final = 4.0
_VERY_SHORT: Final = 3.0
_KINDS: Final = len(Kind)
# Plain numbers, which the compiler takes for constants.
(
    _, _SPACE, _NEWLINE, _DIGIT, _LETTER, _HAN, _COMMA, _STOP, _QUESTION, _BRACKET, _MATH, _MONEY, _COLON, _QUOTE,
) = (int(kind) for kind in Kind)  # fmt: skip

POINTS: Final = types.Array(types.uint32, 1, "C", readonly=True)
KINDS: Final = types.Array(types.uint16, 1, "C", readonly=True)


@njit(types.void(POINTS, KINDS, types.float64[::1]), cache=True)
def shape(text, kinds, row):  # type: ignore[no-untyped-def]
    """Write the shape of a folded text (code points) into `row`, in the order of `SHAPES`. `kinds` is `KIND`."""
    counts = np.zeros(_KINDS, np.float64)
    numbers, words = 0.0, 0.0
    before = _NEWLINE
    size = len(text)
    for place in range(size):
        kind = kinds[text[place] if text[place] < PLANE else BEYOND]
        counts[kind] += 1
        if kind != before:
            if kind == _DIGIT:
                numbers += 1
            elif kind == _LETTER:
                words += 1
            before = kind
    all_words = words + _WORDS_PER_HAN * counts[_HAN]
    length, quantity, chars = log1p(all_words), log1p(numbers), max(1.0, float(size))
    row[0] = length
    row[1] = quantity
    row[2] = log1p(counts[_DIGIT]) - quantity
    row[3] = log1p(counts[_MATH])
    row[4] = log1p(counts[_STOP])
    row[5] = log1p(counts[_QUESTION])
    row[6] = log1p(counts[_COMMA])
    row[7] = log1p(counts[_BRACKET])
    row[8] = log1p(counts[_MONEY])
    row[9] = log1p(counts[_NEWLINE])
    row[10] = log1p(counts[_QUOTE])
    row[11] = log1p(counts[_COLON])
    row[12] = counts[_LETTER] / max(1.0, words)
    row[13] = counts[_HAN] / chars
    row[14] = counts[_DIGIT] / chars
    row[15] = counts[_MATH] / chars
    row[16] = counts[_NEWLINE] / chars
    row[17] = (counts[_COMMA] + counts[_STOP]) / max(1.0, all_words)
    row[18] = max(0.0, length - _VERY_LONG)
    row[19] = max(0.0, _VERY_SHORT - length)
    row[20] = quantity * length
    row[21] = 1.0 if counts[_QUESTION] > 0 else 0.0
    row[22] = 1.0 if numbers > 0 else 0.0
    row[23] = 1.0 if counts[_MONEY] > 0 else 0.0
    row[24] = 1.0 if counts[_HAN] > 0 else 0.0
