"""The judge of rollouts over many rollouts at once.

What `registry.judging.evidence` does answer by answer is done here for a minute of all rollouts together, with the same
classes for the test itself. A test holds that both come to the same e-values.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cluster.errors import OurFault
from cluster.release_settings import Thresholds
from registry.judging.harm import Array, Counts, Harm, Lines, expected
from registry.judging.kinds import ENOUGH, RECENT
from registry.judging.metrics import MEASURED, Metric, metrics
from registry.judging.spread import bins_of, values_of

Bins = NDArray[np.float32]
"""Whole numbers and their halves: they are kept exactly."""

_FIRST = np.array([130, 120, 240, 120])
_WIDTH = 250
"""The simulated numbers fall into so many bins from these: 5 ms, 3 ms, 1 token, 0.003; up to 200,000 times that."""


@dataclass(frozen=True, slots=True)
class Minute:
    """A minute's answers of one kind in all rollouts. Axes: rollout, side (stable, canary), answer."""

    is_there: NDArray[np.bool_]
    """Rollouts have differently many answers; the rest of a row is empty."""
    is_error: NDArray[np.bool_]
    is_cut_off: NDArray[np.bool_]
    is_refused: NDArray[np.bool_]
    numbers: Array
    """With a last axis in the order of `MEASURED`."""


class Spreads:
    """`registry.judging.spread.Spread` of the four numbers in many rollouts."""

    def __init__(self, runs: int, recent: int = 0) -> None:
        self.bins: Bins = np.zeros((runs, len(MEASURED), _WIDTH), dtype=np.float32)
        self._recent = recent

        self.n: Array = np.zeros((runs, len(MEASURED)))

    def add(self, counts: Bins) -> None:
        """Count these bins, too."""
        self.bins += counts
        self.n += counts.sum(axis=-1)
        full = self.n >= 2 * self._recent
        if self._recent and full.any():
            bins = self.bins[full]
            self.bins[full] = np.where(bins >= 0.1, bins / 2, 0.0)
            self.n[full] = self.bins[full].sum(axis=-1)

    def quantiles(self, ratios: Sequence[float]) -> dict[float, Array]:
        """The numbers below which these shares lie."""
        sums = self.bins.cumsum(axis=-1)
        # Counts are multiples of small powers of a half: nothing lies within so little of the bound but the bound.
        bounds = {ratio: (ratio * self.n - 1e-3).astype(np.float32)[..., None] for ratio in ratios}
        return {ratio: values_of(_FIRST + (sums < bound).sum(axis=-1)) for ratio, bound in bounds.items()}


class _Kind:
    def __init__(self, runs: int, count: int) -> None:
        self.past = Counts.none(count, (runs,))
        self.waiting = Counts.none(count, (runs,))
        self.baseline = Spreads(runs, RECENT)
        self.fresh: Bins = np.zeros((runs, len(MEASURED), _WIDTH), dtype=np.float32)
        self.limits: Array = np.full((runs, count), np.nan)
        self.is_known = np.zeros(runs, dtype=bool)
        """Whether the rollout has had such a question."""


