"""The hashed n-grams of a question, compiled: runs of one to four characters, words, and pairs of words.

Each falls into one of 2**18 buckets; with so many, few that matter share one. An n-gram that stands there c times
counts as the root of c: the second occurrence tells less than the first.
"""

from typing import Final

import numpy as np

from router.characters import BEYOND, HASH, KIND, NEWLINE, PLANE, Kind
from router.compiled import njit, types
from router.shape import KINDS, POINTS

BUCKET_BITS: Final = 18
BUCKETS: Final = 1 << BUCKET_BITS
VERSION: Final = 1
"""Raised whenever the same text would fall into other buckets: a judge trained for another version is useless."""

_SHIFT: Final = 32 - BUCKET_BITS
_STEP: Final = np.uint32(0x9E3779B1)
_WORD_STEP: Final = np.uint32(0x85EBCA6B)
_SPREAD: Final = np.uint32(0xC2B2AE35)
_DIGIT, _LETTER = int(Kind.DIGIT), int(Kind.LETTER)
# An occurrence after the 255th adds nothing that could be seen.
_COUNTED: Final = 255
# What the first, the second, ... occurrence adds.
_STEPS: Final = np.diff(np.sqrt(np.arange(_COUNTED + 1))).astype(np.float32)

_U32: Final = types.Array(types.uint32, 1, "C", readonly=True)
_WEIGHTS: Final = types.Array(types.int16, 2, "C", readonly=True)


@njit(types.int64(POINTS, _U32, KINDS, types.uint32[::1]), cache=True)
def _buckets(text, hashes, kinds, out):  # type: ignore[no-untyped-def]
    """Write the bucket of each n-gram into `out`, with a line's end before and behind the text; tell how many."""
    found = 0
    one, two, three = np.uint32(0), np.uint32(0), np.uint32(0)
    word, last_word = np.uint32(0), np.uint32(0)
    size = len(text)
    for place in range(-1, size + 1):
        point = text[place] if 0 <= place < size else np.uint32(NEWLINE)
        if point >= PLANE:
            point = np.uint32(BEYOND)
        code = hashes[point]
        out[found] = code >> _SHIFT
        found += 1
        if place >= 0:
            pair = np.uint32(one * _STEP + code)
            out[found] = pair >> _SHIFT
            found += 1
            if place >= 1:
                triple = np.uint32(two * _STEP + code)
                out[found] = triple >> _SHIFT
                found += 1
                if place >= 2:
                    out[found] = np.uint32(three * _STEP + code) >> _SHIFT
                    found += 1
                three = triple
            two = pair
        one = code
        kind = kinds[point]
        if kind in (_LETTER, _DIGIT):
            word = np.uint32((word ^ code) * _WORD_STEP + np.uint32(1))
        elif word != 0:
            out[found] = np.uint32(word * _SPREAD) >> _SHIFT
            found += 1
            if last_word != 0:
                out[found] = np.uint32((last_word * _WORD_STEP + word) * _SPREAD) >> _SHIFT
                found += 1
            last_word, word = word, np.uint32(0)
    return found


@njit(types.UniTuple(types.float64, 2)(POINTS, _U32, KINDS, _WEIGHTS, types.uint8[::1], types.uint32[::1]), cache=True)
def weigh(text, hashes, kinds, weights, counts, pad):  # type: ignore[no-untyped-def]
    """The two heads' sums over all n-grams, in units of `weights`.

    `counts`, one for each bucket, is zero before and after; `pad` has `pad_places` for the text's length.
    """
    found = _buckets(text, hashes, kinds, pad)
    small, large = 0.0, 0.0
    for place in range(found):
        bucket = pad[place]
        times = counts[bucket]
        if times < _COUNTED:
            counts[bucket] = times + 1
            small += _STEPS[times] * weights[bucket, 0]
            large += _STEPS[times] * weights[bucket, 1]
    for place in range(found):
        counts[pad[place]] = 0
    scale = 1 / np.sqrt(float(found))
    return small * scale, large * scale


def pad_places(chars: int) -> int:
    """Places for the n-grams of a text of so many characters: four a character, and two a word of at least one."""
    return 6 * (chars + 2)


def buckets_of(points: np.ndarray) -> np.ndarray:
    """The bucket of each n-gram, repetitions included."""
    pad = np.empty(pad_places(len(points)), np.uint32)
    return pad[: _buckets(points, HASH, KIND, pad)]
