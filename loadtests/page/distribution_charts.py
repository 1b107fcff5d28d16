"""How durations are distributed: a curve says for each duration which part of the requests took no longer."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from loadtests.judging.columns import Columns, Numbers
from loadtests.page.drawing import (
    BAD,
    HALF,
    INK,
    SERIES,
    Chart,
    Key,
    duration,
    key,
    log_durations,
    shares,
    sheet,
    y_title,
)
from loadtests.records.gaps import Gaps, added, gap_s_of
from loadtests.records.run import Run

# More points would not be seen; the slow end, where they matter, has most.
_RATIOS: Final = np.unique(
    np.concatenate([np.linspace(0, 0.9, 91), np.linspace(0.9, 0.99, 46), np.linspace(0.99, 1, 41)])
)
_MOST_MODELS: Final = 5
# What a logarithmic axis begins with: nothing is faster.
_LEAST_S: Final = 1e-5


@dataclass(frozen=True, slots=True)
class Curve:
    """One line of such a chart."""

    name: str
    colour: str
    values_s: Numbers
    """Ascending."""
    ratios: Numbers
    is_dashed: bool = False


def curve_of(name: str, colour: str, values_s: Numbers, *, is_dashed: bool = False) -> Curve | None:
    """The curve of single durations; None if there are none."""
    kept = values_s[np.isfinite(values_s)]
    if not len(kept):
        return None
    return Curve(name, colour, np.quantile(kept, _RATIOS), _RATIOS, is_dashed)


def pair_of_curves(values_s: Sequence[Numbers]) -> list[Curve | None]:
    """Two runs, A and B."""
    names = ("A", SERIES[0]), ("B", SERIES[1])
    return [curve_of(name, colour, one) for (name, colour), one in zip(names, values_s, strict=True)]


def gap_curve(name: str, colour: str, gaps: Mapping[int, int], *, is_dashed: bool = False) -> Curve | None:
    """The curve of gaps that were counted in buckets."""
    if not sum(gaps.values()):
        return None
    buckets = sorted(gaps)
    ratios = np.cumsum([gaps[bucket] for bucket in buckets]) / sum(gaps.values())
    return Curve(name, colour, np.array([gap_s_of(bucket) for bucket in buckets]), ratios, is_dashed)


def curves_chart(
    title_zh: str,
    title: str,
    curves: Sequence[Curve | None],
    limit_s: float | None = None,
    limit: str = "SLO",
    note: str = "",
) -> Chart | None:
    """Cumulated shares over durations; None if no curve has a duration. `limit_s`: what they are held against."""
    drawn_curves = [curve for curve in curves if curve is not None]
    if not drawn_curves:
        return None
    keys: list[Key] = []
    with sheet(width=HALF, heights=(2.1,)) as drawn:
        axes = drawn.axes[0]
        for curve in drawn_curves:
            dashes = (0, (3, 1.6)) if curve.is_dashed else "-"
            values_s = np.maximum(curve.values_s, _LEAST_S)
            # A step at the fastest one: nobody was faster.
            xs, ys = np.concatenate([values_s[:1], values_s]), np.concatenate([[0.0], curve.ratios])
            axes.plot(xs, ys, color=curve.colour, linewidth=1.3, linestyle=dashes)
            keys.append(key(curve.name, curve.colour, "dash" if curve.is_dashed else "line"))
        if limit_s is not None:
            axes.axvline(limit_s, color=BAD, linewidth=0.9, linestyle=(0, (4, 3)))
            keys.append(key(f"{limit} {duration(limit_s)}", BAD, "dash"))
        log_durations(axes, is_x=True)
        shares(axes)
        y_title(axes, "part of the requests that took no longer")
        svg = drawn.svg(f"{title}: part of the requests that took no longer than so long")
    return Chart(title_zh, title, svg, tuple(keys), note, is_wide=False)


def duration_charts(run: Run, columns: Columns) -> list[Chart]:
    """First token, gaps between tokens and whole answers, all together and by model. `columns`: those that count."""
    answered = columns.where(columns.is_answered)
    models = list(answered.answered_by.counts())[:_MOST_MODELS]
    masks = [(name, SERIES[place], answered.answered_by.are(name)) for place, name in enumerate(models)]
    slo = run.plan.slo

    def cuts(values_s: Numbers) -> list[Curve | None]:
        all_of_them = [curve_of("all", INK, values_s)] if len(masks) != 1 else []
        return [*all_of_them, *(curve_of(name or "not named", colour, values_s[mask]) for name, colour, mask in masks)]

    left = len(answered.answered_by.counts()) - len(models)
    note = f"{left} more models are in `all` only." if left else ""
    found = [
        curves_chart("首字时间", "First token, as callers feel it", cuts(answered.first_s), slo.ttft_s, note=note),
        curves_chart("完整回答时间", "Whole answer, from sent to the last byte", cuts(answered.e2e_s), slo.e2e_s),
        curves_chart("每个词的时间 TPOT", "Time per output token", cuts(answered.tpot_s), slo.tpot_s),
        _gap_chart(run, models),
    ]
    return [chart for chart in found if chart is not None]


def lag_chart(columns: Columns, limit_s: float) -> Chart | None:
    """How late the generator itself has sent; None in a closed loop."""
    curve = curve_of("sent minus due", INK, columns.lag_s)
    if curve is None or not curve.values_s[-1]:
        return None
    note = "Beyond the limit, latencies are the generator's doing as well as the server's."
    return curves_chart("发送延迟", "Lag of the generator", [curve], limit_s, "limit", note)


def _gap_chart(run: Run, models: Sequence[str]) -> Chart | None:
    counted = {index for index, stage in enumerate(run.plan.stages) if not stage.is_warm_up}

    def gaps_of(*wanted: str) -> Gaps:
        found = run.gaps.items()
        return added(gaps for (stage, name), gaps in found if stage in counted and (not wanted or name in wanted))

    curves = [gap_curve("all", INK, gaps_of())] if len(models) != 1 else []
    curves += [gap_curve(name or "not named", SERIES[place], gaps_of(name)) for place, name in enumerate(models)]
    return curves_chart("词间间隔 ITL", "Gaps between pieces of a stream", curves)
