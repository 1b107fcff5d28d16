"""Relative shares, and what falls to a number drawn between 0 and 1."""

from bisect import bisect_right
from collections.abc import Iterable, Mapping
from itertools import accumulate
from typing import Generic, TypeVar

from cluster.errors import UserError

T = TypeVar("T")
U = TypeVar("U")


class Draw(Generic[T]):
    """Made once, asked for every request: one binary search."""

    def __init__(self, shares: Iterable[tuple[T, float]], field: str) -> None:
        """Shares need not add up to 1; those of 0 are never drawn. Raises UserError naming the plan's `field`."""
        wanted = [(thing, share) for thing, share in shares if share > 0]
        if not wanted:
            raise UserError(f"{field} has no share above 0: nothing could be asked")
        self._things = tuple(thing for thing, _ in wanted)
        total = sum(share for _, share in wanted)
        # The last border is left out, so that rounding can lead past no end.
        self._borders = tuple(accumulate(share / total for _, share in wanted))[:-1]

    @property
    def things(self) -> tuple[T, ...]:
        """All that can be drawn."""
        return self._things

    def at(self, ratio: float) -> T:
        """What falls to `ratio`, 0 to 1."""
        return self._things[bisect_right(self._borders, ratio)]


def crossed(one: Mapping[T, float], other: Mapping[U, float]) -> list[tuple[tuple[T, U], float]]:
    """Every pair, with the product of their shares: the two are independent."""
    return [((a, b), share * with_) for a, share in one.items() for b, with_ in other.items()]
