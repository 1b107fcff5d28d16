"""How long after an overload the promise is kept again."""

from collections.abc import Sequence
from typing import Final

from loadtests.judging.slo import meets, verdict_on
from loadtests.plan import Slo
from loadtests.records.sample import Sample

HOLD_S: Final = 30.0
"""So long it must be kept on end to count as recovered."""
_WIDTH_S: Final = 5.0


def recovery_s(
    samples: Sequence[Sample], slo: Slo, ended_s: float, until_s: float, hold_s: float = HOLD_S
) -> float | None:
    """Seconds from the end of an overload until the promise is kept again and goes on being kept for `hold_s` seconds.

    `samples` are those due from `ended_s` to `until_s`, seconds since the run began; by when they were due, not by when
    they were answered. Kept means: not surely broken (Wilson, 95 %), neither in the next 5 s, nor in the next `hold_s`,
    nor from there to the end. In steps of 5 s; None if it was not within what was looked at, or nobody asked.
    """
    met = sorted((sample.at_s, meets(sample, slo)) for sample in samples)
    if not met:
        return None
    step = 0
    while (begin_s := ended_s + step * _WIDTH_S) + hold_s <= until_s:
        spans = (begin_s + _WIDTH_S, begin_s + hold_s, until_s)
        if not any(_is_broken([ok for at_s, ok in met if begin_s <= at_s < end_s], slo) for end_s in spans):
            return step * _WIDTH_S
        step += 1
    return None


def _is_broken(met: Sequence[bool], slo: Slo) -> bool:
    return bool(met) and verdict_on(sum(met), len(met), slo).is_met is False
