"""What more load does: latency and goodput against the offered rate; dots are windows, rings whole stages."""

from collections.abc import Mapping, Sequence
from typing import Final

from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator

from loadtests.judging.figures import Figures
from loadtests.judging.windows import Window
from loadtests.page.drawing import BAD, DIM, GOOD, HALF, INK, SERIES, Chart, counts, key, log_durations, sheet, y_title
from loadtests.plan import Plan

_P50: Final = SERIES[0]
_P99: Final = SERIES[3]


def load_charts(plan: Plan, windows: Sequence[Window], stages: Mapping[str, Figures]) -> list[Chart]:
    """Latency and goodput against load; empty if all was sent at one rate. `windows`: of requests that count."""
    full = [window for window in windows if window.count and window.met_ratio is not None]
    if len(full) < 2:
        return []
    is_answered = any(window.first_p50_s is not None for window in full)
    return [*([_latency(plan, full, stages)] if is_answered else []), _goodput(full, stages)]


def rate_axis(axes: Axes, most: float) -> None:
    """Offered requests a second, from 0."""
    axes.set_xlim(0, most * 1.04 or 1.0)
    axes.xaxis.set_major_locator(MaxNLocator(6))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    axes.set_xlabel("offered requests a second")


def _latency(plan: Plan, windows: Sequence[Window], stages: Mapping[str, Figures]) -> Chart:
    keys = [key("p50 of a window", _P50, "dot"), key("p99 of a window", _P99, "dot")]
    with sheet(width=HALF, heights=(2.3,)) as drawn:
        axes = drawn.axes[0]
        for name, colour in (("first_p99_s", _P99), ("first_p50_s", _P50)):
            points = [(one.count / one.seconds, value) for one in windows if (value := getattr(one, name)) is not None]
            if points:
                axes.plot(*zip(*points, strict=True), "o", color=colour, markersize=3, alpha=0.5, markeredgewidth=0)
        named = [(name, one) for name, one in stages.items() if one.first is not None]
        for name, one in named:
            assert one.first is not None
            for value, colour in ((one.first.p50_s, _P50), (one.first.p99_s, _P99)):
                axes.plot(
                    one.offered_rps, value, "o", markersize=7, fillstyle="none", color=colour, markeredgewidth=1.3
                )
            _named(axes, name, one.offered_rps, one.first.p99_s)
        if named:
            keys.append(key("ring: a whole stage", INK, "dot"))
        if plan.slo.ttft_s is not None:
            axes.axhline(plan.slo.ttft_s, color=BAD, linewidth=0.9, linestyle=(0, (4, 3)))
            keys.append(key(f"SLO {plan.slo.ttft_s:g} s", BAD, "dash"))
        rate_axis(axes, max(one.count / one.seconds for one in windows))
        log_durations(axes)
        y_title(axes, "due to first token")
        svg = drawn.svg("latency against offered load")
    return Chart("负载与延迟", "Load against latency", svg, tuple(keys), is_wide=False)


def _goodput(windows: Sequence[Window], stages: Mapping[str, Figures]) -> Chart:
    keys = [key("good a second, of a window", GOOD, "dot"), key("all of them good", DIM, "dash")]
    with sheet(width=HALF, heights=(2.3,)) as drawn:
        axes = drawn.axes[0]
        rates = [one.count / one.seconds for one in windows]
        good = [(one.met_ratio or 0.0) * rate for one, rate in zip(windows, rates, strict=True)]
        axes.plot((0, max(rates)), (0, max(rates)), color=DIM, linewidth=0.9, linestyle=(0, (4, 3)))
        axes.plot(rates, good, "o", color=GOOD, markersize=3, alpha=0.5, markeredgewidth=0)
        for name, one in stages.items():
            met_rps = one.met_ratio * one.offered_rps
            axes.plot(one.offered_rps, met_rps, "o", markersize=7, fillstyle="none", color=GOOD, markeredgewidth=1.3)
            _named(axes, name, one.offered_rps, met_rps)
        rate_axis(axes, max(rates))
        counts(axes)
        y_title(axes, "requests a second that meet the SLO")
        svg = drawn.svg("goodput against offered load")
    note = "Dots below the dashed line: not all is served as promised; falling dots: more load brings less."
    return Chart("负载与有效吞吐", "Load against goodput", svg, tuple(keys), note, is_wide=False)


def _named(axes: Axes, name: str, x: float, y: float) -> None:
    axes.annotate(name, (x, y), xytext=(6, 4), textcoords="offset points", color=INK, annotation_clip=True)
