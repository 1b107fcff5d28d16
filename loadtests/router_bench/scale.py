"""How the router's cost grows with what it carries, and what faults cost: parts, each with a stack of its own."""

import shlex
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import click
import psutil
from rich.console import Console

from cluster.errors import FenzhenError, UserError
from loadtests.router_bench import (
    bench,
    cpu,
    faults,
    growth,
    pool_scale,
    prompt_scale,
    scale_plot,
    scale_table,
    stream_scale,
)
from loadtests.router_bench.bench import BUILD, cores_of
from loadtests.router_bench.child import stand_in
from loadtests.router_bench.costs import Costs
from loadtests.router_bench.findings import PARTS, Findings
from loadtests.router_bench.gauges import idle_ratio, steady_footprint
from loadtests.router_bench.ours import commit
from loadtests.router_bench.result import machine, merge, now
from loadtests.router_bench.stack import Stack, started
from loadtests.router_bench.stream_scale import ASKED, Streams

_RUN: Final = BUILD / "run" / "scale"
# Beyond the default of 4,096 requests in flight, which is a limit against overload and not of the replica.
_MANY_IN_FLIGHT: Final = {"max_in_flight": 8192}
_MODELS: Final = ("small", "large")
_WAVE: Final = 2_000
_IDLE_S: Final = 3.0


@dataclass(frozen=True, slots=True)
class Plan:
    """How long and how much."""

    stream_counts: Sequence[int] = stream_scale.COUNTS
    hold_s: float = 5.0
    warm_up_requests: int = 5_000
    lengths: Sequence[int] = prompt_scale.LENGTHS
    prompt_s: float = 2.0
    prompt_per_s: float = 50.0
    models: Sequence[int] = pool_scale.MODELS
    endpoints: Sequence[int] = pool_scale.ENDPOINTS
    size_s: float = 2.0
    growth_requests: int = growth.REQUESTS
    growth_warm_up: int = growth.WARM_UP
    growth_settled_s: float = growth.SETTLED_S


USUAL: Final = Plan()
QUICK: Final = Plan(
    stream_counts=(1, 100, 1_000), hold_s=2.0, warm_up_requests=1_000, lengths=(100, 10_000), prompt_s=1.0,
    models=(1, 10), endpoints=(1, 100), size_s=1.0, growth_requests=20_000, growth_warm_up=4_000,
    growth_settled_s=5.0,
)  # fmt: skip


@click.command()
@click.option("--only", default="", metavar="PART,...", help=f"Of {', '.join(PARTS)}.")
@click.option("--json", "json_path", type=click.Path(path_type=Path), help="Where the figures go; the plots beside it.")
@click.option("--quick", is_flag=True, help="A short look: fewer sizes, less time for each.")
def scale(only: str, json_path: Path | None, quick: bool) -> None:
    """Measure how the router's cost grows, and what faults under load cost."""
    console = Console(highlight=False)
    parts = chosen(only)
    # Incomplete figures do not take the place of complete ones.
    path = json_path or BUILD / ("router.json" if not only and not quick else "router-quick.json")
    run = Scale(parts, QUICK if quick else USUAL, path, console)
    run.all_parts()
    console.print()
    console.print(scale_table.tables_of(run.findings))
    console.print(f"\nFigures: {path}", soft_wrap=True)
    for picture in scale_plot.draw_all(run.findings, path):
        console.print(f"Plot:    {picture}", soft_wrap=True)
    if run.failures:
        raise UserError("not everything could be measured: " + "; ".join(run.failures))


