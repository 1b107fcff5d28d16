"""The slope of noisy points that may jump, and how sure it is.

The median of the slopes between all pairs (Theil and Sen), which a few odd points do not move, with Sen's interval:
P. K. Sen, Estimates of the regression coefficient based on Kendall's tau, 1968. Points in time follow one another and
are not independent, which makes that interval too narrow: its variance is widened by the residuals' autocorrelation as
for a first-order process.
"""

import itertools
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

# Two-sided 95 %.
_Z: Final = 1.96
# A memory that never changes after a step has residuals that are all alike.
_MOST_AUTOCORRELATION: Final = 0.98


@dataclass(frozen=True, slots=True)
class Slope:
    """Units of y for one of x."""

    value: float
    low: float
    """Of the interval that holds the true slope in 95 of 100 cases."""
    high: float


def slope_of(points: Sequence[tuple[float, float]]) -> Slope:
    """Of at least three points with different x. Raises ValueError."""
    slopes = sorted((y2 - y1) / (x2 - x1) for (x1, y1), (x2, y2) in itertools.combinations(points, 2) if x1 != x2)
    if len(points) < 3 or not slopes:
        raise ValueError(f"a slope needs three points with different x, got {len(points)} points")
    middle = statistics.median(slopes)
    count = len(points)
    correlation = _autocorrelation([y - middle * x for x, y in points])
    variance = count * (count - 1) * (2 * count + 5) / 18 * (1 + correlation) / (1 - correlation)
    reach = _Z * math.sqrt(variance)
    low = max(0, math.floor((len(slopes) - reach) / 2))
    high = min(len(slopes) - 1, math.ceil((len(slopes) + reach) / 2))
    return Slope(middle, slopes[low], slopes[high])


def _autocorrelation(values: Sequence[float]) -> float:
    """Of neighbours, at least 0."""
    mean = statistics.fmean(values)
    deviations = [value - mean for value in values]
    spread = sum(one * one for one in deviations)
    if not spread:
        return 0.0
    together = sum(one * other for one, other in itertools.pairwise(deviations))
    return min(max(together / spread, 0.0), _MOST_AUTOCORRELATION)
