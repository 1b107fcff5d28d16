"""Two judges to compare with, on the shares of errors alone: a test of fixed size, and Mann-Whitney on minutes."""

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from registry.judging.harm import Array

_NORMAL = NormalDist()
LEAST_MINUTES = 50
"""Spinnaker's guide of best practices asks for at least 50 points of a metric."""


def fixed_size(stable: float, canary: float, alpha: float, power: float) -> int:
    """Answers on each side that a one-sided test of two proportions needs, by the usual formula."""
    reach = _NORMAL.inv_cdf(1 - alpha) + _NORMAL.inv_cdf(power)
    return math.ceil(reach**2 * (stable * (1 - stable) + canary * (1 - canary)) / (canary - stable) ** 2)


def z_scores(n: Array, k: Array) -> Array:
    """Of the canary's share above stable's with pooled variance; 0 without any fault. Last axis: side."""
    whole_n = np.maximum(n.sum(axis=-1), 1)
    pooled = k.sum(axis=-1) / whole_n
    variance = pooled * (1 - pooled) * (1 / np.maximum(n, 1)).sum(axis=-1)
    difference = k[..., 1] / np.maximum(n[..., 1], 1) - k[..., 0] / np.maximum(n[..., 0], 1)
    return np.where(variance > 0, difference / np.sqrt(np.maximum(variance, 1e-300)), 0.0)


class FixedHorizon:
    """Looks once, when both sides have their number of answers; `naive` looks every minute all the same."""

    def __init__(self, size: int, alpha: float, runs: int) -> None:
        self._size = size
        self._z = _NORMAL.inv_cdf(1 - alpha)
        self._has_looked = np.zeros(runs, dtype=bool)

    def alarms(self, n: Array, k: Array) -> NDArray[np.bool_]:
        """Which rollouts are condemned at this look."""
        now = ~self._has_looked & (n.min(axis=-1) >= self._size)
        self._has_looked |= now
        return np.asarray(now & (z_scores(n, k) > self._z))

    def naive_alarms(self, n: Array, k: Array) -> NDArray[np.bool_]:
        """The same test, whatever the number of answers."""
        return np.asarray(z_scores(n, k) > self._z)


@dataclass(frozen=True, slots=True)
class _Grid:
    """Shares of errors of a minute, in steps of half a per cent, as counts of minutes."""

    bins: int = 201

    def index(self, shares: Array) -> NDArray[np.int64]:
        return np.asarray(np.rint(shares * (self.bins - 1)), dtype=np.int64)


class MannWhitney:
    """After Kayenta's judge of metrics, as Spinnaker's guide "How canary judgment works" describes it.

    Each minute's share of errors is one point. The metric is High, and the canary condemned, when the lower end of a
    98 % confidence interval of the shift between the sides (Mann-Whitney, normal approximation with ties and
    continuity) exceeds 0.25 times the Hodges-Lehmann estimate of that shift. Minutes without answers on a side are
    removed; without any point, or with equal points only, it passes.
    """

    def __init__(self, runs: int) -> None:
        self._grid = _Grid()
        self._minutes: Array = np.zeros((runs, 2, self._grid.bins))
        self._z = _NORMAL.inv_cdf(0.99)

    def alarms(self, n: Array, k: Array) -> NDArray[np.bool_]:
        """Take one minute's answers and errors; which rollouts are condemned now."""
        index = self._grid.index(k / np.maximum(n, 1))
        runs = np.arange(len(n))
        for side in (0, 1):
            self._minutes[runs, side, index[:, side]] += n[:, side] > 0
        no_minute = np.zeros((len(n), 1))
        self._below = np.concatenate([no_minute, self._minutes[:, 0].cumsum(axis=-1)], axis=-1)
        estimate = self._estimate()
        # Not a whole number of steps, so that no pair is tied there unless the bound is 0.
        score = self._score(np.abs(estimate) * 0.25)
        enough = self._minutes.sum(axis=-1).min(axis=-1) >= LEAST_MINUTES
        return np.asarray(enough & (score > self._z))

    def _above(self, shift: Array) -> tuple[Array, Array]:
        """Pairs of minutes in which the canary's share less this many steps is above stable's, and those tied."""
        canary, below = self._minutes[:, 1], self._below
        place = np.arange(self._grid.bins) - shift[:, None]
        whole = np.ceil(place - 1e-9).astype(np.int64)
        is_tied = np.abs(place - np.rint(place)) < 1e-9
        rows = np.arange(len(canary))[:, None]
        under = below[rows, np.clip(whole, 0, self._grid.bins)]
        up_to = below[rows, np.clip(whole + is_tied, 0, self._grid.bins)]
        return (canary * under).sum(axis=-1), (canary * (up_to - under)).sum(axis=-1)

    def _estimate(self) -> Array:
        """The median of all differences between a minute of the canary and one of stable, in steps."""
        low = np.full(len(self._minutes), -float(self._grid.bins))
        high = -low
        pairs = self._minutes.sum(axis=-1).prod(axis=-1)
        while (high - low).max() > 1:
            middle = np.floor((low + high) / 2)
            above, _ = self._above(middle)
            is_higher = above > pairs / 2
            low, high = np.where(is_higher, middle, low), np.where(is_higher, high, middle)
        return high

    def _score(self, shift: Array) -> Array:
        """The standardised rank sum of the canary's minutes less a shift, with the correction for continuity."""
        above, tied = self._above(shift)
        m_a, m_b = (self._minutes[:, side].sum(axis=-1) for side in (0, 1))
        distance = above + tied / 2 - m_a * m_b / 2
        whole = m_a + m_b
        is_whole = np.abs(shift - np.rint(shift)) < 1e-9
        together = self._shifted(shift) + self._minutes[:, 0]
        ties = np.where(is_whole, (together**3 - together).sum(axis=-1), self._own_ties())
        variance = m_a * m_b / 12 * (whole + 1 - ties / np.maximum(whole * (whole - 1), 1))
        score = (distance - 0.5 * np.sign(distance)) / np.sqrt(np.maximum(variance, 1e-300))
        return np.where(variance > 1e-9, score, 0.0)

    def _shifted(self, shift: Array) -> Array:
        """The canary's counts moved down by whole steps; what would lie below 0 meets nobody there anyway."""
        place = np.arange(self._grid.bins) + np.rint(shift).astype(np.int64)[:, None]
        inside = place < self._grid.bins
        rows = np.arange(len(shift))[:, None]
        return np.where(inside, self._minutes[rows, 1, np.minimum(place, self._grid.bins - 1)], 0.0)

    def _own_ties(self) -> Array:
        return np.asarray((self._minutes**3 - self._minutes).sum(axis=(-2, -1)))
