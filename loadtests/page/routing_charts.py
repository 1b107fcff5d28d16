"""Quality against speed: one dot a run, with the interval of its share of right answers."""

from collections.abc import Callable, Sequence
from typing import Final

from matplotlib.ticker import FuncFormatter, MaxNLocator

from loadtests.judging.figures import Figures
from loadtests.page.drawing import BAD, HALF, INK, SERIES, Chart, key, log_durations, sheet, y_title
from loadtests.plan import Slo

_HEIGHT: Final = 2.6


def routing_charts(runs: Sequence[tuple[str, Figures]], slo: Slo) -> list[Chart]:
    """Right answers against goodput and against the median first token; empty where nothing was marked."""
    marked = [(name, one) for name, one in runs if one.right is not None and one.right.marked]
    if not marked:
        return []
    charts = [_chart(marked, "质量与有效吞吐", "Right answers against goodput", lambda one: one.goodput_rps)]
    answered = [(name, one) for name, one in marked if one.first is not None]
    if answered:
        titles = "质量与首字时间", "Right answers against the median first token"
        charts.append(_chart(answered, *titles, _median_s, slo.ttft_s, is_duration=True))
    return charts


def _median_s(figures: Figures) -> float:
    return figures.first.p50_s if figures.first else 0.0


def _chart(
    runs: Sequence[tuple[str, Figures]],
    title_zh: str,
    title: str,
    value: Callable[[Figures], float],
    limit_s: float | None = None,
    *,
    is_duration: bool = False,
) -> Chart:
    keys = []
    with sheet(width=HALF, heights=(_HEIGHT,)) as drawn:
        axes = drawn.axes[0]
        for place, (name, one) in enumerate(runs):
            assert one.right is not None
            colour, ratio = SERIES[min(place, len(SERIES) - 1)], one.right.right / one.right.marked
            axes.plot(
                (value(one), value(one)), (one.right.low_ratio, one.right.high_ratio), color=colour, linewidth=1.6
            )
            axes.plot(value(one), ratio, "o", color=colour, markersize=7)
            keys.append(key(name, colour, "dot"))
        lows, highs = ([getattr(one.right, end) for _, one in runs] for end in ("low_ratio", "high_ratio"))
        room = max(0.02, (max(highs) - min(lows)) * 0.1)
        axes.set_ylim(max(0.0, min(lows) - room), min(1.0, max(highs) + room))
        axes.yaxis.set_major_locator(MaxNLocator(6))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{share:.0%}"))
        most, least = max(value(one) for _, one in runs), min(value(one) for _, one in runs)
        if is_duration:
            if limit_s is not None:
                axes.axvline(limit_s, color=BAD, linewidth=0.9, linestyle=(0, (4, 3)))
                keys.append(key(f"SLO {limit_s:g} s", BAD, "dash"))
                most, least = max(most, limit_s), min(least, limit_s)
            axes.set_xlim(least / 1.6, most * 1.6)
            log_durations(axes, is_x=True)
            axes.set_xlabel("due to first token, median; further left is better")
        else:
            axes.set_xlim(0, most * 1.12 or 1.0)
            axes.xaxis.set_major_locator(MaxNLocator(6))
            axes.xaxis.set_major_formatter(FuncFormatter(lambda number, _: f"{number:,g}"))
            axes.set_xlabel("requests a second that meet the SLO; further right is better")
        y_title(axes, "right answers, 95 % interval; higher is better")
        axes.xaxis.label.set_color(INK)
        svg = drawn.svg(title)
    return Chart(title_zh, title, svg, tuple(keys), is_wide=False)
