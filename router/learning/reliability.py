"""Whether a stated chance of 0.8 comes true eight times in ten, and the line that mends it where it does not."""

from typing import Final, NamedTuple

import numpy as np

_BINS: Final = 10
_STEPS: Final = 50
# Holds the line near what was fitted where there are few rows.
_PRIOR_ROWS: Final = 1.0
# A head must never be turned round, nor made surer than ten rows in ten can teach.
_SLOPES: Final = (0.2, 5.0)


class Line(NamedTuple):
    """`slope` times the log-odds plus `offset` is the calibrated log-odds (Platt's scaling)."""

    slope: float
    offset: float


class Bin(NamedTuple):
    """Rows to which about the same chance was given."""

    rows: int
    stated: float
    """The mean chance that was given."""
    came_true: float
    """The mean quality of the answers."""


def line_of(log_odds: np.ndarray, quality: np.ndarray, row_weights: np.ndarray) -> Line:
    """The line under which rows are likeliest. `log_odds` must come from a judge that did not see these rows."""
    weights = row_weights / row_weights.mean()
    design = np.stack([log_odds, np.ones_like(log_odds)], 1)
    found = np.array([1.0, 0.0])
    for _ in range(_STEPS):
        chances = _chances(design @ found)
        slope = design.T @ (weights * (chances - quality)) + _PRIOR_ROWS * (found - (1.0, 0.0))
        bend = (design.T * (weights * chances * (1 - chances))) @ design + _PRIOR_ROWS * np.eye(2)
        step = np.linalg.solve(bend, slope)
        # Newton's step can be far too long where most chances are next to 0 or 1.
        found = found - step / max(1.0, float(np.abs(step).max()))
        if np.abs(step).max() < 1e-9:
            break
    return Line(float(np.clip(found[0], *_SLOPES)), float(found[1]))


def bins_of(chances: np.ndarray, quality: np.ndarray) -> list[Bin]:
    """Ten bins of equally many rows, from the least chance to the largest."""
    order = chances.argsort(kind="stable")
    return [
        Bin(len(part), float(chances[part].mean()), float(quality[part].mean()))
        for part in np.array_split(order, _BINS)
        if len(part)
    ]


def calibration_error(bins: list[Bin]) -> float:
    """The mean distance between what was stated and what came true (ECE), 0 to 1."""
    rows = sum(one.rows for one in bins)
    return sum(one.rows * abs(one.stated - one.came_true) for one in bins) / rows


def _chances(log_odds: np.ndarray) -> np.ndarray:
    return np.asarray(1 / (1 + np.exp(-np.clip(log_odds, -30, 30))))
