"""The evidence of one rollout: takes outcomes, says what they mean."""

import json
import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from cluster.errors import OurFault
from cluster.outcomes import Outcome
from cluster.release_settings import Thresholds
from registry.judging.conclusion import Known, conclude
from registry.judging.groups import Groups
from registry.judging.harm import Counts, Harm, Lines, expected
from registry.judging.intervals import Intervals
from registry.judging.kinds import Baseline, Kind, dump_spread, load_baseline, load_spread, number
from registry.judging.metrics import MEASURED, QUALITY_WEIGHT, metrics
from registry.judging.pairs import Pairs
from registry.judging.spread import Spread
from registry.verdict import Verdict

MOST_KINDS = 64
"""Answers of further kinds are counted, but not compared."""
WAIT_S = 600.0
"""Answers that meet none alike on the other side for so long are not compared with later ones."""
_FORMAT = 1


class Evidence:
    """What is known of the canary beside stable, in bounded memory. Not for several threads.

    Outcomes of one `take` and one kind of questions are a block; `harm` and `intervals` say why that is sound.
    """

    def __init__(self, thresholds: Thresholds) -> None:
        self.thresholds = thresholds
        self._metrics = metrics(thresholds)
        self._lines = Lines.of(self._metrics)
        self._harm = Harm(self._lines)
        self._pairs = Pairs(0.5 - thresholds.quality_margin_ratio)
        self._log_peak = 0.0
        """The highest that all metrics together have ever been."""
        self._everywhere = Counts.none(len(self._metrics))
        self._baseline = Baseline()
        self._kinds: dict[str, Kind] = {}
        self._groups = Groups()
        self._requests = [0, 0]
        self.begin_step()

    def begin_step(self) -> None:
        """A new step of the canary begins: promotion needs evidence of this step, the abort tests go on."""
        self._intervals = Intervals(len(self._metrics))
        self._spreads = [[Spread() for _ in MEASURED] for _ in (0, 1)]
        for kind in self._kinds.values():
            kind.forget_waiting()

    def take(self, outcomes: Iterable[Outcome]) -> None:
        """Count these outcomes, of this rollout only."""
        touched: dict[str, Kind] = {}
        for outcome in outcomes:
            side = int(outcome.is_canary)
            self._requests[side] += 1
            self._groups.count(outcome)
            if outcome.is_canary and outcome.quality is not None and math.isfinite(outcome.quality):
                self._pairs.take(min(1.0, max(0.0, outcome.quality)))
            kind = self._kind(outcome.stratum)
            if kind is None:
                continue
            kind.count(outcome, self._metrics)
            touched[outcome.stratum] = kind
            for spread, measured in zip(self._spreads[side], MEASURED, strict=True):
                value = number(outcome, measured)
                if value is not None:
                    spread.add(value)
        for _, kind in sorted(touched.items()):
            self._settle(kind)
        log_total = np.logaddexp(self._harm.log_total(), math.log(QUALITY_WEIGHT) + self._pairs.log_now())
        self._log_peak = max(self._log_peak, float(log_total))

    def verdict(self, now_s: float) -> Verdict:
        """What all this says now."""
        for kind in self._kinds.values():
            if not any(map(any, kind.waiting_n)):
                kind.waiting_since_s = None
            elif kind.waiting_since_s is None:
                kind.waiting_since_s = now_s
            elif now_s - kind.waiting_since_s > WAIT_S:
                kind.forget_waiting()
        known = Known(
            self.thresholds,
            self._metrics,
            self._harm.log_peaks,
            self._log_peak,
            self._intervals,
            self._spreads,
            self._pairs,
            self._groups.counts,
            (self._requests[0], self._requests[1]),
        )
        return conclude(known, now_s)

    def dump(self) -> bytes:
        """Everything, to go on after a restart."""
        return json.dumps(
            {
                "format": _FORMAT,
                "log_e": self._harm.log_e.tolist(),
                "log_peaks": self._harm.log_peaks.tolist(),
                "log_peak": self._log_peak,
                "everywhere": [self._everywhere.n.tolist(), self._everywhere.k.tolist()],
                "baseline": [dump_spread(spread) for spread in self._baseline.spreads.values()],
                "kinds": {name: kind.dump() for name, kind in sorted(self._kinds.items())},
                "groups": self._groups.counts,
                "requests": self._requests,
                "intervals": [
                    self._intervals.weight.tolist(),
                    self._intervals.total.tolist(),
                    self._intervals.spread.tolist(),
                    self._intervals.counts.n.tolist(),
                    self._intervals.counts.k.tolist(),
                ],
                "spreads": [[dump_spread(spread) for spread in side] for side in self._spreads],
                "pairs": self._pairs.dump(),
            },
            separators=(",", ":"),
            allow_nan=False,
        ).encode()

    @classmethod
    def load(cls, data: bytes, thresholds: Thresholds) -> "Evidence":
        """Go on with what `dump` gave. Thresholds may have changed since: they count from now on."""
        evidence = cls(thresholds)
        try:
            evidence._restore(json.loads(data))
        except (ValueError, KeyError, IndexError, TypeError) as error:
            raise OurFault(f"The stored evidence of a rollout cannot be read: {error!r}") from error
        return evidence

    def _restore(self, stored: dict[str, Any]) -> None:
        if stored["format"] != _FORMAT:
            raise ValueError(f"its format is {stored['format']}, not {_FORMAT}")
        count = len(self._metrics)
        self._harm.log_e[...] = stored["log_e"]
        self._harm.log_peaks[...] = stored["log_peaks"]
        self._log_peak = stored["log_peak"]
        self._everywhere.n[...], self._everywhere.k[...] = stored["everywhere"]
        self._baseline = load_baseline(stored["baseline"])
        self._kinds = {name: Kind.load(kind, count) for name, kind in stored["kinds"].items()}
        self._groups.counts = stored["groups"]
        self._requests = stored["requests"]
        intervals = self._intervals
        intervals.weight[...], intervals.total[...], intervals.spread[...] = stored["intervals"][:3]
        intervals.counts.n[...], intervals.counts.k[...] = stored["intervals"][3:]
        self._spreads = [[load_spread(spread) for spread in side] for side in stored["spreads"]]
        self._pairs.restore(stored["pairs"])

    def _kind(self, stratum: str) -> Kind | None:
        kind = self._kinds.get(stratum)
        if kind is None and len(self._kinds) < MOST_KINDS:
            kind = self._kinds[stratum] = Kind(len(self._metrics))
            kind.set_limits(self._metrics, self._baseline)
        return kind

    def _settle(self, kind: Kind) -> None:
        """Weigh what waited on both sides."""
        block = kind.block()
        if block is not None:
            shares = expected(kind.past, self._everywhere, self._lines.usual)
            self._harm.take(block, shares[..., 0, :])
            self._intervals.take(block, shares)
            kind.past.add(block)
            self._everywhere.add(block)
            kind.learn(self._metrics, self._baseline)
        kind.set_limits(self._metrics, self._baseline)
