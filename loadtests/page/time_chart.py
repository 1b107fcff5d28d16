"""What happened when: latency, rates, requests in flight and tokens over the time of a run, with stages and faults."""

from collections.abc import Sequence
from typing import Final

from matplotlib.axes import Axes

from loadtests.judging.windows import Window
from loadtests.page.drawing import (
    BAD,
    DIM,
    FAULT,
    GOOD,
    INK,
    SERIES,
    WARM,
    Chart,
    Key,
    Sheet,
    counts,
    key,
    log_durations,
    numbers,
    seconds_axis,
    sheet,
    y_title,
)
from loadtests.records.run import Run
from loadtests.records.tick import Tick

_P50: Final = SERIES[0]
_P90: Final = SERIES[1]
_P99: Final = SERIES[3]
_MOST_STEPS: Final = 400
_FEW: Final = 30


def time_chart(run: Run, windows: Sequence[Window]) -> Chart | None:
    """Latency above, load beneath; None if nothing was ever due. `windows` hold the warm-up, too."""
    if not windows:
        return None
    heights = (2.2, 1.2, 0.9, 0.9) if run.ticks else (2.2, 1.2, 0.9)
    keys = [key("p50", _P50), key("p90", _P90), key("p99", _P99)]
    with sheet(heights=heights, head=0.2) as drawn:
        latency, rates = drawn.axes[:2]
        _latency(latency, windows)
        if run.plan.slo.ttft_s is not None:
            latency.axhline(run.plan.slo.ttft_s, color=BAD, linewidth=0.9, linestyle=(0, (4, 3)))
            keys.append(key(f"SLO {run.plan.slo.ttft_s:g} s", BAD, "dash"))
        keys += _rates(rates, windows)
        if run.ticks:
            _in_flight(drawn.axes[2], run.ticks)
        _tokens(drawn.axes[-1], windows)
        keys += _behind_all(drawn, run)
        end_s = end_of(run, windows)
        seconds_axis(drawn.axes[-1], 0.0, end_s)
        _stage_names(latency, run, end_s)
        svg = drawn.svg("latency, requests a second, requests in flight and tokens a second over time")
    note = "Each point stands for the requests that were due in its window, whenever their answers came."
    counted = sorted(window.count for window in windows if window.count)
    if counted[len(counted) // 2] < _FEW:
        note += " With so few requests in a window, p90 and p99 are nearly the slowest of them."
    return Chart("时间进程", "Over time", svg, tuple(keys), note)


def end_of(run: Run, windows: Sequence[Window]) -> float:
    """Where the time axis ends, seconds: with the stages or the last answer; a run that was cut short, with that."""
    last_s = max(windows[-1].at_s + windows[-1].seconds, run.ticks[-1].at_s + 1.0 if run.ticks else 0.0)
    return max(last_s, run.plan.seconds) if run.about.outcome == "finished" else last_s


def behind(axes: Axes, run: Run, *, numbered: bool = False) -> None:
    """Behind a chart over time: warm-ups and faults, where stages end, and from when the queue only grew."""
    begin_s = 0.0
    for stage in run.plan.stages:
        if stage.is_warm_up:
            axes.axvspan(begin_s, begin_s + stage.seconds, color=WARM, linewidth=0, zorder=0)
        begin_s += stage.seconds
        axes.axvline(begin_s, color=DIM, linewidth=0.5, linestyle=(0, (1, 2)))
    for number, mark in enumerate(run.marks, 1):
        if mark.is_done and mark.until_s is not None:
            axes.axvspan(mark.at_s, mark.until_s, color=FAULT, linewidth=0, zorder=0.1)
        axes.axvline(mark.at_s, color=BAD if mark.is_done else DIM, linewidth=0.9)
        if numbered:
            axes.annotate(
                str(number), (mark.at_s, 1.0), xycoords=("data", "axes fraction"), xytext=(3, -9),
                textcoords="offset points", color=BAD, weight="bold", annotation_clip=True,
            )  # fmt: skip
    if run.about.saturated_at_s is not None:
        axes.axvline(run.about.saturated_at_s, color=INK, linewidth=0.9, linestyle=(0, (4, 2)))


def _latency(axes: Axes, windows: Sequence[Window]) -> None:
    middles = _middles(windows)
    lines = (
        ([window.first_p50_s for window in windows], _P50),
        ([window.first_p90_s for window in windows], _P90),
        ([window.first_p99_s for window in windows], _P99),
    )
    for values, colour in lines:
        # Between empty windows a lone point has no line to be seen by.
        marker = "o" if None in values or len(values) < 3 else ""
        axes.plot(middles, numbers(values), color=colour, linewidth=1.2, marker=marker, markersize=2.2)
    if not any(value is not None for values, _ in lines for value in values):
        # Nothing was answered; the axis still says what would have been.
        axes.set_ylim(0.01, 10)
    log_durations(axes)
    y_title(axes, f"due to first token (unstreamed: whole answer), windows of {windows[0].seconds:g} s")


def _rates(axes: Axes, windows: Sequence[Window]) -> list[Key]:
    middles = _middles(windows)
    # Wide, so that it is seen where another line runs along it, as all is well.
    axes.plot(middles, [one.count / one.seconds for one in windows], color=DIM, linewidth=2.6)
    axes.plot(middles, [one.completed / one.seconds for one in windows], color=SERIES[2], linewidth=1.2)
    met = [(one.met_ratio or 0.0) * one.count / one.seconds for one in windows]
    axes.plot(middles, met, color=GOOD, linewidth=1.2)
    keys = [key("offered", DIM), key("answered", SERIES[2]), key("good: will meet the SLO", GOOD)]
    if any(one.errors for one in windows):
        axes.plot(middles, [one.errors / one.seconds for one in windows], color=BAD, linewidth=1.2)
        keys.append(key("failed", BAD))
    counts(axes)
    y_title(axes, "requests a second")
    return keys


def _in_flight(axes: Axes, ticks: Sequence[Tick]) -> None:
    # The most of each step: a mean would hide what had to be held at once.
    step = -(-len(ticks) // _MOST_STEPS)
    groups = [ticks[at : at + step] for at in range(0, len(ticks), step)]
    axes.fill_between(
        [group[0].at_s + step / 2 for group in groups], [max(tick.in_flight for tick in group) for group in groups],
        color=SERIES[0], alpha=0.3, linewidth=0,
    )  # fmt: skip
    counts(axes)
    y_title(axes, "requests in flight")


def _tokens(axes: Axes, windows: Sequence[Window]) -> None:
    rates = [one.completed_tokens / one.seconds for one in windows]
    axes.fill_between(_middles(windows), rates, color=SERIES[4], alpha=0.3, linewidth=0)
    counts(axes)
    y_title(axes, "tokens a second, of whole answers")


def _behind_all(drawn: Sheet, run: Run) -> list[Key]:
    for axes in drawn.axes:
        behind(axes, run, numbered=axes is drawn.axes[0])
    keys = []
    if any(stage.is_warm_up for stage in run.plan.stages):
        keys.append(key("warm-up", WARM, "band"))
    if run.marks:
        keys.append(key("fault, numbered", FAULT, "band"))
    if run.about.saturated_at_s is not None:
        keys.append(key("from here the queue only grew", INK, "dash"))
    return keys


def _stage_names(axes: Axes, run: Run, end_s: float) -> None:
    """Above the chart, where a stage is wide enough for its name."""
    begin_s = 0.0
    for stage in run.plan.stages:
        if stage.seconds / end_s * 145 > len(stage.name) + 2 and begin_s < end_s:
            axes.annotate(
                stage.name, (begin_s, 1.0), xycoords=("data", "axes fraction"), xytext=(3, 14),
                textcoords="offset points", color=INK, weight="bold",
            )  # fmt: skip
        begin_s += stage.seconds


def _middles(windows: Sequence[Window]) -> list[float]:
    return [window.at_s + window.seconds / 2 for window in windows]
