"""What a fault did to those who asked: before, during and after it, and when all was as before."""

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from loadtests.judging.columns import Columns
from loadtests.judging.figures import Figures, figures_from
from loadtests.records.run import Mark, Run

Outcome = Literal["none", "recovered", "not_recovered", "unknown", "not_done"]

_LOOK_S: Final = 30.0
"""Before and after a fault, seconds."""
# One that is over at once still takes some seconds to be felt.
_LEAST_DURING_S: Final = 10.0
# So many seconds in a row are looked at together: fewer hold too few requests.
_STEADY_S: Final = 5
_TOLERANCE_RATIO: Final = 0.05
_FEWEST_BEFORE: Final = 10


@dataclass(frozen=True, slots=True)
class Effect:
    """One mark. The figures are of the requests that were due then; None: there was none."""

    mark: Mark
    before: Figures | None
    """The 30 s before it, back to the end of the fault before."""
    during: Figures | None
    """Until it was taken back, at least 10 s."""
    after: Figures | None
    """The next 30 s, up to the next fault."""
    outcome: Outcome
    """"none": no more requests failed their SLO than before; "unknown": too few requests or too little time to tell."""
    recovered_after_s: float | None
    """From the fault to the first 5 s in which as large a share of the requests met the SLO as before it, less what
    chance explains. By when requests were due: one that waits through the outage counts to when it was asked."""
    watched_s: float
    """How long after the fault one could see: to the next fault or to the next stage."""


def effects_of(run: Run, columns: Columns) -> list[Effect]:
    """One for each mark, in their order. `columns`: of all requests, those of a warm-up too."""
    return [_effect(run, columns, mark) for mark in run.marks]


def _effect(run: Run, columns: Columns, mark: Mark) -> Effect:
    others = [other for other in run.marks if other is not mark and other.is_done]
    earlier_s = max([_end_s(other) for other in others if _end_s(other) <= mark.at_s], default=0.0)
    later_s = min([other.at_s for other in others if other.at_s > mark.at_s], default=np.inf)
    end_s = min(_end_s(mark), later_s)
    before = _between(run, columns, max(earlier_s, mark.at_s - _LOOK_S), mark.at_s)
    during = _between(run, columns, mark.at_s, end_s)
    after = _between(run, columns, end_s, min(end_s + _LOOK_S, later_s))
    watched_s = max(0.0, min(later_s, _stage_end_s(run, end_s)) - mark.at_s)
    outcome, recovered_after_s = _recovery(run, columns, mark, before, end_s, watched_s)
    return Effect(mark, before, during, after, outcome, recovered_after_s, watched_s)


def _end_s(mark: Mark) -> float:
    return mark.until_s if mark.until_s is not None else mark.at_s + _LEAST_DURING_S


def _stage_end_s(run: Run, at_s: float) -> float:
    """The end of the stage that is on then: beyond it another load begins, and nothing compares."""
    end_s = 0.0
    for stage in run.plan.stages:
        end_s += stage.seconds
        if end_s > at_s:
            break
    return end_s


def _between(run: Run, columns: Columns, from_s: float, to_s: float) -> Figures | None:
    here = columns.where((columns.at_s >= from_s) & (columns.at_s < to_s))
    # By when they were due: what comes later is not of this span's throughput, so there is no tail to add.
    return figures_from(here, run.plan.slo, to_s - from_s, to_s - from_s) if len(here) else None


def _recovery(
    run: Run, columns: Columns, mark: Mark, before: Figures | None, end_s: float, watched_s: float
) -> tuple[Outcome, float | None]:
    if not mark.is_done:
        return "not_done", None
    count = int(watched_s)
    if before is None or before.requests < _FEWEST_BEFORE or count < _STEADY_S:
        return "unknown", None
    met = columns.met(run.plan.slo)
    place = np.floor(columns.at_s - mark.at_s).astype(np.int64)
    here = (place >= 0) & (place < count)
    window = np.ones(_STEADY_S)
    due = np.convolve(np.bincount(place[here], minlength=count), window, "valid")
    good = np.convolve(np.bincount(place[here & met], minlength=count), window, "valid")
    ratio = before.met_ratio
    # Two standard errors of so few requests, besides what nobody would call a difference.
    chance = 2 * np.sqrt(np.maximum(ratio * (1 - ratio), 0.01) / np.maximum(due, 1))
    is_bad = (due > 0) & (good / np.maximum(due, 1) < ratio - np.maximum(_TOLERANCE_RATIO, chance))
    (bad,) = np.nonzero(is_bad)
    if not len(bad) or bad[0] > end_s - mark.at_s + _LEAST_DURING_S:
        return "none", None
    (well,) = np.nonzero(~is_bad & (due > 0) & (np.arange(len(is_bad)) > bad[0]))
    return ("recovered", float(well[0])) if len(well) else ("not_recovered", None)
