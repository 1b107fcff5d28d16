"""What routing buys: runs of one plan with other models asked for, beside each other. Quality against speed."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cluster.errors import UserError
from loadtests.judging.figures import Figures
from loadtests.judging.generator_limits import generator_limits
from loadtests.judging.plan_differences import differences
from loadtests.judging.slices import measured, whole
from loadtests.page import words
from loadtests.page.page import rendered
from loadtests.page.tables import SliceRow, plan_text, slice_row
from loadtests.records.run import Run
from registry.disk import write_durably

_HUES: Final = ("--c1", "--c2", "--c3", "--c4", "--c5", "--c6")


@dataclass(frozen=True, slots=True)
class Entry:
    """One run."""

    name: str
    run: Run
    row: SliceRow
    hue: str
    shares: tuple[tuple[str, str, float], ...]
    """Model, colour and part of the answers."""

    @property
    def figures(self) -> Figures:
        """Of all its requests that count."""
        return self.row.figures


def write_routing_page(path: Path, entries: Mapping[str, Run]) -> None:
    """Write the page, whole or not at all. Raises UserError without runs."""
    write_durably(path, routing_page_of(entries))


def routing_page_of(entries: Mapping[str, Run]) -> str:
    """The page's HTML. `entries` by their names, such as auto, all_large and all_small. Raises UserError without runs.

    The first is held against each of the others.
    """
    # Imported late: matplotlib takes half a second.
    from loadtests.page.routing_charts import routing_charts

    if not entries:
        raise UserError("a page on routing needs at least one run")
    found = _entries(entries)
    first = found[0].run
    return rendered(
        "routing.html",
        entries=found,
        sentences=sentences_of(found),
        warnings=_warnings(found),
        charts_of=routing_charts([(one.name, one.figures) for one in found], first.plan.slo),
        first=first,
        settings=plan_text(first.plan),
        definitions=words.DEFINITIONS,
    )


def sentences_of(entries: list[Entry]) -> list[str]:
    """Each run in one sentence: how much of its answers is right, and how fast it is."""
    sentences = []
    for one in entries:
        figures, right = one.figures, one.figures.right
        quality = "nothing was marked"
        if right is not None and right.marked:
            quality = (
                f"{words.percent(right.right / right.marked)} of {words.count(right.marked)} answers are right "
                f"({words.percent(right.low_ratio)} to {words.percent(right.high_ratio)})"
            )
        first = "nothing was answered"
        if figures.first is not None:
            first = (
                f"the first token comes after {words.duration(figures.first.p50_s)} (median), "
                f"{words.duration(figures.first.p99_s)} (p99)"
            )
        good = f"{words.number(figures.goodput_rps)} good answers a second"
        sentences.append(f"{one.name}: {quality}; {first}; {good}.")
    return sentences + [sentence for other in entries[1:] if (sentence := _against(entries[0], other))]


def _against(one: Entry, other: Entry) -> str:
    """What the first brings and costs beside another; empty where there is nothing to say."""
    a, b = one.figures, other.figures
    parts = []
    if b.goodput_rps > 0:
        parts.append(f"{words.number(a.goodput_rps / b.goodput_rps)} times its goodput")
    if a.first is not None and b.first is not None:
        parts.append(f"{words.number(a.first.p50_s / b.first.p50_s)} times its median time to the first token")
    if a.right is not None and b.right is not None:
        points = 100 * (a.right.right / a.right.marked - b.right.right / b.right.marked)
        parts.append(f"{abs(points):.1f} points {'more' if points >= 0 else 'fewer'} right answers")
    return f"{one.name} beside {other.name}: {', '.join(parts)}." if parts else ""


def _warnings(entries: list[Entry]) -> list[str]:
    """What must be known before one trusts the page."""
    first, found = entries[0], []
    for one in entries:
        if one.run.about.outcome != "finished":
            found.append(f"{one.name} did not get to its end: {one.run.about.message or one.run.about.outcome}.")
        limits = generator_limits(measured(one.run), one.run.ticks)
        if limits.is_limit:
            found.append(f"{one.name}: {limits.sentence}")
        found += [f"{one.name} ran by another plan: {what}." for what in differences(first.run.plan, one.run.plan)]
        if one.run.plan.seed != first.run.plan.seed:
            found.append(f"{one.name} had another seed, so other requests at other moments.")
    return found


def _entries(runs: Mapping[str, Run]) -> list[Entry]:
    figures = {name: whole(run) for name, run in runs.items()}
    models = list(dict.fromkeys(model for one in figures.values() for model in one.shares))
    models.sort()
    hues = {model: _HUES[min(place, len(_HUES) - 1)] for place, model in enumerate(models)}
    return [
        Entry(
            name,
            run,
            slice_row(name, figures[name]),
            _HUES[min(place, len(_HUES) - 1)],
            tuple((model, hues[model], share) for model, share in sorted(figures[name].shares.items())),
        )
        for place, (name, run) in enumerate(runs.items())
    ]
