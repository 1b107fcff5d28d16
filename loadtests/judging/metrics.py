"""What is compared between two runs: each figure as it is, and as it would be in runs drawn anew."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from loadtests.judging.columns import Columns, Numbers, Yes
from loadtests.judging.figures import Figures
from loadtests.judging.resampling import Cells, edges_of, quantiles_of, ratios_of

Unit = Literal["s", "1/s", "ratio", "tokens"]
Better = Literal["lower", "higher", "neither"]

_FEWEST: Final = 30
"""Requests of a run, for any verdict."""
_FEWEST_BEYOND: Final = 10
"""Of them, so many above a percentile: a p99 needs a thousand requests."""


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two runs."""

    columns: Columns
    figures: Figures
    met: Yes
    cells: Cells
    weights: Numbers
    """Of `loadtests.judging.resampling.weights_of`."""


@dataclass(frozen=True, slots=True)
class Metric:
    """One figure of both runs."""

    name: str
    """As in the document: ttft_p99_s."""
    title: str
    unit: Unit
    better: Better
    a: float | None
    b: float | None
    is_enough: bool = False
    drawn: tuple[Numbers, Numbers] | None = None
    """Of runs drawn anew; None where the figure has no time and cannot be drawn."""
    least_error: float = 0.0
    """The standard error is no less, whatever the drawn runs say: they know nothing of errors that never happened."""


def metrics_of(a: Side, b: Side) -> Iterator[Metric]:
    """All that either run has."""
    yield from _durations("ttft", "TTFT", (50, 95, 99), a, b)
    yield from _durations("first", "first token as felt", (50, 95, 99), a, b)
    yield from _durations("tpot", "TPOT", (50, 99), a, b)
    yield _gap("ITL p99", a, b)
    yield from _durations("pause", "longest gap in an answer", (50, 95), a, b)
    yield from _durations("e2e", "whole answer", (50, 95, 99), a, b)
    yield from _rates(a, b)
    yield from _shares(a, b)


def _durations(name: str, title: str, ranks: tuple[int, ...], a: Side, b: Side) -> Iterator[Metric]:
    sides = []
    for side in (a, b):
        values = _seconds(name, side.columns)
        is_known = ~np.isnan(values)
        sides.append((side, values[is_known], side.cells.of(side.columns.at_s[is_known])))
    if not any(len(values) for _, values, _ in sides):
        return
    points = [np.percentile(values, ranks).tolist() if len(values) else [None] * len(ranks) for _, values, _ in sides]
    drawn = None
    if all(len(values) for _, values, _ in sides):
        edges = edges_of(*(values for _, values, _ in sides))
        levels = [rank / 100 for rank in ranks]
        drawn = [quantiles_of(side.weights, cells, values, edges, levels) for side, values, cells in sides]
    fewest = min(len(values) for _, values, _ in sides)
    for place, rank in enumerate(ranks):
        yield Metric(
            f"{name}_p{rank}_s", f"{title} p{rank}", "s", "lower", points[0][place], points[1][place],
            is_enough=fewest >= _FEWEST and fewest * (100 - rank) / 100 >= _FEWEST_BEYOND,
            drawn=(drawn[0][place], drawn[1][place]) if drawn else None,
        )  # fmt: skip


def _seconds(name: str, columns: Columns) -> Numbers:
    """Of each request; not a number where it has none."""
    match name:
        case "ttft":
            values, counts = columns.ttft_s, columns.is_answered & columns.is_streamed
        case "first":
            values, counts = columns.first_s, columns.is_answered
        case "tpot":
            values, counts = columns.tpot_s, columns.is_answered & columns.is_streamed
        case "pause":
            values, counts = columns.max_itl_s, columns.is_answered & columns.is_streamed
        case _:
            values, counts = columns.e2e_s, columns.is_answered
    return np.where(counts, values, np.nan)


def _gap(title: str, a: Side, b: Side) -> Metric:
    # Gaps are counted in buckets and have no time, so they cannot be drawn anew.
    p99_s = [side.figures.itl.p99_s if side.figures.itl else None for side in (a, b)]
    return Metric("itl_p99_s", title, "s", "lower", p99_s[0], p99_s[1], is_enough=True)


