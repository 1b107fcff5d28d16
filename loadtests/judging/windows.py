"""A run over time: what became of the requests that were due in each window."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from loadtests.judging.columns import Columns, Numbers
from loadtests.plan import Slo
from loadtests.records.sample import Sample


@dataclass(frozen=True, slots=True)
class Window:
    """Requests by the time they were due, but for the last two figures. None where there is no such request."""

    at_s: float
    """Where it begins, since the run began."""
    seconds: float
    count: int
    """Due."""
    errors: int
    first_p50_s: float | None
    """Due to first token, or to the whole answer where it is not streamed."""
    first_p90_s: float | None
    first_p99_s: float | None
    tpot_p50_s: float | None
    met_ratio: float | None
    """Part that meets the SLO; None without requests, or if no SLO was given."""
    completed: int
    """Whole answers that came within this window, whenever they were due."""
    completed_tokens: int
    """Tokens of those answers."""


def windows_of(samples: Sequence[Sample], width_s: float, slo: Slo | None = None) -> list[Window]:
    """Windows of `width_s` seconds without holes, from the first request due to the last one due or answered."""
    return windows_from(Columns.of(samples), width_s, slo)


def windows_from(columns: Columns, width_s: float, slo: Slo | None = None) -> list[Window]:
    """The same from columns."""
    if not len(columns):
        return []
    due = _place(columns.at_s, width_s)
    is_done = columns.is_answered & np.isfinite(columns.done_s)
    done = _place(columns.done_s[is_done], width_s)
    first = int(due.min())
    count = int(max(due.max(), done.max(initial=first))) - first + 1
    completed = np.bincount(done - first, minlength=count)
    tokens = np.bincount(done - first, weights=columns.completion_tokens[is_done], minlength=count)
    met = columns.met(slo) if slo is not None else None
    order = np.argsort(due, kind="stable")
    ends = np.searchsorted(due[order], np.arange(first, first + count + 1))
    windows = []
    for index in range(count):
        mine = order[ends[index] : ends[index + 1]]
        answered = mine[columns.is_answered[mine]]
        p50, p90, p99 = _percentiles(columns.first_s[answered], (50, 90, 99))
        (tpot,) = _percentiles(columns.tpot_s[answered], (50,))
        windows.append(
            Window(
                at_s=(first + index) * width_s,
                seconds=width_s,
                count=len(mine),
                errors=len(mine) - len(answered),
                first_p50_s=p50,
                first_p90_s=p90,
                first_p99_s=p99,
                tpot_p50_s=tpot,
                met_ratio=float(met[mine].mean()) if met is not None and len(mine) else None,
                completed=int(completed[index]),
                completed_tokens=int(tokens[index]),
            )
        )
    return windows


def width_s_of(seconds: float, most: int = 120) -> float:
    """A width in round seconds, so that a run of `seconds` has at most `most` windows."""
    return next(
        (width for width in (1.0, 2.0, 5.0, 10.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0) if seconds / width <= most),
        3600.0,
    )


def _place(at_s: Numbers, width_s: float) -> "np.ndarray[tuple[int], np.dtype[np.int64]]":
    return np.floor(at_s / width_s).astype(np.int64)


def _percentiles(values: Numbers, ranks: tuple[int, ...]) -> list[float | None]:
    values = values[~np.isnan(values)]
    return [*np.percentile(values, ranks).tolist()] if len(values) else [None] * len(ranks)