class Scale:
    """All parts, and what they have shown so far."""

    def __init__(self, parts: Sequence[str], plan: Plan, path: Path, console: Console) -> None:
        self._parts = parts
        self._plan = plan
        self._path = path
        self._console = console
        self._begun_s = time.monotonic()
        self._cores = cores_of(cpu.cores())
        self._machine = machine()
        self._open_files = 0
        self.findings = Findings()
        self.failures: list[str] = []

    def all_parts(self) -> None:
        """Measure; after each stack the figures so far are on disk."""
        _RUN.mkdir(parents=True, exist_ok=True)
        core = self._cores[1]
        names = [*_MODELS, *(f"model-{number}" for number in range(max(self._plan.models)))]
        ports_wanted = max(8, *self._plan.models, *self._plan.endpoints) if "sizes" in self._parts else 8
        with bench.on(core), stand_in(core, ports_wanted, "--models", ",".join(names)) as ports:
            # What has been given back to the allocator would hide what is taken from it: where memory is looked at, the
            # stack is fresh.
            self._stage(("streams_2000", "prompts", "replicas"), lambda: self._one_stack(ports))
            self._stage(("growth",), lambda: self._growth(ports))
            self._stage(("streams",), lambda: self._ladder(ports))
            self._stage(("sizes",), lambda: self._sizes(ports))
            self._stage(("replicas", "faults"), lambda: self._two_replicas(ports))

    def document(self) -> dict[str, Any]:
        """What has been measured so far, as it goes into the file."""
        about = {
            "date": now(),
            "command": shlex.join(["python", "-m", "loadtests.router_bench.scale_main", *sys.argv[1:]]),
            "machine": self._machine,
            "version": commit(),
            "parts": list(self._parts),
            "router_open_files": self._open_files,
            "failures": self.failures,
        }
        return {"scale_run": about, **self.findings.document()}

    def _stage(self, parts: Sequence[str], measure: Callable[[], None]) -> None:
        """Measure with one stack if any of its parts is wanted; that it fails is a result, too."""
        if not any(part in self._parts for part in parts):
            return
        try:
            measure()
        except (FenzhenError, psutil.NoSuchProcess) as error:
            wanted = " and ".join(part for part in parts if part in self._parts)
            self.failures.append(f"{wanted}: {error}")
            self._say(f"FAILED: {error}")
        merge(self._path, self.document())

    def _one_stack(self, ports: Sequence[int]) -> None:
        pools = {"small": ports[:4], "large": ports[4:6]}
        core = self._cores[1]
        with self._started(pools, "one") as stack:
            idle = idle_ratio(stack.replicas, core, _IDLE_S)
            if "streams_2000" in self._parts:
                streams = Streams(stack, ports[0], core, idle)
                waves = stream_scale.two_waves(
                    streams, stack, _WAVE, self._plan.hold_s, core, self._plan.warm_up_requests
                )
                self.findings.streams_2000 = waves
                self._say(f"{_WAVE:,} streams: {waves.errors} errors, {waves.kb_per_stream} KB each above idle")
            costs = Costs(stack, core, idle)
            if "prompts" in self._parts:
                self.findings.prompts = prompt_scale.prompt_lengths(
                    costs, ports[0], "small", self._plan.prompt_s, self._plan.prompt_per_s, self._say,
                    self._plan.lengths,
                )  # fmt: skip
            if "replicas" in self._parts:
                self._replicas(stack)

    def _growth(self, ports: Sequence[int]) -> None:
        plan = self._plan
        with self._started({"small": ports[:4], "large": ports[4:6]}, "growth") as stack:
            self.findings.growth = growth.Mixed(stack, self._cores[1], _RUN, self._say).growth(
                "small", plan.growth_requests, plan.growth_warm_up, plan.growth_settled_s
            )

    def _ladder(self, ports: Sequence[int]) -> None:
        core = self._cores[1]
        with self._started({"small": ports[:4], "large": ports[4:6]}, "streams", router=_MANY_IN_FLIGHT) as stack:
            costs = Costs(stack, core, idle_ratio(stack.replicas, core, _IDLE_S))
            costs.warm_up(ASKED.target(stack.port), self._plan.warm_up_requests)
            idle = steady_footprint(stack.replicas)
            streams = Streams(stack, ports[0], core, costs.idle_cpu_ratio)
            self.findings.streams = stream_scale.ladder(
                streams, self._plan.stream_counts, self._plan.hold_s, idle, self._say
            )

    def _sizes(self, ports: Sequence[int]) -> None:
        plan = self._plan
        self.findings.sizes = pool_scale.stack_sizes(
            ports, self._cores, _RUN / "sizes", plan.size_s, self._say, plan.models, plan.endpoints
        )

    def _two_replicas(self, ports: Sequence[int]) -> None:
        core = self._cores[1]
        with ExitStack() as held:
            leaving = held.enter_context(faults.engines_that_leave(2, core, _RUN))
            pools = faults.pools_of(ports, [port for port, _ in leaving])
            stack = held.enter_context(self._started(pools, "two", replicas=faults.REPLICAS))
            if "replicas" in self._parts:
                self._replicas(stack)
            if "faults" not in self._parts:
                return
            for name, fault in faults.all_of(stack, core, _RUN, [pid for _, pid in leaving]):
                self.findings.faults = {**(self.findings.faults or {}), name: fault}
                self._say(
                    f"{name}: {fault.requests:,} requests, {fault.retried} retried, {fault.lost} lost, "
                    f"{fault.broken_streams} streams broken"
                )

    def _replicas(self, stack: Stack) -> None:
        found = pool_scale.replicas_of(stack, _MODELS, self._cores, self._plan.size_s)
        self.findings.replicas = [*(self.findings.replicas or []), found]
        self._say(f"replicas: {found.replicas}: {found.auto.rps:,.0f} requests/s, {found.auto.cpu_us:,.0f} µs each")

    @contextmanager
    def _started(self, pools: Mapping[str, Sequence[int]], name: str, **more: Any) -> Iterator[Stack]:
        with started(pools, self._cores[0], _RUN / name, **more) as stack:
            # What a replica may open decides how many streams it can carry, and nobody else looks at it.
            soft = [psutil.Process(pid).rlimit(psutil.RLIMIT_NOFILE)[0] for pid in stack.replicas]
            self._open_files = min([*soft, self._open_files or soft[0]])
            yield stack

    def _say(self, line: str) -> None:
        self._console.print(f"{time.monotonic() - self._begun_s:5.0f} s  {line}", markup=False)


def chosen(only: str) -> tuple[str, ...]:
    """The parts that are named, or all. Raises UserError."""
    wanted = [name.strip() for name in only.split(",") if name.strip()]
    if unknown := [name for name in wanted if name not in PARTS]:
        raise UserError(f"--only: {', '.join(unknown)} is not one of {', '.join(PARTS)}")
    return tuple(part for part in PARTS if not wanted or part in wanted)
