"""A run as a whole and cut by what distinguishes its requests. Warm-up stages count nowhere."""

import itertools
from collections.abc import Sequence
from typing import Final

from loadtests.judging.columns import Columns
from loadtests.judging.figures import UNKNOWN, Figures, figures_from, span_s_of
from loadtests.plan import Plan
from loadtests.records.gaps import Gaps, added
from loadtests.records.run import Run
from loadtests.records.sample import Sample

NO_VALUE: Final = "none"
"""The slice of requests that have no such label."""

_COLUMNS: Final = {
    "model": "answered_by", "level": "level", "tenant": "tenant", "kind": "kind", "language": "language",
    "difficulty": "difficulty",
}  # fmt: skip


def counted_stages(plan: Plan) -> tuple[int, ...]:
    """The stages that are no warm-up, by their place in the plan."""
    return tuple(index for index, stage in enumerate(plan.stages) if not stage.is_warm_up)


def measured_samples(run: Run) -> list[Sample]:
    """The samples that count."""
    counted = frozenset(counted_stages(run.plan))
    return [sample for sample in run.samples if sample.stage in counted]


def measured(run: Run) -> Columns:
    """The samples that count, as columns. A conversation's turns in the warm-up are still known to `has_moved`."""
    columns = Columns.of(run.samples)
    return columns.where(columns.in_stages(counted_stages(run.plan)))


def seconds_of(run: Run, stages: Sequence[int], columns: Columns) -> tuple[float, float]:
    """How long these stages lasted, and when the last of them ended. They last as planned, unless the run ended early
    or its questions did: then until the last request that was due. `columns`: those that count."""
    ends_s = _ends_s(run.plan)
    begins_s = [0.0, *ends_s[:-1]]
    is_in_order = run.plan.workload.in_order
    if run.about.outcome != "finished" or is_in_order:
        last_s = _last_sign_s(run, columns)
        ends_s = [min(end_s, last_s) for end_s in ends_s]
    if is_in_order and len(columns):
        # From the first question to the last, as the public tools count.
        begins_s = [max(begin_s, float(columns.at_s.min())) for begin_s in begins_s]
    seconds = sum(max(0.0, ends_s[stage] - begins_s[stage]) for stage in stages)
    return seconds, max((ends_s[stage] for stage in stages), default=0.0)


def whole(run: Run) -> Figures:
    """All that counts."""
    return whole_from(run, measured(run))


def whole_from(run: Run, columns: Columns) -> Figures:
    """The same from columns of `measured`."""
    stages = counted_stages(run.plan)
    return _figures(run, stages, seconds_of(run, stages, columns), columns, columns, _gaps(run, stages))


def slices_of(run: Run) -> dict[str, dict[str, Figures]]:
    """By "model", "level", "tenant", "kind", "language", "difficulty" and "stage", most requests first; stages in
    their order. What failed before a model answered is under "none" there."""
    return slices_from(run, measured(run))


def slices_from(run: Run, columns: Columns) -> dict[str, dict[str, Figures]]:
    """The same from columns of `measured`."""
    slices = {cut: _by_text(run, columns, cut) for cut in _COLUMNS}
    slices["stage"] = _by_stage(run, columns)
    return slices


def _by_text(run: Run, columns: Columns, cut: str) -> dict[str, Figures]:
    stages = counted_stages(run.plan)
    column = columns.text(_COLUMNS[cut])
    lasting = seconds_of(run, stages, columns)
    slices = {}
    for name in column.counts():
        mine = columns.where(column.are(name))
        # Gaps are counted by the stage and the model only.
        gaps = _gaps(run, stages, name) if cut == "model" else None
        slices[_label(cut, name, mine)] = _figures(run, stages, lasting, columns, mine, gaps)
    return slices


def _by_stage(run: Run, columns: Columns) -> dict[str, Figures]:
    slices: dict[str, Figures] = {}
    for stage in counted_stages(run.plan):
        mine = columns.where(columns.stage == stage)
        name = run.plan.stages[stage].name
        # Two stages may have one name.
        label = name if name not in slices else f"{name} {stage + 1}"
        slices[label] = _figures(run, (stage,), seconds_of(run, (stage,), columns), mine, mine, _gaps(run, (stage,)))
    return slices


def _figures(
    run: Run, stages: Sequence[int], lasting: tuple[float, float], spanned: Columns, mine: Columns, gaps: Gaps | None
) -> Figures:
    """Of `mine`, over the span of all of `spanned`, so that the rates of the slices of one cut add up."""
    seconds, end_s = lasting
    is_closed = all(run.plan.stages[stage].people is not None for stage in stages)
    return figures_from(mine, run.plan.slo, seconds, span_s_of(spanned, seconds, end_s), gaps, is_closed)


def _label(cut: str, name: str, mine: Columns) -> str:
    if name:
        return name
    return UNKNOWN if cut == "model" and mine.is_answered.any() else NO_VALUE


def _gaps(run: Run, stages: Sequence[int], model: str | None = None) -> Gaps | None:
    found = [gaps for (stage, name), gaps in run.gaps.items() if stage in stages and model in (None, name)]
    return added(found) or None


def _ends_s(plan: Plan) -> list[float]:
    return list(itertools.accumulate(stage.seconds for stage in plan.stages))


def _last_sign_s(run: Run, columns: Columns) -> float:
    """When the last request was due; without one, how far the ticks go."""
    if len(columns):
        return float(columns.at_s.max())
    return float(run.ticks[-1].at_s + 1) if run.ticks else 0.0