class Many:
    """The evidence of many rollouts."""

    def __init__(self, thresholds: Thresholds, runs: int, kinds: int) -> None:
        self._metrics = metrics(thresholds)
        self._lines = Lines.of(self._metrics)
        count = len(self._metrics)
        self.harm = Harm(self._lines, (runs,))
        self._everywhere = Counts.none(count, (runs,))
        self._baseline = Spreads(runs, RECENT)
        self._kinds = [_Kind(runs, count) for _ in range(kinds)]
        self._is_measured = np.array([metric.measured is not None for metric in self._metrics])

    def take(self, minute: Minute, kind_index: int) -> None:
        """A minute of one kind of questions."""
        kind = self._kinds[kind_index]
        is_asked = np.asarray(minute.is_there.any(axis=(1, 2)))
        is_new = is_asked & ~kind.is_known
        if is_new.any():
            kind.limits[is_new] = self._limits(kind.baseline)[is_new]
            kind.is_known |= is_new
        kind.waiting.add(self._asked(minute, kind.limits))
        kind.fresh += _binned(minute)
        waits = kind.waiting.n > 0
        both = (waits[:, 0] & waits[:, 1])[:, None]
        block = Counts(kind.waiting.n * both, kind.waiting.k * both)
        kind.waiting.n[...] -= block.n
        kind.waiting.k[...] -= block.k
        shares = expected(kind.past, self._everywhere, self._lines.usual)
        self.harm.take(block, shares[..., 0, :])
        kind.past.add(block)
        self._everywhere.add(block)
        may_learn = both[:, 0].any(axis=-1) & ~(kind.waiting.n[:, 0] * self._is_measured).any(axis=-1)
        learnt = kind.fresh * may_learn[:, None, None].astype(np.float32)
        kind.baseline.add(learnt)
        self._baseline.add(learnt)
        kind.fresh -= learnt
        is_free = np.equal(kind.waiting.n.sum(axis=1), 0) & is_asked[:, None]
        kind.limits = np.where(is_free, self._limits(kind.baseline), kind.limits)

    def _limits(self, own: Spreads) -> Array:
        own_n, all_n = own.n, self._baseline.n
        ratios = sorted({metric.quantile for metric in self._metrics if metric.measured})
        of_own = own.quantiles(ratios)
        of_all = self._baseline.quantiles(ratios) if (own_n < ENOUGH).any() else of_own
        columns = []
        for metric in self._metrics:
            if metric.measured is None:
                columns.append(np.full(len(own_n), np.nan))
                continue
            at = MEASURED.index(metric.measured)
            value = np.where(own_n[:, at] >= ENOUGH, of_own[metric.quantile][:, at], of_all[metric.quantile][:, at])
            columns.append(np.where((own_n[:, at] >= ENOUGH) | (all_n[:, at] >= ENOUGH), value, np.nan))
        return np.stack(columns, axis=-1)

    def _asked(self, minute: Minute, limits: Array) -> Counts:
        n, k = (np.zeros((*minute.is_there.shape[:2], len(self._metrics))) for _ in range(2))
        answered = minute.is_there & ~minute.is_error
        for index, metric in enumerate(self._metrics):
            asked, harm = self._question(metric, minute, answered, limits[:, index])
            n[..., index] = asked.sum(axis=-1)
            k[..., index] = (asked & harm).sum(axis=-1)
        return Counts(n, k)

    def _question(
        self, metric: Metric, minute: Minute, answered: NDArray[np.bool_], limit: Array
    ) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        never = np.zeros_like(answered)
        plain = {
            "errors": (minute.is_there, minute.is_error),
            "timeouts": (minute.is_there, never),
            "empty": (answered, never),
            "malformed": (never, never),
            "truncated": (answered, minute.is_cut_off),
            "refused": (answered, minute.is_refused),
            "escalated": (answered, never),
        }
        if metric.measured is None:
            return plain[metric.name]
        values = minute.numbers[..., MEASURED.index(metric.measured)]
        asked_about = limit[:, None] * np.array([1.0, metric.factor])
        harm = values > asked_about[..., None] if metric.factor > 1 else values < asked_about[..., None]
        return answered & np.isfinite(limit)[:, None, None], harm


def _binned(minute: Minute) -> Bins:
    """Stable's numbers of the minute, as counts."""
    runs = len(minute.is_there)
    stable = minute.is_there[:, 0] & ~minute.is_error[:, 0]
    bins = bins_of(minute.numbers[:, 0][stable]) - _FIRST
    if bins.size and not 0 <= bins.min() <= bins.max() < _WIDTH:
        raise OurFault(f"A simulated number lies beyond the bins: {bins.min()} to {bins.max()} of {_WIDTH}.")
    row = (np.nonzero(stable)[0][:, None] * len(MEASURED) + np.arange(len(MEASURED))) * _WIDTH + bins
    flat = np.bincount(row.ravel(), minlength=runs * len(MEASURED) * _WIDTH)
    return flat.reshape(runs, len(MEASURED), _WIDTH).astype(np.float32)


def log_threshold(thresholds: Thresholds) -> float:
    """What all metrics together must reach for a rollback."""
    return -math.log(thresholds.alpha)
