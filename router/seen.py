"""Whether a question is unlike anything that the judge was trained on: most of its runs of characters are new to it.

A run is two characters where one of them is Chinese, and else three: short enough that ordinary questions about
anything are made of known ones, long enough that other languages, ciphers and noise are not.
"""

from collections.abc import Iterable
from typing import Final

import numpy as np

from router.characters import BEYOND, HASH, KIND, PLANE, Kind
from router.compiled import njit, types
from router.shape import KINDS, POINTS

SEEN_BITS: Final = 19
"""A place for each of 2**19 runs, 64 KB in all; a quarter of them is taken by what stands in the public sets."""
SEEN_BYTES: Final = 1 << (SEEN_BITS - 3)

# From that share of unknown runs on a question is unlike anything seen. Chinese has so many runs that a fifth of an
# everyday question is new; in English next to none is.
_MOST_HAN_RATIO: Final = 0.6
_MOST_OTHERS_RATIO: Final = 0.35
# In a few words a name or two would do.
_MIN_CHARS: Final = 20
# A run of one text only may be its author's slip.
_MIN_TEXTS: Final = 2
# Whoever has seen less than 33,000 runs (some thousands of rows) would call everything strange.
_MIN_SEEN_RATIO: Final = 1 / 16

_SHIFT: Final = 32 - SEEN_BITS
_STEP: Final = np.uint32(0x9E3779B1)
_HAN: Final = int(Kind.HAN)
_U32: Final = types.Array(types.uint32, 1, "C", readonly=True)
_U8: Final = types.Array(types.uint8, 1, "C", readonly=True)


@njit(types.int64(POINTS, _U32, KINDS, types.uint32[::1]), cache=True)
def _runs(text, hashes, kinds, out):  # type: ignore[no-untyped-def]
    """Write the place of each run into `out`, twice that and 1 more if it is Chinese; tell how many."""
    one, two = np.uint32(0), np.uint32(0)
    was_han = False
    found = 0
    for place in range(len(text)):
        point = text[place] if text[place] < PLANE else np.uint32(BEYOND)
        pair, triple = np.uint32(one * _STEP + hashes[point]), np.uint32(two * _STEP + hashes[point])
        one, two = hashes[point], pair
        is_han = kinds[point] == _HAN
        if place > 1:
            is_chinese = is_han or was_han
            out[found] = ((pair if is_chinese else triple) >> _SHIFT) << 1 | is_chinese
            found += 1
        was_han = is_han
    return found


@njit(types.boolean(POINTS, _U32, KINDS, _U8, types.uint32[::1]), cache=True)
def is_strange(text, hashes, kinds, seen, pad):  # type: ignore[no-untyped-def]
    """Whether a folded text (code points) is unlike anything that the judge was trained on.

    `seen` has a bit for each run that was; empty, nothing is strange. `pad` is as long as the text.
    """
    if len(seen) == 0 or len(text) < _MIN_CHARS:
        return False
    found = _runs(text, hashes, kinds, pad)
    unknown, chinese = 0, 0
    for place in range(found):
        run = pad[place] >> 1
        unknown += 1 - ((seen[run >> 3] >> (run & 7)) & 1)
        chinese += pad[place] & 1
    return unknown > _MOST_HAN_RATIO * chinese + _MOST_OTHERS_RATIO * (found - chinese)


def seen_in(texts: Iterable[np.ndarray]) -> np.ndarray:
    """The bits of all runs in folded texts (code points), for a judge that is trained on them; empty if too few."""
    counts = np.zeros(1 << SEEN_BITS, np.uint8)
    for points in texts:
        out = np.empty(len(points), np.uint32)
        found = np.unique(out[: _runs(points, HASH, KIND, out)] >> 1)
        counts[found] = np.minimum(counts[found], 254) + 1
    is_seen = counts >= _MIN_TEXTS
    return np.packbits(is_seen[: is_seen.size * (is_seen.mean() >= _MIN_SEEN_RATIO)], bitorder="little")
