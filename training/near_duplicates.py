"""Which training texts nearly stand in the held-out part: found exactly, and without comparing each with each.

Two texts are near if the Jaccard similarity of their sets of three characters in a row is at least a threshold
(Broder, "On the resemblance and containment of documents", 1997; the threshold of 0.8 as in Lee et al., "Deduplicating
training data makes language models better", 2022). Sets that are so alike share one of their rarest members, so that
only texts under such a member are compared (Chaudhuri, Ganti and Kaushik, "A primitive operator for similarity joins in
data cleaning", 2006; Bayardo, Ma and Srikant, "Scaling up all pairs similarity search", 2007).

What stands in more than half of the held-out texts is a form that all are written in, and counts for nothing: else all
questions under one long instruction were near.
"""

import math
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

THRESHOLD: Final = 0.8
MIN_TEXTS_FOR_FORM: Final = 10
"""Of fewer held-out texts half is no habit."""

_SPACE: Final = re.compile(r"\s+")
# A code point has 21 bits: three fit into 64, so that a number stands for one shingle only.
_BITS: Final = 21
# Compared at a time: enough for numpy, few enough to stop early.
_BLOCK: Final = 512

_Numbers = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Near:
    """The first held-out text that a training text is near to."""

    held_out: int
    """Its place."""
    similarity: float


def plain(text: str) -> str:
    """A text without what makes no difference: width and case of letters, and how much space is between them."""
    return _SPACE.sub(" ", unicodedata.normalize("NFKC", text).casefold()).strip()


def near_duplicates(
    train: Sequence[str], held_out: Sequence[str], threshold: float = THRESHOLD
) -> tuple[Near | None, ...]:
    """For each training text the first held-out one that is near to it. Texts are taken as `plain` leaves them."""
    whole = {text: place for place, text in reversed(list(enumerate(held_out)))}
    index = _Index(held_out, threshold)
    known: dict[str, Near | None] = {}
    for text in train:
        if text not in known:
            exact = whole.get(text)
            near = index.near(text)
            if exact is not None and (near is None or exact <= near.held_out):
                near = Near(exact, 1.0)
            known[text] = near
    return tuple(known[text] for text in train)


def shingles(text: str) -> _Numbers:
    """The numbers of all three characters in a row, sorted, each once; a text of one character has three."""
    # A lone surrogate cannot come so far, and would be a character like any other.
    signs = np.frombuffer(f"\0\0{text}\0\0".encode("utf-32-le", "surrogatepass"), dtype="<u4").astype(np.int64)
    return np.unique(signs[:-2] << 2 * _BITS | signs[1:-1] << _BITS | signs[2:])


class _Index:
    """Held-out texts under their rarest shingles."""

    def __init__(self, texts: Sequence[str], threshold: float) -> None:
        self._threshold = threshold
        sets = [shingles(text) for text in texts]
        joined = np.concatenate(sets) if sets else np.zeros(0, np.int64)
        self._vocabulary, members, counts = np.unique(joined, return_inverse=True, return_counts=True)
        self._is_form = counts > len(texts) / 2 if len(texts) >= MIN_TEXTS_FOR_FORM else np.zeros(counts.size, bool)
        # Numbered anew from the rarest to the most frequent: a set's first ones are then the best to look under.
        self._rank = np.empty(counts.size, np.int64)
        self._rank[np.argsort(counts, kind="stable")] = np.arange(counts.size)
        ends = np.cumsum([part.size for part in sets])
        self._sets = [
            np.sort(self._rank[part[~self._is_form[part]]])
            for part in (np.split(members, ends[:-1]) if sets else [])
        ]  # fmt: skip
        self._sizes = np.array([part.size for part in self._sets], np.int64)
        self._flat = np.concatenate(self._sets) if sets else joined
        self._starts = np.concatenate(([0], np.cumsum(self._sizes)))
        self._is_member = np.zeros(counts.size, bool)
        self._list_by_shingle(counts.size)

    def _list_by_shingle(self, shingle_count: int) -> None:
        """Texts under each shingle that is among the first of theirs."""
        firsts = [part[: self._prefix(part.size)] for part in self._sets]
        keys = np.concatenate(firsts) if firsts else np.zeros(0, np.int64)
        places = np.repeat(np.arange(len(firsts)), [part.size for part in firsts])
        order = np.argsort(keys, kind="stable")
        self._listed = places[order]
        self._lists = np.searchsorted(keys[order], np.arange(shingle_count + 1))

    def _prefix(self, size: int) -> int:
        """So many of a set's rarest members: any set that is near has one of its own so many among them."""
        return size - math.ceil(self._threshold * size - 1e-9) + 1 if size else 0

    def near(self, text: str) -> Near | None:
        """The first text that is near."""
        if not self._sets or not self._vocabulary.size:
            return None
        found = shingles(text)
        at = np.minimum(np.searchsorted(self._vocabulary, found), self._vocabulary.size - 1)
        is_known = self._vocabulary[at] == found
        known = at[is_known]
        known = np.sort(self._rank[known[~self._is_form[known]]])
        unknown = int(found.size - np.count_nonzero(is_known))
        size = known.size + unknown
        # Those that no held-out text has are the rarest of all; nothing is listed under them.
        looked_under = known[: max(0, self._prefix(size) - unknown)]
        if not looked_under.size:
            return None
        lists = [self._listed[self._lists[one] : self._lists[one + 1]] for one in looked_under.tolist()]
        candidates = np.unique(np.concatenate(lists))
        sizes = self._sizes[candidates]
        fits = (sizes >= self._threshold * size - 1e-9) & (size >= self._threshold * sizes - 1e-9)
        return self._first(known, size, candidates[fits])

    def _first(self, known: _Numbers, size: int, candidates: _Numbers) -> Near | None:
        self._is_member[known] = True
        try:
            for start in range(0, candidates.size, _BLOCK):
                block = candidates[start : start + _BLOCK]
                sizes = self._sizes[block]
                begins = np.cumsum(sizes) - sizes
                # The places of all members of all these sets, one after the other.
                members = np.arange(int(sizes.sum())) + np.repeat(self._starts[block] - begins, sizes)
                shared = np.add.reduceat(self._is_member[self._flat[members]].astype(np.int64), begins)
                similarity = shared / (size + sizes - shared)
                near = np.flatnonzero(similarity >= self._threshold - 1e-9)
                if near.size:
                    return Near(int(block[near[0]]), float(similarity[near[0]]))
        finally:
            self._is_member[known] = False
        return None
