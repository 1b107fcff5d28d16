"""The benchmark's picture: a few figures side by side, ours in colour."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from loadtests.router_bench.sample import FIGURES, Figure, Sample
from loadtests.router_bench.summary import medians, names_of, spreads

_SHOWN: Final = ("cpu_us", "rps", "added_ms_p50", "added_ms_p99", "ttft_added_ms_p50", "chunks_per_s", "memory_mb")
_OURS: Final = "#1f6f8b"
_OTHERS: Final = "#b8bcc2"
_INK: Final = "#2b2d31"
_FAINT: Final = "#8a8f98"
# A bar that is so many times as long as the longest but one is cut, or nothing else could be seen.
_CUT: Final = 3.0
_COLUMNS: Final = 2
_DPI: Final = 150


def draw(samples: Sequence[Sample], path: Path) -> Path:
    """Write the PNG and return its path."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    names = names_of(samples)
    # From the bottom up.
    order = names[::-1]
    middle, spread = medians(samples), spreads(samples)
    shown = [figure for figure in FIGURES if figure.key in _SHOWN and middle[figure.key]]
    lines = -(-len(shown) // _COLUMNS)
    style: dict[Any, Any] = {"font.family": "DejaVu Sans", "font.size": 9, "text.color": _INK, "axes.labelcolor": _INK}
    with mpl.rc_context(style):
        figure, axes = plt.subplots(
            lines, _COLUMNS, figsize=(11, 0.8 + lines * (0.9 + 0.28 * len(order))), squeeze=False
        )
        for place, one in zip(axes.flat, shown, strict=False):
            _panel(place, one, order, middle[one.key], spread[one.key])
        for place in axes.flat[len(shown) :]:
            place.set_axis_off()
        rounds = len({sample.round for sample in samples})
        figure.suptitle("What a request costs on its way through the router", x=0.02, ha="left", weight="bold", size=13)
        many = f"Medians of {rounds} rounds, lines from the lowest to the highest" if rounds > 1 else "One round"
        note = f"{many}; each proxy alone on one core; bars with an arrow are cut."
        figure.text(0.02, 0.008, note, color=_FAINT, size=8)
        figure.tight_layout(rect=(0.0, 0.02, 1.0, 0.98), h_pad=2.0, w_pad=2.5)
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=_DPI)
        plt.close(figure)
    return path


def limit_of(values: Sequence[float]) -> float:
    """Where an axis ends so that no single long bar hides the others."""
    ranked = sorted(values, reverse=True)
    if len(ranked) > 1 and ranked[0] > _CUT * ranked[1] > 0:
        return ranked[1] * 1.45
    return ranked[0] * 1.25 if ranked[0] > 0 else 1.0


def _panel(
    place: Any,
    figure: Figure,
    order: Sequence[str],
    middle: dict[str, float],
    spread: dict[str, tuple[float, float]],
) -> None:
    limit = limit_of(list(middle.values()))
    place.set_xlim(0, limit)
    place.set_ylim(-0.6, len(order) - 0.4)
    place.set_yticks(range(len(order)), order)
    direction = "more is better" if figure.is_better_high else "less is better"
    place.set_title(f"{figure.title}, {figure.unit}", loc="left", size=10, weight="bold", pad=8)
    place.text(1.0, 1.04, direction, transform=place.transAxes, ha="right", color=_FAINT, size=8)
    for row, name in enumerate(order):
        if name not in middle:
            place.text(0, row, " not measured", va="center", color=_FAINT)
            continue
        value, (low, high) = middle[name], spread[name]
        is_cut = value > limit
        length = limit * 0.8 if is_cut else max(value, 0.0)
        place.barh(row, length, height=0.62, color=_OURS if name.startswith("fenzhen") else _OTHERS)
        if is_cut:
            for shift in (0.0, 0.014):
                middle_x = limit * (0.68 + shift)
                slash = ([middle_x - limit * 0.008, middle_x + limit * 0.008], [row - 0.42, row + 0.42])
                place.plot(*slash, color="white", linewidth=2.2)
        elif high > low:
            place.plot([max(low, 0.0), min(high, limit)], [row, row], color=_INK, linewidth=1.2, solid_capstyle="butt")
        end = length if is_cut else min(max(value, high, 0.0), limit * 0.86)
        text = figure.text(value) + (" →" if is_cut else "")
        ground = {"facecolor": "white", "edgecolor": "none", "pad": 0.8, "alpha": 0.85}
        place.text(end + limit * 0.012, row, text, va="center", size=8.5, bbox=ground)
    place.spines[["top", "right", "left"]].set_visible(False)
    place.spines["bottom"].set_color(_FAINT)
    place.tick_params(axis="y", length=0)
    place.tick_params(axis="x", colors=_FAINT, labelsize=8)
    place.xaxis.set_major_formatter(lambda number, _: f"{number:,g}")
    place.grid(axis="x", color="#e6e8eb", linewidth=0.7)
    place.set_axisbelow(True)
