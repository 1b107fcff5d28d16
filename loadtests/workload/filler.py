"""Text of a wished length in tokens that begins as much like other text as is wished, and no more."""

import random
from itertools import accumulate
from typing import Final, Literal

from loadtests.workload.words import WORDS

Purpose = Literal["block", "prefix", "alone"]

_PURPOSES: Final[dict[Purpose, int]] = {"block": 0, "prefix": 1, "alone": 2}
# 512 words to the power of 3, over three purposes: 44 million texts differ within their first three words.
_LEAST_OPENING: Final = 3
_ROUNDS: Final = 16
# Coprime to the 8,192 words of all rounds: neighbours go on differently.
_STRIDE: Final = 2803


class Filler:
    """Texts by number. One word is one token; the same seed writes the same, in every process."""

    def __init__(self, seed: int) -> None:
        lot = random.Random(f"filler/{seed}")  # noqa: S311 - an order of words, no secret
        words = [b" " + word.encode() for word in WORDS]
        self._digits = tuple(lot.sample(words, len(words)))
        order = [word for _ in range(_ROUNDS) for word in lot.sample(words, len(words))]
        # Twice, so that a text that begins anywhere is one slice: a prompt of 100,000 tokens is made of copies.
        self._length = len(order)
        self._run = b"".join(order * 2)
        self._starts = (0, *accumulate(len(word) for word in order * 2))

    def text(self, purpose: Purpose, number: int, words: int) -> bytes:
        """The first `words` words, each after a space, of the text `number`; texts of other purposes are others."""
        opening = self._opening(abs(number) * len(_PURPOSES) + _PURPOSES[purpose])[:words]
        at = number * _STRIDE % self._length
        rounds, rest = divmod(words - len(opening), self._length)
        begin = self._starts[at]
        whole = self._run[begin : self._starts[at + self._length]] * rounds if rounds else b""
        return b"%b%b%b" % (b"".join(opening), whole, self._run[begin : self._starts[at + rest]])

    def _opening(self, number: int) -> list[bytes]:
        # The number itself, its smallest digit first: engines reuse the beginnings of prompts only.
        words: list[bytes] = []
        while number or len(words) < _LEAST_OPENING:
            number, digit = divmod(number, len(self._digits))
            words.append(self._digits[digit])
        return words
