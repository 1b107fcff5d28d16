"""The pictures of the scale benchmark, one for each table. Knows matplotlib, as `plot` does."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from loadtests.router_bench.faults import Fault
from loadtests.router_bench.findings import Findings
from loadtests.router_bench.growth import Growth
from loadtests.router_bench.patient import BIN_S
from loadtests.router_bench.pool_scale import Replicas, Size
from loadtests.router_bench.prompt_scale import Prompt
from loadtests.router_bench.stream_scale import Step

_COLOURS: Final = ("#1f6f8b", "#e07a3f", "#8a8f98", "#5b8c5a")
_INK: Final = "#2b2d31"
_FAINT: Final = "#8a8f98"
_GRID: Final = "#e6e8eb"
_DPI: Final = 150

Line = tuple[str, Sequence[float], Sequence[float | None]]
"""Name, and the values of both axes; None: not measured."""


def draw_all(findings: Findings, path: Path) -> list[Path]:
    """Write the PNGs beside the JSON file and return their paths."""
    drawn = []
    for name, draw in _pictures(findings).items():
        target = path.with_name(f"{path.stem}-{name}.png")
        draw(target)
        drawn.append(target)
    return drawn


def _pictures(findings: Findings) -> dict[str, Callable[[Path], None]]:
    found: dict[str, Callable[[Path], None]] = {}
    streams, prompts, sizes = findings.streams, findings.prompts, findings.sizes
    replicas, growth, faults = findings.replicas, findings.growth, findings.faults
    if streams:
        found["streams"] = lambda path: _streams(streams, path)
    if prompts:
        found["prompts"] = lambda path: _prompts(prompts, path)
    if sizes:
        found["sizes"] = lambda path: _sizes(sizes, path)
    if replicas:
        found["replicas"] = lambda path: _replicas(replicas, path)
    if growth is not None:
        found["growth"] = lambda path: _growth(growth, path)
    if faults:
        found["faults"] = lambda path: _faults(faults, path)
    return found


def _streams(steps: Sequence[Step], path: Path) -> None:
    def lines(value: Callable[[Step], float | None]) -> list[Line]:
        kinds = (("silent: a chunk each 5 s", False), ("busy: a chunk each 100 ms or more", True))
        return [
            (
                name,
                [step.streams for step in steps if step.is_active is is_active],
                [value(step) for step in steps if step.is_active is is_active],
            )
            for name, is_active in kinds
        ]

    with _sheet(path, "Open streams through one replica", 2, 2) as places:
        _lines(places[0], "CPU, % of one core", lines(lambda step: step.cpu_ratio * 100), is_log_x=True)
        _lines(places[1], "CPU a chunk, µs", lines(lambda step: step.cpu_us_per_chunk), is_log_x=True)
        _lines(places[2], "Memory a stream above idle, KB", lines(lambda step: step.uss_kb_per_stream), is_log_x=True)
        _lines(places[3], "Time to first token p50, ms", lines(lambda step: step.ttft_p50_ms), is_log_x=True)
        for place in places:
            place.set_xlabel("streams open at once")
        places[0].legend(frameon=False, fontsize=8)


def _prompts(prompts: Sequence[Prompt], path: Path) -> None:
    def lines(value: Callable[[Prompt], float | None]) -> list[Line]:
        kinds = dict.fromkeys((one.language, one.model) for one in prompts)
        names = {"zh": "Chinese", "en": "English"}
        return [
            (
                f"{names[language]}, {'auto' if model == 'auto' else 'named model'}",
                [one.chars for one in prompts if (one.language, one.model) == (language, model)],
                [value(one) for one in prompts if (one.language, one.model) == (language, model)],
            )
            for language, model in kinds
        ]

    with _sheet(path, "Length of the prompt", 1, 2) as places:
        _lines(places[0], "CPU a request, µs", lines(lambda one: one.cost.cpu_us), is_log_x=True, is_log_y=True)
        _lines(places[1], "Latency added p50, ms", lines(lambda one: one.delay.added_p50_ms), is_log_x=True)
        for place in places:
            place.set_xlabel("characters")
        places[0].legend(frameon=False, fontsize=8)


def _sizes(sizes: Sequence[Size], path: Path) -> None:
    def lines(own: Sequence[Size], along: Callable[[Size], float]) -> list[Line]:
        return [
            ("named model", [along(size) for size in own], [size.named.cpu_us for size in own]),
            ("auto", [along(size) for size in own], [size.auto.cpu_us for size in own]),
        ]

    with _sheet(path, "Models and endpoints", 1, 2) as places:
        by_models = [size for size in sizes if size.endpoints == 1]
        by_endpoints = [size for size in sizes if size.models == 1]
        title = "CPU a request, µs"
        _lines(places[0], title, lines(by_models, lambda size: size.models), is_log_x=True)
        _lines(places[1], title, lines(by_endpoints, lambda size: size.endpoints), is_log_x=True)
        places[0].set_xlabel("models with one endpoint each")
        places[1].set_xlabel("endpoints of one model")
        places[0].legend(frameon=False, fontsize=8)


def _replicas(rows: Sequence[Replicas], path: Path) -> None:
    counts = [float(row.replicas) for row in rows]
    with _sheet(path, "Replicas on two cores, shared with clients and engines", 1, 2) as places:
        named: list[Line] = [("named model", counts, [row.named.rps for row in rows])]
        _lines(places[0], "Requests a second", [*named, ("auto", counts, [row.auto.rps for row in rows])])
        named = [("named model", counts, [row.named.cpu_us for row in rows])]
        _lines(places[1], "CPU a request, µs", [*named, ("auto", counts, [row.auto.cpu_us for row in rows])])
        for place in places:
            place.set_xticks(counts)
            place.set_xlabel("replicas")
        places[0].legend(frameon=False, fontsize=8)


def _growth(growth: Growth, path: Path) -> None:
    done = [sample[0] / 1000 for sample in growth.samples]
    uss = [sample[1] for sample in growth.samples]
    warm = growth.warm_up_requests / 1000
    begun = next(value for x, value in zip(done, uss, strict=True) if x >= warm)
    after = [(x, (value - begun) * 1000) for x, value in zip(done, uss, strict=True) if x >= warm]
    with _sheet(path, f"Memory over {growth.requests:,} mixed requests", 1, 2) as places:
        _lines(places[0], "USS of the replica, MB", [("USS", done, uss)])
        places[0].axvspan(0, warm, color=_GRID, zorder=0)
        places[0].set_xlabel("thousand requests (grey: warm-up)")
        points: Line = ("USS", [x for x, _ in after], [value for _, value in after])
        _lines(places[1], "The same from the end of the warm-up, KB", [points], is_from_zero=False)
        places[1].plot(
            [warm, done[-1]], [0, growth.bytes_per_1000_requests / 1000 * (done[-1] - warm)], color=_COLOURS[1]
        )
        places[1].set_xlabel("thousand requests")
        slope = (
            f"{growth.bytes_per_1000_requests:,.0f} bytes for 1,000 requests\n"
            f"(95 %: {growth.low_bytes_per_1000_requests:,.0f} to {growth.high_bytes_per_1000_requests:,.0f})"
        )
        places[1].text(0.99, 0.04, slope, transform=places[1].transAxes, ha="right", color=_COLOURS[1], size=9)


def _faults(faults: Mapping[str, Fault], path: Path) -> None:
    lines = -(-len(faults) // 2)
    with _sheet(path, "Right answers while something breaks, two replicas", lines, 2) as places:
        for place, (name, fault) in zip(places, faults.items(), strict=False):
            seconds = [number * BIN_S - fault.fault_at_s for number in range(len(fault.answers_in_bins))]
            answers = [count / BIN_S for count in fault.answers_in_bins]
            _lines(place, name.replace("_", " "), [("answers", seconds, answers)], is_marked=False)
            place.axvline(0, color=_COLOURS[1], linewidth=1.2)
            if fault.until_well_s is not None:
                place.axvline(fault.until_well_s, color=_COLOURS[3], linewidth=1.2)
            place.set_xlabel("seconds from the fault" + (" (green: two listen)" if fault.until_well_s else ""))
            place.set_ylabel("answers a second")
            told = f"{fault.retried} retried, {fault.lost} lost, {fault.broken_streams} streams broken"
            place.text(1.0, 1.04, told, transform=place.transAxes, ha="right", color=_FAINT, size=8)
        for place in places[len(faults) :]:
            place.set_axis_off()


@contextmanager
def _sheet(path: Path, title: str, rows: int, columns: int) -> Iterator[list[Any]]:
    """Places to draw on, written to the file after it."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    style: dict[Any, Any] = {"font.family": "DejaVu Sans", "font.size": 9, "text.color": _INK, "axes.labelcolor": _INK}
    with mpl.rc_context(style):
        figure, axes = plt.subplots(rows, columns, figsize=(5.5 * columns, 0.6 + 3.3 * rows), squeeze=False)
        yield list(axes.flat)
        figure.suptitle(title, x=0.02, ha="left", weight="bold", size=13)
        figure.tight_layout(rect=(0.0, 0.0, 1.0, 0.98), h_pad=2.0, w_pad=2.5)
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=_DPI)
        plt.close(figure)


