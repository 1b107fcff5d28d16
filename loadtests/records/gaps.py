"""Gaps between tokens, counted in buckets: millions of them fit into a kilobyte."""

import math
from collections.abc import Iterable, Mapping
from typing import Final

# Each bucket is 1 % wider than the one before: a percentile read from them is at most 1 % off.
_STEP: Final = math.log(1.01)
_LEAST_S: Final = 1e-6

Gaps = dict[int, int]
"""Number of gaps by bucket."""


def bucket_of(gap_s: float) -> int:
    """The bucket that a gap in seconds falls into; below a microsecond all are one."""
    return 0 if gap_s <= _LEAST_S else int(math.log(gap_s / _LEAST_S) / _STEP) + 1


def gap_s_of(bucket: int) -> float:
    """The middle of a bucket, seconds."""
    return _LEAST_S * math.exp((bucket - 0.5) * _STEP) if bucket else _LEAST_S


def added(many: Iterable[Mapping[int, int]]) -> Gaps:
    """All together."""
    total: Gaps = {}
    for one in many:
        for bucket, count in one.items():
            total[bucket] = total.get(bucket, 0) + count
    return total


def percentile_s(gaps: Mapping[int, int], ratio: float) -> float | None:
    """The gap that a share `ratio` does not pass, seconds; None if there are none."""
    total = sum(gaps.values())
    seen = 0
    for bucket in sorted(gaps):
        seen += gaps[bucket]
        if seen >= ratio * total:
            return gap_s_of(bucket)
    return None
