"""Where numbers lie: counts in steps of a twentieth, so that any traffic takes the same memory."""

import math

import numpy as np
from numpy.typing import NDArray

from registry.judging.harm import Array

_STEP = math.log(1.05)
_LEAST = 1e-5
BINS = 522
"""From 1e-5 to about 1e6: seconds, tokens and costs. The last holds all above."""


class Spread:
    """Counts of positive numbers. With `recent`, older ones fade: it follows the hours of the day."""

    def __init__(self, recent: int = 0) -> None:
        self._recent = recent
        self.bins: dict[int, float] = {}
        self.n = 0.0

    def add(self, value: float) -> None:
        """Count a number."""
        index = 0 if value <= _LEAST else min(BINS - 1, 1 + int(math.log(value / _LEAST) / _STEP))
        self.bins[index] = self.bins.get(index, 0.0) + 1
        self.n += 1
        self._fade()

    def merge(self, more: "Spread") -> None:
        """Count all of another's."""
        for index, count in more.bins.items():
            self.bins[index] = self.bins.get(index, 0.0) + count
        self.n += more.n
        self._fade()

    def _fade(self) -> None:
        if self._recent and self.n >= 2 * self._recent:
            self.bins = {index: count / 2 for index, count in self.bins.items() if count >= 0.1}
            self.n = sum(self.bins.values())

    def quantile(self, ratio: float) -> float | None:
        """The number below which this share lies, within a fortieth; None without any."""
        if self.n <= 0 or not 0 <= ratio <= 1:
            return None
        left = ratio * self.n
        for index in sorted(self.bins):
            left -= self.bins[index]
            if left <= 1e-9:
                return float(values_of(index))
        return float(values_of(max(self.bins)))

    def bounds(self, ratio: float, alpha: float) -> tuple[float | None, float | None]:
        """Between which a quantile surely lies, at all moments together; None: not bounded yet.

        S. Howard, A. Ramdas, "Sequential estimation of quantiles with applications to A/B testing and best-arm
        identification" (Bernoulli, 2022): the distribution function never leaves the observed one by more than the
        reach below, for numbers of one distribution. Shown to people; the judge does not decide by it.
        """
        if self.n < 1:
            return None, None
        reach = 0.85 * math.sqrt((math.log(math.log(math.e * self.n)) + 0.8 * math.log(1612 / alpha)) / self.n)
        return self.quantile(ratio - reach), self.quantile(ratio + reach)


def bins_of(values: Array) -> NDArray[np.int64]:
    """The bins into which numbers fall, many at once."""
    index = np.log(np.maximum(values, _LEAST) / _LEAST) / _STEP
    return np.where(np.less_equal(values, _LEAST), 0, np.minimum(BINS - 1, 1 + index.astype(np.int64)))


def values_of(bins: NDArray[np.int64] | int) -> Array:
    """The middles of bins."""
    return np.where(np.equal(bins, 0), 0.0, _LEAST * np.exp((np.asarray(bins) - 0.5) * _STEP))
