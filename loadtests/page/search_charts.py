"""A search in two charts: latency and goodput at each rate that was tried, and where the knee and the collapse lie."""

from collections.abc import Callable, Sequence
from typing import Final

from matplotlib.axes import Axes

from loadtests.page.drawing import (
    BAD,
    DIM,
    GOOD,
    HALF,
    INK,
    SERIES,
    Chart,
    Key,
    counts,
    key,
    log_durations,
    sheet,
    y_title,
)
from loadtests.page.load_charts import rate_axis
from loadtests.search.report import Beyond, ProbeReport, SearchReport

_HEIGHT: Final = 2.5
_PERCENTILES: Final = (
    ("p50", SERIES[0], lambda one: one.first_p50_s),
    ("p90", SERIES[1], lambda one: one.first_p90_s),
    ("p99", SERIES[3], lambda one: one.first_p99_s),
)


def search_charts(report: SearchReport) -> list[Chart]:
    """Latency and goodput against load; empty before the first probe."""
    if not report.probes:
        return []
    return [_latency(report), _goodput(report)]


def _latency(report: SearchReport) -> Chart:
    keys: list[Key] = []
    with sheet(width=HALF, heights=(_HEIGHT,)) as drawn:
        axes = drawn.axes[0]
        has_any = False
        for name, colour, value in _PERCENTILES:
            has_any |= _line(axes, report.probes, colour, value)
            keys.append(key(f"{name} of a probe", colour))
        over = [(one.rate_per_s, one.first_p50_s, one.first_p99_s) for one in report.beyond]
        for place, colour in ((1, SERIES[0]), (2, SERIES[3])):
            points = [(row[0], row[place]) for row in over if row[place] is not None]
            if points:
                axes.plot(*zip(*points, strict=True), "D", color=colour, markersize=5, fillstyle="none")
                has_any = True
        if over:
            keys.append(key("diamond: overload", INK, "dot"))
        if report.slo.ttft_s is not None:
            axes.axhline(report.slo.ttft_s, color=BAD, linewidth=0.9, linestyle=(0, (4, 3)))
            keys.append(key(f"SLO {report.slo.ttft_s:g} s", BAD, "dash"))
        rate_axis(axes, _most(report))
        if has_any:
            log_durations(axes)
        keys += _lines(axes, report)
        y_title(axes, "due to first token; hollow: the promise was not kept, or the probe was cut short")
        svg = drawn.svg("latency at each rate that was tried")
    return Chart("负载与延迟", "Load against latency", svg, tuple(keys), is_wide=False)


def _goodput(report: SearchReport) -> Chart:
    keys = [key("good", GOOD), key("answered", SERIES[2]), key("all of them good", DIM, "dash")]
    with sheet(width=HALF, heights=(_HEIGHT,)) as drawn:
        axes = drawn.axes[0]
        most = _most(report)
        axes.plot((0, most), (0, most), color=DIM, linewidth=0.9, linestyle=(0, (4, 3)))
        _line(axes, report.probes, SERIES[2], lambda one: one.completed_rps)
        _line(axes, report.probes, GOOD, lambda one: one.goodput_rps)
        _diamonds(axes, report.beyond)
        if report.beyond:
            keys.append(key("diamond: overload", INK, "dot"))
        rate_axis(axes, most)
        counts(axes)
        keys += _lines(axes, report)
        y_title(axes, "requests a second that are answered, and that meet the SLO")
        svg = drawn.svg("goodput at each rate that was tried")
    return Chart("负载与有效吞吐", "Load against goodput", svg, tuple(keys), is_wide=False)


def _line(axes: Axes, probes: Sequence[ProbeReport], colour: str, value: Callable[[ProbeReport], float | None]) -> bool:
    """Probes as dots, and a line through those that ran to their end; False if none has such a figure."""
    points = sorted((one.rate_per_s, found, one) for one in probes if (found := value(one)) is not None)
    by_rate: dict[float, list[float]] = {}
    for rate, found, one in points:
        if one.saturated_at_s is None:
            by_rate.setdefault(rate, []).append(found)
        style = "full" if one.was_met is not False and one.saturated_at_s is None else "none"
        axes.plot(rate, found, "o", color=colour, markersize=4.5, fillstyle=style)
    means = [(rate, sum(values) / len(values)) for rate, values in sorted(by_rate.items())]
    if means:
        axes.plot(*zip(*means, strict=True), color=colour, linewidth=1.1)
    return bool(points)


def _diamonds(axes: Axes, beyond: Sequence[Beyond]) -> None:
    for one in beyond:
        for value, colour in ((one.completed_rps, SERIES[2]), (one.goodput_rps, GOOD)):
            axes.plot(one.rate_per_s, value, "D", color=colour, markersize=5, fillstyle="none")


def _lines(axes: Axes, report: SearchReport) -> list[Key]:
    """Upright: what is safe, where the knee is, where it collapses. Named at different heights, for they lie close."""
    keys = []
    marks = (
        ("safe", report.safe_per_s, GOOD), ("knee", report.knee.rate_per_s, SERIES[4]),
        ("collapse", report.collapse.rate_per_s, BAD),
    )  # fmt: skip
    for place, (name, rate, colour) in enumerate(marks):
        if rate is not None:
            axes.axvline(rate, color=colour, linewidth=1.3, alpha=0.8, zorder=1)
            axes.annotate(
                name, (rate, 1.0), xycoords=("data", "axes fraction"), xytext=(3, -9 - 10 * place),
                textcoords="offset points", color=colour, weight="bold",
            )  # fmt: skip
            keys.append(key(f"{name} {rate:.3g}/s", colour))
    return keys


def _most(report: SearchReport) -> float:
    return max([one.rate_per_s for one in report.probes] + [one.rate_per_s for one in report.beyond])
