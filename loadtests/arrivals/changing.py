"""Poisson whose rate changes, by thinning: candidates at the highest rate, of which each is kept by the rate at its
moment (Lewis and Shedler, Simulation of Nonhomogeneous Poisson Processes by Thinning, 1979)."""

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from loadtests.arrivals.independent import BLOCK

Times = NDArray[np.float64]
Rate = Callable[[Times], Times]
"""Requests a second at each of these moments, seconds since the begin."""


def moments(rate: Rate, peak_per_s: float, seconds: float, draw: np.random.Generator) -> Iterator[float]:
    """The moments of `seconds`, since its begin. `rate` must never pass `peak_per_s`, which may be 0."""
    at_s = 0.0
    while peak_per_s > 0 and at_s < seconds:
        candidates_s = at_s + np.cumsum(draw.exponential(1 / peak_per_s, BLOCK))
        is_kept = draw.random(BLOCK) * peak_per_s < rate(candidates_s)
        yield from candidates_s[is_kept & (candidates_s < seconds)].tolist()
        at_s = float(candidates_s[-1])


def ramp(from_per_s: float, to_per_s: float, seconds: float) -> Rate:
    """Grows or falls evenly."""
    return lambda at_s: from_per_s + (to_per_s - from_per_s) * at_s / seconds


def spike(rate_per_s: float, peak_per_s: float, peak_ratio: float, seconds: float) -> Rate:
    """One rate, and another for this part of the time, in the middle."""
    begin_s, end_s = seconds * (1 - peak_ratio) / 2, seconds * (1 + peak_ratio) / 2
    return lambda at_s: np.where((begin_s <= at_s) & (at_s < end_s), peak_per_s, rate_per_s)
