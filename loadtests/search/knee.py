"""Where latency begins to rise with load, and where goodput falls apart."""

import math
from collections.abc import Sequence
from typing import Final, NamedTuple

# Fewer points have no shape.
_LEAST_POINTS: Final = 4
# A curve that rises by less over all loads has not met its knee.
_LEAST_RISE: Final = 2.0
# How far, of the unit square, the curve must hang below its chord: less is a straight line with noise.
_LEAST_DISTANCE: Final = 0.1
COLLAPSE_RATIO: Final = 0.5
"""Goodput below this part of the best is called a collapse."""


class Load(NamedTuple):
    """One rate and what it did."""

    rate_per_s: float
    first_s: float | None
    """Due to first token, the percentile that the knee is looked for in; None if nothing was answered."""
    met_ratio: float
    is_cut: bool
    """It was ended early because the queue only grew: what it shows depends on how long one looked."""

    @property
    def goodput_rps(self) -> float:
        """Of the requests that should have come, not of those that chance sent: rates are compared here."""
        return self.rate_per_s * self.met_ratio


class Point(NamedTuple):
    """A rate, or None, and why."""

    rate_per_s: float | None
    reason: str


def knee_of(loads: Sequence[Load]) -> Point:
    """The load from which latency rises out of proportion.

    Kneedle (Satopää, Albrecht, Irwin, Raghavan: Finding a "Kneedle" in a Haystack, ICDCSW 2011) for a convex, rising
    curve: both axes scaled to 0 to 1, the knee is where x - y is largest. Latency is taken as its logarithm, because it
    spans decades, and made to rise with load (pool-adjacent violators), because a queue's does. Loads above the lowest
    that was cut are left out: their latency grows for as long as one looks.
    """
    known = sorted((load for load in loads if load.first_s), key=lambda load: load.rate_per_s)
    cut = min((load.rate_per_s for load in known if load.is_cut), default=math.inf)
    known = [load for load in known if load.rate_per_s <= cut]
    rates = sorted({load.rate_per_s for load in known})
    if len(rates) < _LEAST_POINTS:
        return Point(None, f"it needs {_LEAST_POINTS} rates or more to be seen, and there are {len(rates)}")
    logs = _rising([_mean_log(known, rate) for rate in rates])
    rise = math.exp(logs[-1] - logs[0])
    if rise < _LEAST_RISE:
        return Point(None, f"latency rises by only {rise - 1:.0%} from the lowest to the highest load")
    distances = [
        (rate - rates[0]) / (rates[-1] - rates[0]) - (log - logs[0]) / (logs[-1] - logs[0])
        for rate, log in zip(rates, logs, strict=True)
    ]
    distance, rate = max(zip(distances, rates, strict=True))
    if distance < _LEAST_DISTANCE:
        return Point(None, "latency rises evenly with load, without a knee")
    return Point(rate, f"above it latency rises out of proportion, up to {rise:.3g} times that of the lowest load")


def collapse_of(loads: Sequence[Load], safe_per_s: float) -> Point:
    """The lowest load beyond the safe one, and beyond the best, with less than half of the best goodput."""
    whole = [load for load in loads if not load.is_cut]
    best_load = max(whole, key=lambda load: load.goodput_rps, default=None)
    best, best_per_s = (best_load.goodput_rps, best_load.rate_per_s) if best_load else (0.0, 0.0)
    if not any(load.rate_per_s > safe_per_s for load in whole):
        return Point(None, "no load above the safe one was looked at to its end")
    beyond = sorted((load.rate_per_s, load) for load in whole if load.rate_per_s > max(safe_per_s, best_per_s))
    for rate, load in beyond:
        if load.goodput_rps < COLLAPSE_RATIO * best:
            part = f"{load.goodput_rps / best:.0%} of the best ({best:.3g})"
            return Point(rate, f"{load.goodput_rps:.3g} requests/s in time there, {part}")
    if not beyond:
        return Point(None, f"it is best at the highest load that was looked at, {best_per_s:.3g} requests/s")
    least = min(load.goodput_rps for _, load in beyond)
    return Point(
        None, f"up to {beyond[-1][0]:.3g} requests/s it stays at {least / best:.0%} of the best ({best:.3g}) or more"
    )


def _mean_log(loads: Sequence[Load], rate_per_s: float) -> float:
    """Of several probes of one rate."""
    logs = [math.log(load.first_s) for load in loads if load.rate_per_s == rate_per_s and load.first_s]
    return math.fsum(logs) / len(logs)


def _rising(values: Sequence[float]) -> list[float]:
    """The nearest values, by least squares, that never fall."""
    blocks: list[tuple[float, int]] = []
    for value in values:
        mean, count = value, 1
        while blocks and blocks[-1][0] >= mean:
            before, number = blocks.pop()
            mean, count = (before * number + mean * count) / (number + count), number + count
        blocks.append((mean, count))
    return [mean for mean, count in blocks for _ in range(count)]
