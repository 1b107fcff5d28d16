"""The benchmark's tables for people, narrow enough for a small terminal."""

from collections.abc import Callable, Sequence
from typing import Final

from rich.console import Group
from rich.table import Table
from rich.text import Text

from loadtests.router_bench.sample import PROCESSES, REQUESTS, STREAMS, Figure, Sample
from loadtests.router_bench.summary import medians, names_of, ratios, spreads

# Below, a p99 is the word of a few requests.
_ENOUGH_FOR_P99: Final = 1000
# Ray's own processes take a tenth of the core beside our replica.
_SATURATED_PERCENT: Final = 80.0


def table_of(samples: Sequence[Sample]) -> Group:
    """Medians, below each its lowest and highest round, and then what needs a word."""
    rounds = len({sample.round for sample in samples})
    shares = ratios(samples).get("cpu_us", {})

    def share(name: str) -> str:
        return f"{shares[name]:.2f}" if name in shares else "-"

    def count(name: str) -> str:
        return f"{sum(sample.requests for sample in samples if sample.name == name):,}"

    def errors(name: str) -> str:
        return f"{sum(sum(sample.errors.values()) for sample in samples if sample.name == name):,}"

    return Group(
        Text(
            f"{'One round' if rounds == 1 else f'Medians of {rounds} rounds, lowest and highest below'}.\n", style="dim"
        ),
        _table(samples, REQUESTS, {"CPU ×\nvllm-r.": share}),
        Text(),
        _table(samples, STREAMS, {}),
        Text(),
        _table(samples, PROCESSES, {"requests\nsent": count, "errors\n": errors}),
        *(Text(line) for line in _remarks(samples)),
    )


def _table(samples: Sequence[Sample], figures: Sequence[Figure], more: dict[str, Callable[[str], str]]) -> Table:
    middle, spread = medians(samples), spreads(samples)
    shown = [figure for figure in figures if figure.heading and middle[figure.key]]
    table = Table(box=None, pad_edge=False)
    table.add_column("", no_wrap=True)
    for heading in (*(figure.heading for figure in shown), *more):
        table.add_column(heading, justify="right", no_wrap=True)
    for name in names_of(samples):
        cells = [_cell(one, middle[one.key].get(name), spread[one.key].get(name)) for one in shown]
        table.add_row(name, *cells, *(told(name) for told in more.values()))
    return table


def _cell(figure: Figure, value: float | None, spread: tuple[float, float] | None) -> str:
    if value is None or spread is None:
        return "-"
    low, high = (figure.text(end) for end in spread)
    return figure.text(value) + (f"\n[dim]{low} {high}[/dim]" if low != high else "")


def _remarks(samples: Sequence[Sample]) -> list[str]:
    lines = []
    for name in names_of(samples):
        own = [sample for sample in samples if sample.name == name]
        kinds: dict[str, int] = {}
        for sample in own:
            for kind, count in sample.errors.items():
                kinds[kind] = kinds.get(kind, 0) + count
        if kinds:
            lines.append(f"{name}: " + ", ".join(f"{count} × {kind}" for kind, count in kinds.items()))
        surplus = sum(sample.engine_surplus for sample in own)
        if surplus:
            what = "more than were sent" if surplus > 0 else "fewer than were sent"
            lines.append(f"{name}: the engines saw {abs(surplus)} requests {what}")
        core = medians(own)["core_percent"].get(name, 100.0)
        if core < _SATURATED_PERCENT:
            lines.append(f"{name}: it had {core:.0f} % of a core only, so its requests/s are not its limit")
        latencies = sum(sample.latencies for sample in own)
        if latencies < _ENOUGH_FOR_P99:
            lines.append(f"{name}: its p99 rests on {latencies:,} requests only")
    return lines
