"""The benchmark's run: rounds, in each of which everyone is started, measured and stopped, in an order by lot."""

import os
import random
import shlex
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import click
from rich.console import Console

from cluster.errors import FenzhenError, UserError
from loadtests.router_bench import cpu, installing, measure, summary
from loadtests.router_bench.candidate import Server, Trim
from loadtests.router_bench.child import ROOT, stand_in
from loadtests.router_bench.measure import Measurement, Plan
from loadtests.router_bench.ours import AUTO, FULL, PLAIN, Fenzhen, commit
from loadtests.router_bench.plot import draw
from loadtests.router_bench.result import machine, merge, now
from loadtests.router_bench.rivals import rivals
from loadtests.router_bench.sample import Sample
from loadtests.router_bench.table import table_of

BUILD: Final = ROOT / "build/bench"
# Behind ours: two models with an engine each, and two with four each. The rivals have one.
_PAIR: Final = 2
_FULL_HOUSE: Final = 8
# Above it, something else uses this machine's cores: the figures would be of both.
_QUIET_LOAD: Final = 0.7


@click.command()
@click.option(
    "--rounds", default=5, show_default=True, type=click.IntRange(1, 100), help="Each measures everyone once."
)
@click.option("--only", default="", metavar="NAME,...", help="Servers or rows; a row brings all of its server.")
@click.option("--json", "json_path", type=click.Path(path_type=Path), help="Where the figures go; the plot beside it.")
@click.option("--quick", is_flag=True, help="A short look: one round unless --rounds says more, little time for each.")
@click.option("--seed", default=1, show_default=True, help="Of the order in each round.")
@click.option("--install-only", is_flag=True, help="Install what is needed and stop.")
def bench(rounds: int, only: str, json_path: Path | None, quick: bool, seed: int, install_only: bool) -> None:
    """Measure what a request costs on its way through our router and through its rivals."""
    console = Console(highlight=False)
    context = click.get_current_context()
    if quick and context.get_parameter_source("rounds") is click.core.ParameterSource.DEFAULT:
        rounds = 1
    servers = chosen([*_ours(), *rivals(BUILD / "env")], only)
    _install(servers, console)
    if install_only:
        return
    # Incomplete figures do not take the place of complete ones.
    path = json_path or BUILD / ("router.json" if not only and not quick else "router-quick.json")
    run = Run(servers, rounds, seed, quick, path, console)
    run.all_rounds()
    console.print()
    console.print(table_of(run.samples))
    picture = draw(run.samples, path.with_suffix(".png"))
    console.print(f"\nFigures: {path}\nPlot:    {picture}", soft_wrap=True)
    if run.failures:
        raise UserError("not everything could be measured: " + "; ".join(run.failures))


