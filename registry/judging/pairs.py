"""Pairs of answers to the same question: how often the canary's is better or as good."""

import math
from typing import Any

import numpy as np

from registry.judging.harm import Array
from registry.judging.intervals import LAMBDAS

BETS = np.array([0.1, 0.25, 0.5, 0.75, 0.95])
"""Of what may be staked at most."""


class Pairs:
    """A betting test of the mean of numbers in [0, 1] and its confidence sequence, over the whole rollout.

    Pairs come from copies, of which there are many before the first step and few after; and how good an answer is does
    not depend on the share of traffic, as its time does.

    For a mean of at least m, each factor 1 + b (m - Y) with 0 <= b <= 1 / (1 - m) has mean at most 1, so that their
    product reaches 1/alpha with probability at most alpha: I. Waudby-Smith, A. Ramdas, "Estimating means of bounded
    random variables by betting" (Journal of the Royal Statistical Society B, 2024). Bounds: as in `intervals`.
    """

    def __init__(self, least: float) -> None:
        self._bets = BETS / (1 - least)
        self._least = least
        self.log_e: Array = np.zeros(len(BETS))
        self.log_peak = 0.0
        self.n = 0
        self.total = 0.0
        self.spread = 0.0

    def take(self, quality: float) -> None:
        """One pair."""
        forecast = (self.total + 1.0) / (self.n + 2.0)
        self.spread += (quality - forecast) ** 2
        self.n += 1
        self.total += quality
        self.log_e += np.log1p(self._bets * (self._least - quality))
        self.log_peak = max(self.log_peak, self.log_now())

    def dump(self) -> list[Any]:
        """As JSON can carry it."""
        return [self.log_e.tolist(), self.log_peak, self.n, self.total, self.spread]

    def restore(self, stored: list[Any]) -> None:
        """What `dump` gave."""
        self.log_e[...] = stored[0]
        self.log_peak, self.n, self.total, self.spread = stored[1:]

    def log_now(self) -> float:
        """The e-value now, as a logarithm."""
        return float(np.logaddexp.reduce(self.log_e)) - math.log(len(BETS))

    def bounds(self, confidence_ratio: float) -> tuple[float, float]:
        """Below and above which the mean surely does not lie."""
        if self.n == 0:
            return 0.0, 1.0
        allowed = math.log(len(LAMBDAS) / (1 - confidence_ratio))
        psi = -np.log1p(-LAMBDAS) - LAMBDAS
        reach = float(((allowed + psi * self.spread) / LAMBDAS).min()) / self.n
        mean = self.total / self.n
        return max(0.0, mean - reach), min(1.0, mean + reach)
