"""How a judge does on labelled rows: its curve, its intervals, its chances, what it costs and saves."""

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

import numpy as np

from router.estimate import Judge
from router.learning.curve import Numbers, RatingWithInterval, curve_of, rating_with_interval
from router.learning.labelled_rows import RowSet
from router.learning.reliability import Bin, bins_of, calibration_error
from router.query import Query

_SHARES: Final = np.linspace(0, 1, 11)
_DRAWS: Final = 300


class Scores(NamedTuple):
    """What a judge says of each of some questions."""

    difficulty: Numbers
    small: Numbers
    """The chance that the small model answers well, 0 to 1."""
    large: Numbers


class Point(NamedTuple):
    """A share of the questions for the large model, and what comes of it."""

    large_share: float
    recovered: float
    """PGR: how much of the gap between the models is made up for."""
    low: float
    high: float
    """The 95 % interval of `recovered`."""
    quality: float
    """The mean quality of the answers."""
    cost: float
    """Beside sending everything to the large model, which is 1."""
    max_difficulty: float
    """The bar that gives this share."""


class Evaluation(NamedTuple):
    """All that `evaluate` tells of one set of rows."""

    name: str
    rows: int
    rating: RatingWithInterval
    points: tuple[Point, ...]
    small_bins: tuple[Bin, ...]
    large_bins: tuple[Bin, ...]
    small_calibration_error: float
    large_calibration_error: float


def scores_of(
    judge: Judge, prompts: Sequence[str], ability: float = 0.0, told: Callable[[int], object] = lambda done: None
) -> Scores:
    """Estimate each question, for a small model of this ability."""
    found = np.empty((len(prompts), 3))
    for row, prompt in enumerate(prompts):
        estimate = judge.estimate(Query(prompt))
        found[row] = (estimate.difficulty_for(ability), estimate.chance(ability), estimate.chance(1))
        told(row + 1)
    return Scores(found[:, 0], found[:, 1], found[:, 2])


def evaluate(rows: RowSet, scores: Scores, price_ratio: float) -> Evaluation:
    """`price_ratio`: what the small model costs a request beside the large one. Raises UserError if both do equally."""
    difficulty = scores.difficulty
    shares, recovered = curve_of(difficulty, rows.small, rows.large)
    generator = np.random.default_rng(0)
    drawn = []
    for _ in range(_DRAWS):
        places = generator.integers(0, len(rows), len(rows))
        small, large = rows.small[places], rows.large[places]
        if abs(float(large.mean() - small.mean())) > 1e-9:
            drawn.append(np.interp(_SHARES, *curve_of(difficulty[places], small, large)))
    low, high = np.quantile(drawn, [0.025, 0.975], axis=0)
    gap = float(rows.large.mean() - rows.small.mean())
    points = []
    for place, share in enumerate(_SHARES.tolist()):
        value = float(np.interp(share, shares, recovered))
        points.append(
            Point(
                share, value, float(low[place]), float(high[place]), float(rows.small.mean()) + value * gap,
                share + (1 - share) * price_ratio, float(np.quantile(difficulty, 1 - share)),
            )
        )  # fmt: skip
    small_bins, large_bins = bins_of(scores.small, rows.small), bins_of(scores.large, rows.large)
    return Evaluation(
        rows.name, len(rows), rating_with_interval(difficulty, rows.small, rows.large), tuple(points),
        tuple(small_bins), tuple(large_bins), calibration_error(small_bins), calibration_error(large_bins),
    )  # fmt: skip