def _rates(a: Side, b: Side) -> Iterator[Metric]:
    for name, title in (
        ("completed_rps", "answers"), ("goodput_rps", "goodput"), ("output_tokens_per_s", "output tokens"),
    ):  # fmt: skip
        points, drawn, fewest = [], [], []
        for side in (a, b):
            columns, cells = side.columns, side.cells
            done_s = columns.done_s
            # What came after the load had ended has no cell. The figure itself counts it.
            here = columns.is_answered & (done_s < cells.begin_s + cells.count * cells.width_s)
            if name == "goodput_rps":
                here &= side.met
            values = columns.completion_tokens[here].astype(np.float64) if name == "output_tokens_per_s" else None
            sums = cells.sums(done_s[here], values)
            point = float(getattr(side.figures, name))
            usual = float(sums.mean())
            means = ratios_of(side.weights, sums, np.ones(cells.count))
            points.append(point)
            drawn.append(means * (point / usual) if usual else np.zeros(len(means)))
            fewest.append(len(columns))
        yield Metric(
            name, f"{title} a second", "1/s", "higher", points[0], points[1],
            is_enough=min(fewest) >= _FEWEST, drawn=(drawn[0], drawn[1]),
        )  # fmt: skip


def _shares(a: Side, b: Side) -> Iterator[Metric]:
    for name, title, better in (
        ("met_ratio", "requests that meet the SLO", "higher"),
        ("error_ratio", "requests with an error", "lower"),
        ("right_ratio", "right answers", "higher"),
    ):
        counts, drawn = [], []
        for side in (a, b):
            columns = side.columns
            is_counted = ~np.isnan(columns.is_right) if name == "right_ratio" else np.ones(len(columns), bool)
            is_part = {
                "met_ratio": side.met, "error_ratio": ~columns.is_answered, "right_ratio": columns.is_right == 1.0,
            }[name]  # fmt: skip
            counts.append((int((is_part & is_counted).sum()), int(is_counted.sum())))
            parts = side.cells.sums(columns.at_s[is_part & is_counted])
            drawn.append(ratios_of(side.weights, parts, side.cells.sums(columns.at_s[is_counted])))
        if not any(whole for _, whole in counts):
            continue
        yield Metric(
            name, title, "ratio", "higher" if better == "higher" else "lower",
            _part(counts[0]), _part(counts[1]),
            is_enough=min(whole for _, whole in counts) >= _FEWEST,
            drawn=(drawn[0], drawn[1]), least_error=_binomial_error(counts),
        )  # fmt: skip
    yield from _answer_tokens(a, b)


def _part(count: tuple[int, int]) -> float | None:
    return count[0] / count[1] if count[1] else None


def _binomial_error(counts: list[tuple[int, int]]) -> float:
    """Of the difference of two shares, were they the same."""
    whole = sum(count for _, count in counts)
    # Half a case more: with none at all the error would be nothing.
    ratio = (sum(part for part, _ in counts) + 0.5) / (whole + 1)
    return math.sqrt(ratio * (1 - ratio) * sum(1 / max(count, 1) for _, count in counts))


def _answer_tokens(a: Side, b: Side) -> Iterator[Metric]:
    """Longer answers are neither better nor worse; but they explain other differences."""
    drawn, points = [], []
    for side in (a, b):
        answered = side.columns.where(side.columns.is_answered)
        tokens = side.cells.sums(answered.at_s, answered.completion_tokens.astype(np.float64))
        drawn.append(ratios_of(side.weights, tokens, side.cells.sums(answered.at_s)))
        points.append(float(answered.completion_tokens.mean()) if len(answered) else None)
    is_enough = min(int(side.columns.is_answered.sum()) for side in (a, b)) >= _FEWEST
    yield Metric(
        "answer_tokens",
        "tokens of an answer",
        "tokens",
        "neither",
        points[0],
        points[1],
        is_enough,
        (drawn[0], drawn[1]),
    )
