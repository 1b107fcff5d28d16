"""What is known of one kind of questions, and its answers that wait for some alike on the other side."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from cluster.outcomes import Outcome
from registry.judging.harm import Counts
from registry.judging.metrics import MEASURED, Measured, Metric
from registry.judging.spread import Spread

RECENT = 1000
"""Stable's answers by which numbers are called high: some minutes to some hours."""
ENOUGH = 10
"""Of stable's answers, to say what is high; before, all kinds of questions together say it."""


class Baseline:
    """What stable's numbers were lately. Only answers that have been weighed go in: see `Kind.learn`."""

    def __init__(self) -> None:
        self.spreads: dict[Measured, Spread] = {measured: Spread(RECENT) for measured in MEASURED}

    def add(self, fresh: Sequence[Spread]) -> None:
        """Count these numbers, in the order of `MEASURED`."""
        for spread, more in zip(self.spreads.values(), fresh, strict=True):
            spread.merge(more)


class Kind:
    """One kind of questions: a stratum."""

    def __init__(self, metrics: int) -> None:
        self.past = Counts.none(metrics)
        self.baseline = Baseline()
        self.fresh = [Spread() for _ in MEASURED]
        """Stable's numbers among the answers that still wait."""
        self.limits: tuple[float | None, ...] = (None,) * metrics
        """The numbers that are asked about until the next block; from before it, so that its answers do not decide
        what they are asked."""
        self.waiting_n = [[0] * metrics, [0] * metrics]
        self.waiting_k = [[0] * metrics, [0] * metrics]
        self.waiting_since_s: float | None = None
        """When answers of one side alone were first seen to wait."""

    def set_limits(self, metrics: Sequence[Metric], everywhere: Baseline) -> None:
        """Look anew at what stable's numbers were. Where answers wait, the others must be asked the same."""
        self.limits = tuple(
            limit if self.waiting_n[0][i] or self.waiting_n[1][i] else _limit(metric, self.baseline, everywhere)
            for i, (metric, limit) in enumerate(zip(metrics, self.limits, strict=True))
        )

    def learn(self, metrics: Sequence[Metric], everywhere: Baseline) -> None:
        """Take stable's numbers into the baselines once none of them waits: what is asked about an answer, of this
        kind or another, must not come from one that is still to be weighed."""
        if not any(n for n, metric in zip(self.waiting_n[0], metrics, strict=True) if metric.measured):
            self.baseline.add(self.fresh)
            everywhere.add(self.fresh)
            self.fresh = [Spread() for _ in MEASURED]

    def count(self, outcome: Outcome, metrics: Sequence[Metric]) -> None:
        """Ask every question of one answer."""
        side = int(outcome.is_canary)
        if not outcome.is_canary:
            for spread, measured in zip(self.fresh, MEASURED, strict=True):
                value = number(outcome, measured)
                if value is not None:
                    spread.add(value)
        n, k = self.waiting_n[side], self.waiting_k[side]
        for index, harm in enumerate(questions(outcome, metrics, self.limits)):
            if harm is not None:
                n[index] += 1
                k[index] += harm

    def block(self) -> Counts | None:
        """The answers with some alike on the other side, taken out; None: there are none."""
        n, k = np.array(self.waiting_n, dtype=np.float64), np.array(self.waiting_k, dtype=np.float64)
        both = (n > 0).all(axis=0)
        if not both.any():
            return None
        for index in np.flatnonzero(both):
            for side in (0, 1):
                self.waiting_n[side][index] = self.waiting_k[side][index] = 0
        return Counts(n * both, k * both)

    def forget_waiting(self) -> None:
        """What waits will not be compared: it would meet answers of another hour or another step."""
        for rows in (self.waiting_n, self.waiting_k):
            for row in rows:
                row[:] = [0] * len(row)
        self.fresh = [Spread() for _ in MEASURED]
        self.waiting_since_s = None

    def dump(self) -> dict[str, Any]:
        """As JSON can carry it."""
        return {
            "n": self.past.n.tolist(),
            "k": self.past.k.tolist(),
            "spreads": [dump_spread(spread) for spread in self.baseline.spreads.values()],
            "fresh": [dump_spread(spread) for spread in self.fresh],
            "limits": list(self.limits),
            "waiting": [self.waiting_n, self.waiting_k, self.waiting_since_s],
        }

    @staticmethod
    def load(data: dict[str, Any], metrics: int) -> "Kind":
        """What `dump` gave."""
        kind = Kind(metrics)
        kind.past = Counts(np.array(data["n"]), np.array(data["k"]))
        kind.baseline = load_baseline(data["spreads"])
        kind.fresh = [load_spread(spread) for spread in data["fresh"]]
        kind.limits = tuple(data["limits"])
        kind.waiting_n, kind.waiting_k, kind.waiting_since_s = data["waiting"]
        return kind


def number(outcome: Outcome, measured: Measured) -> float | None:
    """A number of an answer that can be compared; None without one."""
    if outcome.fault or outcome.is_empty:
        return None
    value = getattr(outcome, measured)
    if value is None or not math.isfinite(value) or value < 0:
        return None
    return float(value)


def questions(outcome: Outcome, metrics: Sequence[Metric], limits: Sequence[float | None]) -> tuple[int | None, ...]:
    """For each metric: 1 harm, 0 none, None where the question makes no sense for this answer."""
    answered = not outcome.fault
    full = answered and not outcome.is_empty
    plain: dict[str, bool | None] = {
        "errors": outcome.fault == "error",
        "timeouts": outcome.fault == "timeout",
        "empty": outcome.is_empty if answered else None,
        "malformed": outcome.is_malformed if full else None,
        "truncated": outcome.is_truncated if full else None,
        "refused": outcome.is_refused if full else None,
        "escalated": outcome.has_escalated if answered else None,
    }
    found: list[int | None] = []
    for metric, limit in zip(metrics, limits, strict=True):
        if metric.measured is None:
            harm = plain[metric.name]
            found.append(None if harm is None else int(harm))
            continue
        # A copy that nobody waits for stands behind callers in the engine's queue: its times say nothing.
        is_time = metric.measured in ("ttft_s", "tpot_s")
        value = None if limit is None or (outcome.is_shadow and is_time) else number(outcome, metric.measured)
        if value is None or limit is None:
            found.append(None)
            continue
        asked = limit * metric.factor if outcome.is_canary else limit
        found.append(int(value > asked if metric.factor > 1 else value < asked))
    return tuple(found)


def _limit(metric: Metric, own: Baseline, everywhere: Baseline) -> float | None:
    if metric.measured is None:
        return None
    spread = own.spreads[metric.measured]
    if spread.n < ENOUGH:
        spread = everywhere.spreads[metric.measured]
    return spread.quantile(metric.quantile) if spread.n >= ENOUGH else None


def dump_spread(spread: Spread) -> list[Any]:
    """As JSON can carry it."""
    return [spread.n, sorted(spread.bins.items())]


def load_spread(data: list[Any], recent: int = 0) -> Spread:
    """What `dump_spread` gave."""
    spread = Spread(recent)
    spread.n, spread.bins = data[0], dict(data[1])
    return spread


def load_baseline(data: Sequence[list[Any]]) -> Baseline:
    """Spreads in the order of `MEASURED`."""
    baseline = Baseline()
    baseline.spreads = {measured: load_spread(spread, RECENT) for measured, spread in zip(MEASURED, data, strict=True)}
    return baseline
