"""Finds the bar for the small model that keeps a promise: so many questions for the large one, or so much quality.

Every figure comes with a 95 % interval from drawing the questions again with replacement: what another month of the
same traffic may bring.
"""

from collections.abc import Callable
from typing import Final, NamedTuple

import numpy as np

from cluster.errors import UserError
from router.learning.curve import Numbers

DRAWS: Final = 1000
# Finer than any traffic can tell, and short enough to read.
_DIGITS: Final = 3


class Interval(NamedTuple):
    """A figure and where it lies in 95 of 100 cases."""

    value: float
    low: float
    high: float


class Bar(NamedTuple):
    """A bar and what to expect of it."""

    max_difficulty: Interval
    """Questions from it on go to the large model."""
    large_share: Interval
    """Share of the questions that the large model gets."""
    quality: Interval
    """Of the large model's quality, if that answered everything."""
    is_labelled: bool
    """Whether the quality was measured on answers, or is what the judge believes."""
    questions: int


class Traffic(NamedTuple):
    """Questions with what decides about them, a number each."""

    difficulty: Numbers
    """For the small model."""
    small: Numbers
    """How well the small model answers: measured, or the judge's chance."""
    large: Numbers
    is_labelled: bool


def bar_for_share(traffic: Traffic, large_share: float, draws: int = DRAWS) -> Bar:
    """The bar at which the large model gets this share of the questions. Raises UserError."""
    _check_share(large_share, "large_share")
    return _told(traffic, draws, lambda one: _share_bar(one.difficulty, large_share))


def bar_for_quality(traffic: Traffic, quality: float, draws: int = DRAWS) -> Bar:
    """The highest bar that keeps this share of the large model's quality. Raises UserError."""
    _check_share(quality, "quality")
    if traffic.large.mean() <= 0:
        raise UserError(
            "The large model answered none of these rows well, so that no share of its quality can be kept."
        )
    return _told(traffic, draws, lambda one: _quality_bar(one, quality))


def quality_at(traffic: Traffic, bar: float) -> float:
    """What is kept of the large model's quality at this bar. It passes 1 where the small one does better."""
    kept = np.where(traffic.difficulty >= bar, traffic.large, traffic.small)
    return float(kept.mean() / max(float(traffic.large.mean()), 1e-9))


def share_at(traffic: Traffic, bar: float) -> float:
    """The share of the questions that the large model gets at this bar."""
    return float((traffic.difficulty >= bar).mean())


def _told(traffic: Traffic, draws: int, find: Callable[[Traffic], float]) -> Bar:
    bar = round(find(traffic), _DIGITS)
    generator = np.random.default_rng(0)
    bars, shares, qualities = [], [], []
    for _ in range(draws):
        rows = generator.integers(0, len(traffic.difficulty), len(traffic.difficulty))
        drawn = Traffic(traffic.difficulty[rows], traffic.small[rows], traffic.large[rows], traffic.is_labelled)
        bars.append(find(drawn))
        shares.append(share_at(drawn, bar))
        qualities.append(quality_at(drawn, bar))
    return Bar(
        _interval(bar, bars), _interval(share_at(traffic, bar), shares), _interval(quality_at(traffic, bar), qualities),
        traffic.is_labelled, len(traffic.difficulty),
    )  # fmt: skip


def _share_bar(difficulty: Numbers, large_share: float) -> float:
    return float(np.quantile(difficulty, 1 - large_share))


def _quality_bar(traffic: Traffic, quality: float) -> float:
    order = traffic.difficulty.argsort(kind="stable")
    difficulty = traffic.difficulty[order]
    # kept[n]: the n easiest go to the small model, all others to the large one.
    lost = np.concatenate([[0.0], np.cumsum((traffic.large - traffic.small)[order])])
    kept = 1 - lost / traffic.large.sum()
    # Questions of one difficulty go one way, so that only places between two difficulties count.
    is_edge = np.concatenate([[True], difficulty[1:] > difficulty[:-1], [True]])
    easiest = int(np.flatnonzero(is_edge & (kept >= quality)).max())
    if easiest == len(difficulty):
        return 1.0
    return float((difficulty[easiest] + (difficulty[easiest - 1] if easiest else 0.0)) / 2)


def _check_share(value: float, name: str) -> None:
    if not 0 < value < 1:
        raise UserError(f"{name} must lie between 0 and 1, got {value:g}.")


def _interval(value: float, drawn: list[float]) -> Interval:
    low, high = np.quantile(drawn, [0.025, 0.975]).tolist()
    return Interval(value, low, high)
