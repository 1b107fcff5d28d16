"""Looks a word up in a short table, compiled: names of fields and headers as they stand in bytes."""

import numpy as np

from router.compiled import njit

AS_IT_IS = np.arange(256, dtype=np.uint8)
"""Letters for `word_index`: each byte is itself."""


def word_table(*words: str) -> np.ndarray:
    """Words as rows of bytes, each begun by its length."""
    table = np.zeros((len(words), max(map(len, words)) + 1), np.uint8)
    for row, word in zip(table, words, strict=True):
        row[0] = len(word)
        row[1 : len(word) + 1] = np.frombuffer(word.encode("ascii"), np.uint8)
    return table


@njit(cache=True)
def word_index(raw, start, end, table, letters):  # type: ignore[no-untyped-def]
    """Which word of a table `raw[start:end]` is once each byte is replaced by that of `letters`, or -1."""
    size = end - start
    for row in range(table.shape[0]):
        if table[row, 0] != size:
            continue
        is_same = True
        for place in range(size):
            if table[row, place + 1] != letters[raw[start + place]]:
                is_same = False
                break
        if is_same:
            return row
    return -1
