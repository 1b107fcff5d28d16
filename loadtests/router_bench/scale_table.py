"""The tables of the scale benchmark for people, narrow enough for a small terminal."""

from collections.abc import Iterator, Mapping, Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from loadtests.router_bench.costs import Cost
from loadtests.router_bench.faults import Fault
from loadtests.router_bench.findings import Findings
from loadtests.router_bench.growth import Growth
from loadtests.router_bench.pool_scale import Replicas, Size
from loadtests.router_bench.prompt_scale import Prompt
from loadtests.router_bench.stream_scale import Step, Waves

# From here on the clients' core has no time left, and a figure that depends on time is theirs, too.
BUSY_RATIO = 0.95


def tables_of(findings: Findings) -> Group:
    """All that was measured."""
    return Group(*_all(findings))


def _all(findings: Findings) -> Iterator[RenderableType]:
    if findings.streams_2000 is not None:
        yield _waves(findings.streams_2000)
    if findings.streams:
        yield _streams(findings.streams)
        yield _busy_note([step.generator_busy_ratio for step in findings.streams])
    if findings.prompts:
        yield _prompts(findings.prompts)
    if findings.sizes:
        yield _sizes(findings.sizes)
    if findings.replicas:
        yield _replicas(findings.replicas)
    if findings.growth is not None:
        yield _growth(findings.growth)
    if findings.faults:
        yield _faults(findings.faults)
        yield from (Text(f"{name}: {fault.problem}") for name, fault in findings.faults.items() if fault.problem)


def _waves(waves: Waves) -> Text:
    return Text(
        f"{waves.streams:,} streams at once through one replica: {waves.errors} errors, "
        f"{waves.kb_per_stream:.1f} KB each above idle (resident {waves.rss_kb_per_stream:.1f}); "
        f"a second wave {waves.second_wave_kb_per_stream:.1f}; "
        f"{waves.left_after_first_kb / 1024:.1f} MB kept in between for the next ones\n"
    )


def _streams(steps: Sequence[Step]) -> Table:
    table = _table("Open streams")
    for heading in (
        *("", "chunks/s", "core %", "µs a\nchunk", "KB\neach"),
        *("first token\np50 p99 ms", "gap\np50 p99 ms", "errors"),
    ):
        table.add_column(heading, justify="right", no_wrap=True)
    for step in steps:
        table.add_row(
            f"{step.streams:,} {'busy' if step.is_active else 'idle'}{_star(step.generator_busy_ratio)}",
            f"{step.chunks_per_s:,.0f}",
            f"{step.cpu_ratio * 100:.1f}",
            _one(step.cpu_us_per_chunk),
            _one(step.uss_kb_per_stream),
            f"{_short(step.ttft_p50_ms)} {_short(step.ttft_p99_ms)}",
            f"{_short(step.gap_p50_ms)} {_short(step.gap_p99_ms)}",
            f"{sum(step.errors.values()) + step.streams - step.open_at_once:,}",
        )
    return table


def _prompts(prompts: Sequence[Prompt]) -> Table:
    table = _table("Length of the prompt")
    for heading in ("characters", "", "asked", "CPU µs", "added ms\np50", "p99", "errors"):
        table.add_column(heading, justify="right", no_wrap=True)
    for one in prompts:
        table.add_row(
            f"{one.chars:,}",
            one.language,
            "auto" if one.model == "auto" else "named",
            f"{one.cost.cpu_us:,.0f}",
            _three(one.delay.added_p50_ms),
            _three(one.delay.added_p99_ms),
            f"{_errors(one.cost) + sum(one.delay.errors.values()):,}",
        )
    return table