def _lines(
    place: Any, title: str, lines: Sequence[Line], *, is_log_x: bool = False, is_log_y: bool = False,
    is_marked: bool = True, is_from_zero: bool = True,
) -> None:  # fmt: skip
    for colour, (name, xs, ys) in zip(_COLOURS, lines, strict=False):
        points = [(x, y) for x, y in zip(xs, ys, strict=True) if y is not None]
        if points:
            marker = "o" if is_marked and len(points) < 20 else ""
            place.plot(*zip(*points, strict=True), color=colour, label=name, marker=marker, markersize=4, linewidth=1.6)
    place.set_title(title, loc="left", size=10, weight="bold", pad=8)
    if is_log_x:
        place.set_xscale("log")
        # What was measured, and nothing between.
        place.set_xticks(sorted({x for _, xs, _ in lines for x in xs}), minor=False)
        place.tick_params(axis="x", which="minor", length=0)
    if is_log_y:
        place.set_yscale("log")
    elif is_from_zero:
        place.set_ylim(bottom=0)
    for axis in (place.xaxis, place.yaxis):
        axis.set_major_formatter(lambda number, _: f"{number:,g}")
        axis.set_minor_formatter(lambda number, _: "")
    place.spines[["top", "right"]].set_visible(False)
    place.spines[["bottom", "left"]].set_color(_FAINT)
    place.tick_params(colors=_FAINT, labelsize=8)
    place.grid(color=_GRID, linewidth=0.7)
    place.set_axisbelow(True)
