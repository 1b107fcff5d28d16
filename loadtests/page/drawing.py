"""Charts as small SVGs that stand inside a page: its fonts, its colours (also dark ones), no ids that could clash.

Text inside a chart is plain ASCII: figures, units, names of stages. What people or servers have named stands in the
HTML beside it, where the browser has fonts for Chinese and jinja2 escapes it.
"""

import io
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, Literal

import matplotlib as mpl
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, MultipleLocator, NullFormatter

# Each is a variable of the page's style sheet: the page says what it looks like by day, by night and on paper.
_VARIABLES: Final = {
    "#1c2430": "--ink", "#66707f": "--dim", "#dfe3ea": "--line", "#b3261e": "--bad", "#10753c": "--good",
    "#1d5fbf": "--c1", "#d9822b": "--c2", "#0f8b8d": "--c3", "#8a4fbf": "--c4", "#a0522e": "--c5", "#7a8699": "--c6",
    "#fbe0c4": "--fault", "#e9edf3": "--warm",
}  # fmt: skip
INK: Final = "#1c2430"
DIM: Final = "#66707f"
GRID: Final = "#dfe3ea"
BAD: Final = "#b3261e"
GOOD: Final = "#10753c"
FAULT: Final = "#fbe0c4"
WARM: Final = "#e9edf3"
SERIES: Final = ("#1d5fbf", "#d9822b", "#0f8b8d", "#8a4fbf", "#a0522e", "#7a8699")
"""Told apart by most colour-blind people, too; used in turn."""

WIDE: Final = 11.0
HALF: Final = 5.4
"""Inches: as wide as the page, and as half of it."""

_FONT: Final = 8.0
_MARGINS: Final = (0.62, 0.16, 0.22, 0.4)
"""Left, right, top, bottom, inches: the same in every chart, so that time axes stand below each other."""
_GAP: Final = 0.3
"""Between two axes, inches: a line of text fits in."""

_UNITS: Final = (("hours", 3600.0, 4 * 3600.0), ("minutes", 60.0, 900.0), ("seconds", 1.0, 0.0))
"""Of time axes: name, seconds, and from which length on."""
_STEPS_S: Final = (
    0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 20, 30, 60, 120, 300, 600, 900, 1200, 1800, 3600, 7200, 10800, 14400, 21600, 43200,
)  # fmt: skip
_MOST_TICKS: Final = 10

# Drawn apart from what the process has set; the salt makes ids the same each time.
_STYLE: Final[Any] = {
    "svg.fonttype": "none", "svg.hashsalt": "fenzhen", "font.family": "DejaVu Sans", "font.size": _FONT,
    "text.color": INK, "axes.labelcolor": DIM, "axes.edgecolor": DIM, "xtick.color": DIM, "ytick.color": DIM,
    "axes.linewidth": 0.6, "xtick.major.width": 0.6, "ytick.major.width": 0.6, "axes.unicode_minus": False,
    "text.parse_math": False, "path.simplify": True,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Key:
    """One line of a legend."""

    text: str
    colour: str
    """A CSS variable."""
    style: Literal["line", "dash", "dot", "band"] = "line"


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart with the words beside it."""

    title_zh: str
    title: str
    svg: Markup
    keys: tuple[Key, ...] = ()
    note: str = ""
    """What to look for; one sentence."""
    is_wide: bool = True


def key(text: str, colour: str, style: Literal["line", "dash", "dot", "band"] = "line") -> Key:
    """A legend's line for one of our colours."""
    return Key(text, _VARIABLES[colour], style)


class Sheet:
    """A figure whose axes share their way of looking; `svg` draws it."""

    def __init__(self, width: float, heights: Sequence[float], head: float) -> None:
        left, right, top, bottom = _MARGINS
        top += head
        total = sum(heights) + top + bottom + _GAP * (len(heights) - 1)
        self.figure = Figure(figsize=(width, total))
        self.figure.patch.set_visible(False)
        self.axes: list[Axes] = []
        above = top
        for height in heights:
            place = (left / width, 1 - (above + height) / total, (width - left - right) / width, height / total)
            axes = self.figure.add_axes(place, sharex=self.axes[0] if self.axes else None)
            _plain(axes)
            self.axes.append(axes)
            above += height + _GAP
        for axes in self.axes[:-1]:
            axes.tick_params(labelbottom=False)

    def svg(self, label: str) -> Markup:
        """As markup for a page; `label` is read out to those who cannot see it."""
        canvas = FigureCanvasSVG(self.figure)
        text = io.StringIO()
        canvas.print_svg(  # type: ignore[no-untyped-call]  # Matplotlib has no types for it.
            text, metadata={"Date": None, "Creator": None, "Format": None, "Type": None}
        )
        return _inline(text.getvalue(), label)


@contextmanager
def sheet(width: float = WIDE, heights: Sequence[float] = (2.1,), head: float = 0.0) -> Iterator[Sheet]:
    """A sheet to draw on in our style, which lasts as long as the block. `heights` of axes below each other and the
    `head` above the first are in inches."""
    with mpl.rc_context(_STYLE):
        yield Sheet(width, heights, head)


def log_durations(axes: Axes, *, is_x: bool = False) -> None:
    """A logarithmic axis of seconds, labelled in ms and s."""
    axis = axes.xaxis if is_x else axes.yaxis
    (axes.set_xscale if is_x else axes.set_yscale)("log")
    low, high = axes.get_xlim() if is_x else axes.get_ylim()
    # Over few decades 1, 2 and 5 are labelled, over many only 1: labels must not touch.
    is_short = high / max(low, 1e-9) < 3000
    axis.set_major_locator(LogLocator(base=10, subs=(1.0, 2.0, 5.0) if is_short else (1.0,), numticks=16))
    axis.set_major_formatter(FuncFormatter(lambda value, _: duration(value)))
    axis.set_minor_formatter(NullFormatter())
    axes.tick_params(axis="x" if is_x else "y", which="minor", length=0)


def numbers(values: Iterable[float | None]) -> list[float]:
    """For a line with holes."""
    return [math.nan if value is None else value for value in values]


def counts(axes: Axes) -> None:
    """A linear axis from 0, of few round numbers."""
    axes.set_ylim(0, max(1.0, axes.get_ylim()[1]))
    axes.yaxis.set_major_locator(MaxNLocator(4, integer=False))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))