def _sizes(sizes: Sequence[Size]) -> Table:
    table = _table("Models, and endpoints of each")
    for heading in (
        *("models", "end-\npoints", "named\nµs", "auto\nµs", "auto\n1/s", "points\nused"),
        *("busiest\nto mean", "idle %\nrouter", "idle %\nbeside", "MB", "errors"),
    ):
        table.add_column(heading, justify="right", no_wrap=True)
    for size in sizes:
        table.add_row(
            f"{size.models:,}",
            f"{size.endpoints:,}",
            f"{size.named.cpu_us:,.0f}",
            f"{size.auto.cpu_us:,.0f}",
            f"{size.auto.rps:,.0f}{_star(size.auto.generator_busy_ratio)}",
            f"{size.endpoints_used:,}",
            f"{size.busiest_to_mean:.2f}",
            f"{size.idle_cpu_ratio * 100:.1f}",
            f"{size.beside_idle_cpu_ratio * 100:.1f}",
            f"{size.memory_mb:.0f}",
            f"{_errors(size.named) + _errors(size.auto):,}",
        )
    return table


def _replicas(rows: Sequence[Replicas]) -> Table:
    table = _table("Replicas (they share two cores with the clients and the engines)")
    for heading in ("replicas", "named\nCPU µs", "requests/s", "auto\nCPU µs", "requests/s", "idle %", "MB", "errors"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(
            str(row.replicas),
            f"{row.named.cpu_us:,.0f}",
            f"{row.named.rps:,.0f}",
            f"{row.auto.cpu_us:,.0f}",
            f"{row.auto.rps:,.0f}",
            f"{row.idle_cpu_ratio * 100:.1f}",
            f"{row.memory_mb:.0f}",
            f"{_errors(row.named) + _errors(row.auto):,}",
        )
    return table


def _growth(found: Growth) -> Text:
    first = next(uss for done, uss, _ in found.samples if done >= found.warm_up_requests)
    wrong = sum(found.wrong.values())
    words = "no growth beyond the noise" if found.is_within_noise else "IT GROWS"
    return Text(
        f"\n{found.requests:,} mixed requests: {words}: {found.bytes_per_1000_requests:,.0f} bytes for 1,000 requests "
        f"(95 %: {found.low_bytes_per_1000_requests:,.0f} to {found.high_bytes_per_1000_requests:,.0f}), "
        f"{first:.1f} MB after {found.warm_up_requests:,} and {found.samples[-1][1]:.1f} MB at the end; "
        f"{wrong} not answered as they should be{': ' if wrong else ''}"
        + ", ".join(f"{count} × {kind}" for kind, count in found.wrong.items())
    )


def _faults(faults: Mapping[str, Fault]) -> Table:
    table = _table("Faults under load, two replicas")
    for heading in (
        *("", "requests", "retried", "lost", "wrong", "streams\nbroken"),
        *("longest\ngap ms", "slowest\nms", "well after\ns"),
    ):
        table.add_column(heading, justify="left" if not heading else "right", no_wrap=True)
    for name, fault in faults.items():
        table.add_row(
            name.replace("_", " "),
            f"{fault.requests:,}",
            f"{fault.retried:,}",
            f"{fault.lost:,}",
            f"{fault.wrong + fault.broken_answers:,}",
            f"{fault.broken_streams:,}",
            f"{fault.longest_gap_ms:,.0f}",
            f"{fault.slowest_ms:,.0f}",
            _one(fault.until_well_s),
        )
    return table


def _table(title: str) -> Table:
    return Table(
        title=f"\n{title}", title_justify="left", title_style="bold", box=None, pad_edge=False, collapse_padding=True
    )


def _busy_note(ratios: Sequence[float]) -> Text:
    if any(_star(ratio) for ratio in ratios):
        return Text("* the clients' core was full: they, too, made what is late here", style="dim")
    return Text()


def _star(ratio: float) -> str:
    return "*" if ratio >= BUSY_RATIO else ""


def _errors(cost: Cost) -> int:
    return sum(cost.errors.values())


def _one(value: float | None) -> str:
    return "-" if value is None else f"{value:,.1f}"


def _short(value: float | None) -> str:
    return "-" if value is None else f"{value:,.1f}" if value < 100 else f"{value:,.0f}"


def _three(value: float | None) -> str:
    return "-" if value is None else f"{value:,.3f}"
