"""Cue words and features as the compiled scan wants them: small arrays, made once when the process starts."""

from typing import Final

import numpy as np

from router.words import CUES, KIND_OF_CUE

# Kinds of cue words first, in the order of `CUES`; then what is counted of a question's shape.
_SHAPES: Final = (
    "empty", "sums", "numbers", "symbols", "clauses", "length", "questions", "items", "choice", "material", "fence",
    "closed",
)  # fmt: skip
FEATURES: Final = (*CUES, *_SHAPES)
"""Names of the numbers in a row."""

FEATURE_COUNT: Final = len(FEATURES)
KIND_COUNT: Final = len(CUES)
CUE_COUNT: Final = len(KIND_OF_CUE)
AT_PROOF: Final = FEATURES.index("proof")
(
    AT_EMPTY, AT_SUMS, AT_NUMBERS, AT_SYMBOLS, AT_CLAUSES, AT_LENGTH, AT_QUESTIONS, AT_ITEMS, AT_CHOICE, AT_MATERIAL,
    AT_FENCE, AT_CLOSED,
) = range(KIND_COUNT, FEATURE_COUNT)  # fmt: skip
# Several numbers are a sum to be done only where something is asked for.
AT_SUMS_NEED: Final = tuple(FEATURES.index(name) for name in ("calculation", "quantity", "amount"))
_YES_NO_HEADS: Final = ["is", "are", "was", "were", "do", "does", "did", "has", "have", "may", "can", "must", "should"]
# The Chinese numeral for one is left out: it is also the indefinite article.
_NUMERALS: Final = "0123456789二三四五六七八九十百千兩"
_SIGNS: Final = "两=+*/^√∑∫≤≥≠×÷%<>\\$"

HASH_MASK: Final = 16383
YES_NO_ROOT: Final = 1
"""The node above the words with which an English yes-or-no question begins."""


class _Trie:
    """Nodes by number, and their children in one table with open addressing; see `scan._child`."""

    def __init__(self) -> None:
        self.keys = np.zeros(HASH_MASK + 1, np.uint32)
        self.children = np.zeros(HASH_MASK + 1, np.uint16)
        self.cue_of = np.zeros(8192, np.uint16)
        self._nodes = YES_NO_ROOT

    def new_node(self) -> int:
        self._nodes += 1
        assert self._nodes < min(len(self.cue_of), len(self.keys) // 2), "the tables of cue words are too small"
        return self._nodes

    def child(self, node: int, letter: str) -> int:
        """The node below, made if it is not there."""
        key = (node << 16) | ord(letter)
        place = ((key * 0x9E3779B1) >> 15) & HASH_MASK
        while self.keys[place] not in (0, key):
            place = (place + 1) & HASH_MASK
        if self.keys[place] == 0:
            self.keys[place] = key
            self.children[place] = self.new_node()
        return int(self.children[place])


def _built() -> tuple[_Trie, np.ndarray, np.ndarray, np.ndarray]:
    trie = _Trie()
    first_zh, first_en = np.zeros(65536, np.uint16), np.zeros(128, np.uint16)
    kind_of_cue = np.zeros(CUE_COUNT + 1, np.uint16)
    kinds = list(CUES)
    for number, (cue, kind) in enumerate(KIND_OF_CUE.items(), start=1):
        first = first_en if cue.isascii() else first_zh
        if first[ord(cue[0])] == 0:
            first[ord(cue[0])] = trie.new_node()
        node = int(first[ord(cue[0])])
        for letter in cue[1:]:
            node = trie.child(node, letter)
        trie.cue_of[node] = number
        kind_of_cue[number] = kinds.index(kind)
    for head in _YES_NO_HEADS:
        node = YES_NO_ROOT
        for letter in head:
            node = trie.child(node, letter)
        trie.cue_of[node] = 1
    return trie, first_zh, first_en, kind_of_cue


def _points() -> np.ndarray:
    kind_of_point = np.zeros(65536, np.uint16)
    for letters, kind in ((_NUMERALS, 1), (_SIGNS, 2)):
        for letter in letters:
            kind_of_point[ord(letter)] = kind
    return kind_of_point


_TRIE, _FIRST_ZH, _FIRST_EN, _KIND_OF_CUE = _built()
TABLES: Final = (
    YES_NO_ROOT, _FIRST_ZH, _FIRST_EN, _TRIE.keys, _TRIE.children, _TRIE.cue_of, _KIND_OF_CUE, _points(),
)  # fmt: skip
"""The last arguments of `scan.scan` but the row."""
