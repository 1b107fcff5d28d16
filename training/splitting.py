"""A part of the rows is held out, and rows of one group stay together: the same rows and seed, the same split."""

import hashlib
from collections import Counter
from collections.abc import Sequence
from typing import Final, NamedTuple

from cluster.errors import UserError

MAX_OFF_RATIO: Final = 0.5
"""A split is refused if the held-out part is off by more than this share of what was asked for, and by over a row."""
_NAMED: Final = 5


class Split(NamedTuple):
    """Places of rows, each on one side."""

    train: tuple[int, ...]
    test: tuple[int, ...]


def split(groups: Sequence[str], keys: Sequence[str], test_ratio: float, seed: int) -> Split:
    """Hold out whole groups, as near to `test_ratio` of all rows as they allow. Raises UserError if that is not near.

    A row without a group stands with those of the same key: its question. Which are held out hangs on the seed and on
    names and keys, not on the order of rows.
    """
    units = [f"g:{group}" if group else f"k:{key}" for group, key in zip(groups, keys, strict=True)]
    sizes = Counter(units)
    if len(sizes) < 2:
        raise UserError(_too_few(groups))
    target = test_ratio * len(units)
    held_out = _chosen(sizes, target, seed)
    count = sum(sizes[unit] for unit in held_out)
    if abs(count - target) > max(1.0, MAX_OFF_RATIO * target):
        raise UserError(_too_large(sizes, test_ratio, count, len(units)))
    places = range(len(units))
    return Split(
        tuple(place for place in places if units[place] not in held_out),
        tuple(place for place in places if units[place] in held_out),
    )


def _chosen(sizes: Counter[str], target: float, seed: int) -> set[str]:
    """Units in an order drawn by the seed, each taken if that brings the sum nearer to the target."""
    order = sorted(sizes, key=lambda unit: hashlib.sha256(f"{seed}:{unit}".encode()).digest())
    held_out: set[str] = set()
    count = 0
    for unit in order:
        if abs(count + sizes[unit] - target) < abs(count - target) and len(held_out) < len(order) - 1:
            held_out.add(unit)
            count += sizes[unit]
    # Larger than twice the target each: the smallest is nearest.
    return held_out or {min(order, key=lambda unit: sizes[unit])}


def _too_few(groups: Sequence[str]) -> str:
    if not groups:
        return "there are no rows to split"
    if groups[0]:
        return (
            f"all {len(groups):,} rows are of one group, and a group is not torn: "
            "give rows of other groups, or held-out rows as data.test_rows"
        )
    return f"{len(groups):,} rows ask one question: give others, or held-out rows as data.test_rows"


def _too_large(sizes: Counter[str], test_ratio: float, count: int, rows: int) -> str:
    largest = [size for _, size in sizes.most_common(_NAMED)]
    return (
        f"data.test_ratio is {test_ratio:g} and whole groups give {count / rows:.2f} at the nearest: there are "
        f"{len(sizes)} groups, the largest of {', '.join(f'{size:,}' for size in largest)} rows; set test_ratio to "
        f"{count / rows:.2f}, use smaller groups, or give held-out rows as data.test_rows"
    )
