"""How far a figure would differ, had the same load been put on the same server once more.

Requests that are neighbours in time share a queue, a batch and a cache, so drawing them one by one would find every run
different from every other. Drawn are whole stretches of time instead: the moving block bootstrap (H. R. Künsch, The
jackknife and the bootstrap for general stationary observations, Annals of Statistics 17, 1989). A run is cut into cells
of a second; figures are made of counts in cells, so a thousand new runs are one product of matrices.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from loadtests.judging.columns import Numbers, Whole

# Fixed: the same two runs give the same verdicts, today and in a year.
_SEED: Final = 20260101
DRAWS: Final = 1000
# 16 MB of weights; a day's cells are 43 s wide.
_MOST_CELLS: Final = 2000
LEAST_BLOCK_S: Final = 5.0
FEWEST_BLOCKS: Final = 10
"""Below it nobody can tell how much one stretch differs from the next."""
# Bins of a thousandth of all values, finer where p95 and p99 are read.
_LEVELS: Final = np.union1d(np.linspace(0, 0.9, 451), np.linspace(0.9, 1, 501))


@dataclass(frozen=True, slots=True)
class Cells:
    """A run's time, cut evenly."""

    begin_s: float
    width_s: float
    count: int

    def of(self, at_s: Numbers) -> Whole:
        """The cell of each moment; what lies outside goes to the nearest."""
        return np.clip(np.floor((at_s - self.begin_s) / self.width_s), 0, self.count - 1).astype(np.int64)

    def sums(self, at_s: Numbers, values: Numbers | None = None) -> Numbers:
        """Of each cell: how many, or the sum of the values."""
        return np.bincount(self.of(at_s), weights=values, minlength=self.count).astype(np.float64)


def cells_of(begin_s: float, end_s: float) -> Cells:
    """Cells of a second, wider where there would be too many."""
    seconds = max(1.0, end_s - begin_s)
    width_s = float(math.ceil(seconds / _MOST_CELLS))
    return Cells(begin_s, width_s, max(1, math.ceil(seconds / width_s)))


def memory_cells(at_s: Numbers, values: Numbers, cells: Cells) -> int:
    """For how many cells the run remembers how it was doing: up to the first lag from which the autocorrelation of the
    cells' means stays within chance for five lags (D. N. Politis, H. White, Automatic block-length selection for the
    dependent bootstrap, Econometric Reviews 23, 2004, section 3.2)."""
    counts, sums = cells.sums(at_s), cells.sums(at_s, values)
    means = sums[counts > 0] / counts[counts > 0]
    count, off = len(means), means - means.mean() if len(means) else means
    power = float((off**2).sum())
    if count < 20 or power <= 0:
        return 1
    chance = 2 * math.sqrt(math.log10(count) / count)
    lags = min(count // 4, 200)
    small = [abs(float((off[:-lag] * off[lag:]).sum()) / power) < chance for lag in range(1, lags + 1)]
    return next((lag for lag in range(lags - 4) if all(small[lag : lag + 5])), lags)


def weights_of(cells: int, block: int, stream: int) -> Numbers:
    """How often each new run holds each cell: a row for each of `DRAWS` runs. `stream`: equal ones draw the same."""
    random = np.random.default_rng((_SEED, stream))
    blocks = math.ceil(cells / block)
    starts = random.integers(0, cells - block + 1, size=(DRAWS, blocks))
    lengths = np.full(blocks, block)
    lengths[-1] = cells - block * (blocks - 1)
    steps = np.zeros((DRAWS, cells + 1))
    rows = np.broadcast_to(np.arange(DRAWS)[:, None], starts.shape)
    np.add.at(steps, (rows, starts), 1.0)
    np.add.at(steps, (rows, starts + lengths), -1.0)
    return steps[:, :-1].cumsum(axis=1)


def edges_of(*sides: Numbers) -> Numbers:
    """Bins for values of both runs, narrow where there are many."""
    values = np.concatenate(sides)
    return np.unique(np.quantile(values, _LEVELS))


def quantiles_of(
    weights: Numbers, cell: Whole, values: Numbers, edges: Numbers, levels: Sequence[float]
) -> list[Numbers]:
    """Quantiles of each new run, an array for each level. `cell`: of each value."""
    if len(edges) < 2:
        return [np.full(len(weights), edges[0]) for _ in levels]
    bins = len(edges) - 1
    place = np.clip(np.searchsorted(edges, values, side="right") - 1, 0, bins - 1)
    table = np.bincount(cell * bins + place, minlength=weights.shape[1] * bins).reshape(-1, bins)
    upto = np.cumsum(weights @ table.astype(np.float64), axis=1)
    return [_read(upto, edges, level) for level in levels]


def _read(upto: Numbers, edges: Numbers, level: float) -> Numbers:
    wanted = level * upto[:, -1]
    found = np.minimum((upto < wanted[:, None]).sum(axis=1), len(edges) - 2)
    rows = np.arange(len(upto))
    below = np.where(found > 0, upto[rows, found - 1], 0.0)
    inside = upto[rows, found] - below
    part = np.where(inside > 0, (wanted - below) / np.where(inside > 0, inside, 1.0), 0.0)
    drawn: Numbers = edges[found] + part * (edges[found + 1] - edges[found])
    return drawn


def ratios_of(weights: Numbers, parts: Numbers, wholes: Numbers) -> Numbers:
    """A ratio of sums of each new run; of those without anything to divide by, that of the run itself."""
    part, whole = weights @ parts, weights @ wholes
    usual = float(parts.sum()) / max(float(wholes.sum()), 1e-12)
    return np.where(whole > 0, part / np.where(whole > 0, whole, 1.0), usual)