def shares(axes: Axes) -> None:
    """An axis from 0 to 100 %."""
    axes.set_ylim(0, 1.02)
    axes.set_yticks((0, 0.25, 0.5, 0.75, 1))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0%}"))


def seconds_axis(axes: Axes, begin_s: float, end_s: float) -> None:
    """Time since the run began; in minutes or hours where seconds would be long numbers."""
    span_s = max(end_s - begin_s, 1.0)
    axes.set_xlim(begin_s, begin_s + span_s)
    name, unit_s = next((unit for unit in _UNITS if span_s >= unit[2]), _UNITS[-1])[:2]
    step_s = next((step for step in _STEPS_S if span_s / step <= _MOST_TICKS), span_s / _MOST_TICKS)
    axes.xaxis.set_major_locator(MultipleLocator(step_s))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value / unit_s:,.4g}"))
    axes.set_xlabel(f"{name} since the run began")


def y_title(axes: Axes, text: str) -> None:
    """What the upright axis counts, written flat above it."""
    axes.set_title(text, loc="left", fontsize=_FONT, color=DIM, pad=4)


def duration(value_s: float) -> str:
    """Short words for an axis: 20 us, 5 ms, 1.5 s."""
    if value_s < 0.001:
        return f"{value_s * 1e6:.3g} us"
    return f"{value_s * 1000:.3g} ms" if value_s < 1 else f"{value_s:,.3g} s"


def _plain(axes: Axes) -> None:
    axes.patch.set_visible(False)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.grid(color=GRID, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(length=0, labelsize=_FONT, pad=4)


def _inline(svg: str, label: str) -> Markup:
    box = re.search(r'viewBox="([^"]+)"', svg)
    assert box is not None
    body = svg[svg.index(">", svg.index("<svg")) + 1 :]
    body = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>", "", body, count=1, flags=re.DOTALL)
    body = re.sub(r" ?font-family: [^;\"]*;?", "", body)
    body = re.sub(r' transform="rotate\(-0 [^)]*\)"', "", body)
    body = body.replace("xlink:href", "href")
    used = set(re.findall(r'(?:url\(|href=")#([^)"]+)', body))
    body = re.sub(r' id="([^"]+)"', lambda found: found[0] if found[1] in used else "", body)
    body = re.sub(r"<[^>]*>", lambda tag: re.sub(r"\d+\.\d{3,}", _shorter, tag[0]), body)
    for colour, variable in _VARIABLES.items():
        body = body.replace(colour, f"var({variable})")
    body = re.sub(r"<g>\s*</g>", "", re.sub(r"\s*\n\s*", " ", body))
    # Matplotlib has escaped what stands in it; nothing in it comes from a server.
    return Markup('<svg class="chart" viewBox="{}" role="img" aria-label="{}">').format(box[1], label) + Markup(  # noqa: S704
        re.sub(r">\s+<", "><", body.strip())
    )


def _shorter(number: re.Match[str]) -> str:
    return f"{float(number[0]):.2f}".rstrip("0").rstrip(".")
