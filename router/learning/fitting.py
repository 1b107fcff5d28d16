"""Logistic regressions, many at once: scipy's L-BFGS over one matrix, which each step then passes only once.

All numbers of one fit are the same whenever it runs on the same machine.
"""

from typing import Any, Final, NamedTuple

import numpy as np
from scipy import sparse
from scipy.optimize import minimize

Floats = np.ndarray[Any, np.dtype[np.float32]]

_MEMORY: Final = 6
_WORTH_A_STEP: Final = 1e-6
_CURVATURE: Final = 0.2  # p(1 - p) of a typical chance


class Task(NamedTuple):
    """Regressions to fit: one column each in all but the first two, which they share."""

    matrix: sparse.csr_matrix
    dense: Floats
    """Further columns of the matrix."""
    wanted: Floats
    """(rows, regressions), 0 to 1."""
    row_weights: Floats
    """(rows, regressions); each column adds up to 1."""
    penalties: Floats
    """(columns of matrix and dense, regressions): half of it times the squared distance from `centre` is added."""
    centre: Floats
    """What the weights are held back towards."""


def minimise(task: Task, max_steps: int) -> Floats:
    """The weights, in the shape of `penalties`."""
    problem = _Problem(task)
    found = minimize(
        problem.at,
        np.zeros(task.penalties.size),
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": max_steps, "maxcor": _MEMORY, "ftol": _WORTH_A_STEP, "gtol": 0.0},
    )
    return problem.weights(found.x)


class _Problem:
    """The loss as scipy wants it: of one flat row of numbers, each weight in units of its own curvature.

    So scaled, thirty steps suffice where hundreds would be needed.
    """

    def __init__(self, task: Task) -> None:
        self._task = task
        self._transposed = task.matrix.T.tocsr()
        squares = np.concatenate(
            [np.asarray(task.matrix.multiply(task.matrix).sum(0)).ravel(), (task.dense * task.dense).sum(0)]
        )
        curvature = (_CURVATURE / len(task.wanted) * squares).astype(np.float32)[:, None]
        self._unit = 1 / np.sqrt(curvature + task.penalties + np.float32(1e-9))

    def weights(self, flat: np.ndarray) -> Floats:
        """Back from units to weights."""
        return self._task.centre + self._away(flat)

    def _away(self, flat: np.ndarray) -> Floats:
        away: Floats = flat.reshape(self._unit.shape).astype(np.float32) * self._unit
        return away

    def at(self, flat: np.ndarray) -> tuple[float, np.ndarray]:
        """The loss and its slope."""
        task = self._task
        away = self._away(flat)
        weights = task.centre + away
        columns = task.matrix.shape[1]
        log_odds = task.matrix @ weights[:columns] + task.dense @ weights[columns:]
        decay = np.exp(-np.abs(log_odds))
        chances = np.where(log_odds > 0, 1 / (1 + decay), decay / (1 + decay))
        losses = np.log1p(decay) + np.maximum(log_odds, 0) - task.wanted * log_odds
        errors = task.row_weights * (chances - task.wanted)
        slope = task.penalties * away
        loss = (task.row_weights * losses).sum(dtype=np.float64) + 0.5 * (slope * away).sum(dtype=np.float64)
        slope[:columns] += self._transposed @ errors
        slope[columns:] += task.dense.T @ errors
        return float(loss), (slope * self._unit).astype(np.float64).ravel()
