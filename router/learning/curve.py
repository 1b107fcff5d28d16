"""How good a ranking of questions is for routing: the curve of quality over the share sent to the large model.

Scored as RouteLLM does, so that figures compare: thresholds at ten quantiles of the score, PGR (performance gap
recovered) = (quality - small) / (large - small), APGR the area under it, CPT(p) the share of large calls at which the
curve, drawn straight from point to point, reaches p.
"""

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cluster.errors import UserError

QUANTILES: Final = 10
Numbers = NDArray[np.float64]


class Rating(NamedTuple):
    """One ranking's figures; all shares 0 to 1, APGR can pass 1."""

    apgr: float
    cpt50: float
    cpt80: float


class RatingWithInterval(NamedTuple):
    """The same with the 95 % bootstrap interval of the APGR."""

    apgr: float
    cpt50: float
    cpt80: float
    ci_low: float
    ci_high: float


def curve_of(score: Numbers, small: Numbers, large: Numbers) -> tuple[Numbers, Numbers]:
    """Shares sent to the large model, rising, and the PGR at each.

    `score` is high where the large model should answer; `small` and `large` are the two models' qualities. Raises
    UserError where the two models do equally well on the whole: no gap can then be recovered.
    """
    gap = float(large.mean() - small.mean())
    if abs(gap) < 1e-9:
        raise UserError("Both models do equally well on these rows, so that no routing can gain anything.")
    edges = np.quantile(score, np.linspace(0, 1, QUANTILES + 1))
    gain = large - small
    shares, recovered = [0.0], [0.0]
    # RouteLLM's highest threshold sends nobody, which the first point already does.
    for edge in np.unique(edges[:-1])[::-1]:
        sent = score >= edge
        shares.append(float(sent.mean()))
        recovered.append(float(gain[sent].sum() / len(score) / gap))
    return np.array(shares), np.array(recovered)


def rating_of(score: Numbers, small: Numbers, large: Numbers) -> Rating:
    """The figures of one ranking."""
    shares, recovered = curve_of(score, small, large)
    return Rating(
        float(np.trapezoid(recovered, shares)),
        float(np.interp(0.5, recovered, shares)),
        float(np.interp(0.8, recovered, shares)),
    )


def rating_with_interval(
    score: Numbers, small: Numbers, large: Numbers, *, draws: int = 1000, seed: int = 0
) -> RatingWithInterval:
    """The figures with a 95 % interval from drawing the rows again with replacement."""
    rating = rating_of(score, small, large)
    generator = np.random.default_rng(seed)
    drawn = []
    for _ in range(draws):
        rows = generator.integers(0, len(score), len(score))
        if abs(float(large[rows].mean() - small[rows].mean())) > 1e-9:
            drawn.append(rating_of(score[rows], small[rows], large[rows]).apgr)
    low, high = np.quantile(drawn, [0.025, 0.975]).tolist()
    return RatingWithInterval(*rating, low, high)


def mean_of(ratings: list[RatingWithInterval]) -> RatingWithInterval:
    """The mean over several splits; the interval's ends are means too."""
    return RatingWithInterval(*(float(np.mean(column)) for column in zip(*ratings, strict=True)))
