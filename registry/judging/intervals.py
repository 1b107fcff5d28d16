"""How large a difference is: confidence sequences, which hold at all moments together.

The difference of a metric is the mean over all blocks (answers of one kind that came in together) of the canary's share
less stable's, each block weighed by the smaller of its two numbers of answers. Like is compared with like, and what the
hour or the mix of questions does to both sides cancels out.

That estimate, times its weight, is a sum of c_i Y_i with |c_i| <= 1, and c_i and the forecast f_i of Y_i are known
before Y_i in [0, 1] is. For 0 < l < 1, exp(l (sum c_i (Y_i - E Y_i)) - sum psi(l |c_i|) (Y_i - f_i)^2) with
psi(t) = -log(1 - t) - t is a supermartingale of mean at most 1: the empirical-Bernstein bound of S. Howard, A. Ramdas,
J. McAuliffe, J. Sekhon, "Time-uniform, nonparametric, nonasymptotic confidence sequences" (Annals of Statistics, 2021),
theorem 4, from X. Fan, I. Grama, Q. Liu, "Exponential inequalities for martingales with applications" (2015). Each of
some values of l gets an equal part of the error allowed, and the best of them at each moment gives the bound.
"""

import math

import numpy as np

from registry.judging.harm import Array, Counts

LAMBDAS = np.geomspace(0.9, 0.015, 9)


class Intervals:
    """Differences of all metrics since the step began."""

    def __init__(self, metrics: int, runs: tuple[int, ...] = ()) -> None:
        self.weight: Array = np.zeros((*runs, metrics))
        self.total: Array = np.zeros((*runs, metrics))
        self.spread: Array = np.zeros((*runs, metrics, len(LAMBDAS)))
        self.counts = Counts.none(metrics, runs)
        """What was compared: answers without any alike on the other side are not in it."""

    def take(self, block: Counts, shares: Array) -> None:
        """One block of one kind of questions, and the shares forecast for both sides before it."""
        both = ((block.n[..., 0, :] > 0) & (block.n[..., 1, :] > 0)).astype(np.float64)
        n = np.maximum(block.n, 1.0)
        weight = n.min(axis=-2)
        self.weight += both * weight
        self.total += both * weight * (block.k[..., 1, :] / n[..., 1, :] - block.k[..., 0, :] / n[..., 0, :])
        squares = block.k * (1 - shares) ** 2 + (block.n - block.k) * shares**2
        scaled = (weight[..., None, :] / n)[..., None] * LAMBDAS
        psi = -np.log1p(-scaled) - scaled
        self.spread += both[..., None] * (psi * squares[..., None]).sum(axis=-3)
        self.counts.add(Counts(block.n * both[..., None, :], block.k * both[..., None, :]))

    def bounds(self, confidence_ratio: float) -> tuple[Array, Array]:
        """Below and above which the differences surely do not lie, each by itself with this confidence."""
        allowed = math.log(len(LAMBDAS) / (1 - confidence_ratio))
        reach = ((allowed + self.spread) / LAMBDAS).min(axis=-1)
        weight = np.maximum(self.weight, 1e-300)
        middle = self.total / weight
        return np.clip(middle - reach / weight, -1, 1), np.clip(middle + reach / weight, -1, 1)