class Run:
    """All rounds, and what they have shown so far."""

    def __init__(
        self, servers: Sequence[Server], rounds: int, seed: int, quick: bool, path: Path, console: Console
    ) -> None:
        self._servers = servers
        self._rounds = rounds
        self._seed = seed
        self._quick = quick
        self._path = path
        self._console = console
        self._begun_s = time.monotonic()
        self._done_s = 0.0
        self._machine = machine()
        self.samples: list[Sample] = []
        self.failures: list[str] = []

    def all_rounds(self) -> None:
        """Measure; after each round the figures so far are on disk. Raises UserError."""
        proxy_core, client_core = cores_of(cpu.cores())
        load = self._machine["load_average_1min"]
        if load > _QUIET_LOAD:
            self._say(f"this machine is busy (load {load}): the figures will be worse than they need be")
        self._say(f"the proxy has core {proxy_core}; the clients and the engines' stand-in have core {client_core}")
        with on(client_core):
            for number in range(1, self._rounds + 1):
                lot = random.Random(f"{self._seed} {number}")  # noqa: S311 - an order, no secret
                for server in lot.sample(self._servers, len(self._servers)):
                    self._one(server, number, lot, proxy_core, client_core)
                merge(self._path, self.document())

    def document(self) -> dict[str, Any]:
        """What has been measured so far, as it goes into the file."""
        return {
            "date": now(),
            "command": shlex.join(["python", "-m", "loadtests.router_bench", *sys.argv[1:]]),
            "machine": self._machine,
            "versions": {server.name: server.version for server in self._servers},
            "rounds": self._rounds,
            "seed": self._seed,
            "failures": self.failures,
            **summary.document(self.samples),
        }

    def _one(self, server: Server, number: int, lot: random.Random, proxy_core: int, client_core: int) -> None:
        """Start, measure and stop one server; that it fails is a result, too."""
        folder = BUILD / "run" / server.name
        folder.mkdir(parents=True, exist_ok=True)
        begin_s = time.monotonic()
        try:
            engines = _FULL_HOUSE if FULL in server.trims else _PAIR
            with stand_in(client_core, engines) as ports, server.run(ports, proxy_core, folder) as running:
                for trim in lot.sample(server.trims, len(server.trims)):
                    plan = self._plan(trim)
                    sample = Measurement(trim, running, ports[0], plan, client_core).take(number)
                    self.samples.append(sample)
                    self._say(f"round {number} of {self._rounds}, {_line(sample)}; {self._left(begin_s)}")
        except FenzhenError as error:
            self.failures.append(f"{server.name} in round {number}: {error}")
            self._say(f"round {number} of {self._rounds}, {server.name} failed: {error}")

    def _plan(self, trim: Trim) -> Plan:
        if self._quick:
            return measure.QUICK_SLOW if trim.is_slow else measure.QUICK
        return measure.SLOW if trim.is_slow else measure.USUAL

    def _left(self, begin_s: float) -> str:
        """How long it will take, by how long it has taken."""
        all_trims = sum(len(server.trims) for server in self._servers) * self._rounds
        done = len(self.samples) + len(self.failures)
        left_s = (time.monotonic() - self._begun_s) / max(done, 1) * (all_trims - done)
        return f"about {left_s / 60:.0f} min left" if left_s >= 90 else f"about {max(left_s, 0):.0f} s left"

    def _say(self, line: str) -> None:
        self._console.print(line, markup=False, soft_wrap=True)


def chosen(servers: Sequence[Server], only: str) -> list[Server]:
    """Those that are named, by their own name or by that of a row. Raises UserError."""
    wanted = {name.strip() for name in only.split(",") if name.strip()}
    if not wanted:
        return list(servers)
    known = {server.name for server in servers} | {trim.name for server in servers for trim in server.trims}
    if unknown := sorted(wanted - known):
        raise UserError(f"--only: {', '.join(unknown)} is not one of {', '.join(sorted(known))}")
    return [one for one in servers if one.name in wanted or any(trim.name in wanted for trim in one.trims)]


def cores_of(usable: Sequence[int]) -> tuple[int, int]:
    """The proxy's core, and that of the clients and engines. Raises UserError."""
    if len(usable) < 2:
        raise UserError("two cores are needed: one for the proxy, one for the clients and the engines' stand-in")
    return usable[0], usable[1]


def _ours() -> tuple[Server, ...]:
    version = commit()
    return Fenzhen("fenzhen-pair", (PLAIN, AUTO), version), Fenzhen("fenzhen-house", (FULL,), version)


def _install(servers: Sequence[Server], console: Console) -> None:
    names = {server.name for server in servers}
    root = BUILD / "env"
    root.mkdir(parents=True, exist_ok=True)
    for rival in installing.ALL:
        if rival.name in names:
            begin_s = time.monotonic()
            console.print(
                f"{rival.name}: looking for it in {root / rival.name}, else installing it", markup=False, soft_wrap=True
            )
            if rival.install(root):
                console.print(f"{rival.name}: installed in {time.monotonic() - begin_s:.0f} s", markup=False)


def _line(sample: Sample) -> str:
    figures = sample.figures
    told = [f"{figures[key]:,.0f} {unit}" for key, unit in _TOLD if key in figures]
    errors = sum(sample.errors.values())
    return f"{sample.name}: {', '.join(told)}" + (f", {errors} ERRORS" if errors else "")


_TOLD: Final = (("cpu_us", "µs a request"), ("rps", "requests/s"), ("chunks_per_s", "chunks/s"))


@contextmanager
def on(core: int) -> Iterator[None]:
    """Keep this process on one core, away from the proxy."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
