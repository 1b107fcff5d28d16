"""Two runs of one plan, and which of their differences are outside noise.

Each difference has an interval from the moving block bootstrap (`loadtests.judging.resampling`). Many rows are looked
at, so some would differ by chance: Benjamini's and Hochberg's procedure (Controlling the false discovery rate, Journal
of the Royal Statistical Society B 57, 1995) keeps the share of false ones among those called better or worse near 5 %,
and with it the chance that any row of two runs of the same is called so. It may be used as the rows depend on each
other positively: what makes a p50 long makes the p95 long (Y. Benjamini, D. Yekutieli, Annals of Statistics 29, 2001).
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Final, Literal

import numpy as np
from scipy.special import stdtr, stdtrit

from cluster.errors import UserError
from loadtests.judging.columns import Columns
from loadtests.judging.comparison_notes import notes_of
from loadtests.judging.metrics import Metric, Side, Unit, metrics_of
from loadtests.judging.plan_differences import differences
from loadtests.judging.resampling import (
    FEWEST_BLOCKS,
    LEAST_BLOCK_S,
    Cells,
    cells_of,
    memory_cells,
    weights_of,
)
from loadtests.judging.slices import counted_stages, measured, seconds_of, whole_from
from loadtests.records.run import Run

Finding = Literal["better", "worse", "different", "no difference seen", "too few", "not judged"]

FORMAT: Final = 1
_CHANCE: Final = 0.05
# Less than this is no difference to anybody, however sure it is, and two runs on one machine differ by as much.
_LEAST_RELATIVE: Final = 0.01


@dataclass(frozen=True, slots=True)
class Row:
    """One figure of A and of B."""

    name: str
    title: str
    unit: Unit
    a: float | None
    b: float | None
    difference: float | None
    """B less A, in the figure's own unit."""
    low: float | None
    """Of the difference, 95 %, for this row alone; None where it cannot be known."""
    high: float | None
    relative: float | None
    """The difference over A; None where A has none or is 0."""
    p: float | None
    """The chance of such a difference without a cause, adjusted for the number of rows."""
    finding: Finding
    """"different": outside noise, but neither better nor worse."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """B against A."""

    rows: tuple[Row, ...]
    notes: tuple[str, ...]
    """What must be known before one trusts the rows."""
    sentences: tuple[str, ...]
    """The result first, then what is better or worse, for a person."""
    is_paired: bool
    """The same requests were due at the same moments, so both runs are drawn together."""
    block_s: float
    blocks: int

    @property
    def is_worse(self) -> bool:
        """Whether anything is worse outside noise."""
        return any(row.finding == "worse" for row in self.rows)


def compare(a: Run, b: Run, allow_different: bool = False) -> Comparison:
    """B against A. Raises UserError if they were asked different things, unless that is allowed, or hold no request."""
    differing = differences(a.plan, b.plan)
    if differing and not allow_different:
        raise UserError(
            f"the runs had different plans, so their figures do not compare: {_listed(differing)}; "
            "--allow-different compares them all the same"
        )
    # One promise for both.
    b = replace(b, plan=b.plan.model_copy(update={"slo": a.plan.slo}))
    columns = [measured(run) for run in (a, b)]
    for name, one in zip("AB", columns, strict=True):
        if not len(one):
            raise UserError(f"run {name} holds no request that counts, so there is nothing to compare")
    cells = [_cells(run, one) for run, one in zip((a, b), columns, strict=True)]
    is_open = all(stage.arrivals is not None for stage in a.plan.stages)
    is_paired = not differing and is_open and a.plan.seed == b.plan.seed and cells[0].count == cells[1].count
    wanted, most = _block(columns, cells)
    block = min(wanted, most)
    sides = [
        Side(
            one, whole_from(run, one), one.met(a.plan.slo), its, weights_of(its.count, block, 0 if is_paired else place)
        )
        for place, (run, one, its) in enumerate(zip((a, b), columns, cells, strict=True))
    ]
    blocks = min(its.count for its in cells) // block
    rows = _rows(list(metrics_of(*sides)), blocks)
    notes = notes_of((a, b), columns, differing, is_remembering=wanted > most)
    sentences = tuple(sentences_of(rows))
    return Comparison(rows, notes, sentences, is_paired, block * cells[0].width_s, blocks)


def as_document(comparison: Comparison) -> dict[str, Any]:
    """As JSON."""
    return {
        "format": FORMAT,
        "is_worse": comparison.is_worse,
        "sentences": list(comparison.sentences),
        "notes": list(comparison.notes),
        "is_paired": comparison.is_paired,
        "block_s": comparison.block_s,
        "blocks": comparison.blocks,
        "rows": [asdict(row) for row in comparison.rows],
    }


def sentences_of(rows: Sequence[Row]) -> list[str]:
    """The result, and a line for each row that is outside noise."""
    found = {name: [row for row in rows if row.finding == name] for name in ("worse", "better", "different", "too few")}
    judged = sum(row.finding in ("worse", "better", "different", "no difference seen") for row in rows)
    if not judged:
        return ["There are too few requests, or too little time, to tell B from A."]
    parts = [f"{len(found[name])} {name}" for name in ("worse", "better") if found[name]]
    result = " and ".join(parts) if parts else "nothing is better or worse outside noise"
    more = f"; {len(found['too few'])} rows have too few requests to tell" if found["too few"] else ""
    lines = [f"B against A: {result}, of {judged} figures{more}."]
    return lines + [_line(row) for name in ("worse", "better", "different") for row in found[name]]


def _line(row: Row) -> str:
    assert row.difference is not None
    a, b = shown(row.a, row.unit), shown(row.b, row.unit)
    low, high = shown(row.low, row.unit, sign=True), shown(row.high, row.unit, sign=True)
    relative = "" if row.relative is None else f"{100 * row.relative:+.1f} %, "
    return f"{row.title}: {row.finding}, {b} instead of {a} ({relative}95 % interval of the difference {low} to {high})"


def shown(value: float | None, unit: Unit, sign: bool = False) -> str:
    """A figure with its unit, for people."""
    if value is None:
        return "-"
    plus = "+" if sign else ""
    match unit:
        case "s":
            return f"{value * 1000:{plus},.1f} ms" if abs(value) < 1 else f"{value:{plus}.2f} s"
        case "1/s":
            return f"{value:{plus},.2f}/s"
        case "ratio":
            return f"{100 * value:{plus}.2f} %"
        case "tokens":
            return f"{value:{plus}.1f}"


def _cells(run: Run, columns: Columns) -> Cells:
    _, end_s = seconds_of(run, counted_stages(run.plan), columns)
    return cells_of(float(columns.at_s.min()), end_s)


def _block(columns: Sequence[Columns], cells: Sequence[Cells]) -> tuple[int, int]:
    """How long a stretch of cells to draw, and how long it may be at most."""
    wanted = 1
    for one, its in zip(columns, cells, strict=True):
        answered = one.where(one.is_answered & np.isfinite(one.first_s))
        memory = memory_cells(answered.at_s, answered.first_s, its) if len(answered) else 1
        wanted = max(wanted, math.ceil(LEAST_BLOCK_S / its.width_s), round(its.count ** (1 / 3)), 2 * memory)
    return wanted, max(1, min(its.count for its in cells) // FEWEST_BLOCKS)


def _rows(metrics: Sequence[Metric], blocks: int) -> tuple[Row, ...]:
    rows = [_row(metric, blocks) for metric in metrics]
    chances = iter(adjusted([row.p for row in rows if row.p is not None]))
    rows = [row if row.p is None else replace(row, p=next(chances)) for row in rows]
    rows = [
        row if row.p is None else replace(row, finding=_finding(row, metric))
        for row, metric in zip(rows, metrics, strict=True)
    ]
    if any(row.name == "answer_tokens" and row.finding == "different" for row in rows):
        # More tokens a second because answers got longer are no merit, and fewer for that reason no fault.
        rows = [replace(row, finding="different") if _is_tokens_found(row) else row for row in rows]
    return tuple(row for row in rows if row.a is not None or row.b is not None)


def _is_tokens_found(row: Row) -> bool:
    return row.name == "output_tokens_per_s" and row.finding in ("better", "worse")


def _row(metric: Metric, blocks: int) -> Row:
    a, b = metric.a, metric.b
    difference = None if a is None or b is None else b - a
    relative = None if difference is None or not a else difference / a
    row = Row(metric.name, metric.title, metric.unit, a, b, difference, None, None, relative, None, finding="too few")
    if difference is None or not metric.is_enough or (metric.drawn is not None and blocks < FEWEST_BLOCKS):
        return row
    if metric.drawn is None:
        return replace(row, finding="not judged")
    drawn_a, drawn_b = metric.drawn
    # So few blocks vary too little: as a variance over n - 1, and Student's distribution for the rest.
    error = float(np.std(drawn_b - drawn_a, ddof=1)) * math.sqrt(blocks / (blocks - 1))
    error = max(error, metric.least_error, 1e-12)
    reach = float(stdtrit(blocks - 1, 0.975)) * error
    p = 2 * float(stdtr(blocks - 1, -abs(difference) / error))
    return replace(row, low=difference - reach, high=difference + reach, p=p, finding="no difference seen")


def _finding(row: Row, metric: Metric) -> Finding:
    assert row.difference is not None
    if row.p is None or row.p > _CHANCE:
        return "no difference seen"
    if row.unit != "ratio" and row.relative is not None and abs(row.relative) < _LEAST_RELATIVE:
        return "no difference seen"
    if metric.better == "neither":
        return "different"
    return "better" if (row.difference > 0) == (metric.better == "higher") else "worse"


def adjusted(chances: Sequence[float]) -> list[float]:
    """Benjamini's and Hochberg's, so that each may be held against 5 % as if there were no others."""
    order = sorted(range(len(chances)), key=chances.__getitem__)
    result, least = [0.0] * len(chances), 1.0
    for rank in range(len(order), 0, -1):
        place = order[rank - 1]
        least = min(least, chances[place] * len(order) / rank)
        result[place] = least
    return result


def _listed(differing: Sequence[str]) -> str:
    more = f", and {len(differing) - 4} more" if len(differing) > 4 else ""
    return ", ".join(differing[:4]) + more
