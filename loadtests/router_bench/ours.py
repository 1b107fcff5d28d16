"""Our own router, started as anybody starts it: `fenzhen up --detach`, with a configuration of external endpoints."""

import itertools
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import yaml

from cluster.errors import OurFault, TimedOut
from cluster.stack_state import StackState, read_state
from loadtests.router_bench import cpu
from loadtests.router_bench.candidate import Running, Trim
from loadtests.router_bench.child import ROOT, free_ports, last_words

_START_TIMEOUT_S: Final = 180.0
_STOP_TIMEOUT_S: Final = 90.0
# In `full`, what a careful caller sends with each request.
_FULL_HEADERS: Final = (
    "x-request-id: bench-{n}",
    "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    "x-fenzhen-deadline-s: 30",
)
PLAIN: Final = Trim("fenzhen-plain")
AUTO: Final = Trim("fenzhen-auto", model="auto")
FULL: Final = Trim("fenzhen-full", model="auto", is_conversation=True, headers=_FULL_HEADERS, is_scraped=True)


@dataclass(frozen=True, slots=True)
class Fenzhen:
    """Two models; the engines' ports are dealt out to them in turn."""

    name: str
    trims: tuple[Trim, ...]
    version: str = ""
    replicas: int = 1

    @contextmanager
    def run(self, engines: Sequence[int], core: int, folder: Path) -> Iterator[Running]:
        (port,) = free_ports(1)
        state_dir = folder
        config = state_dir / "fenzhen.yaml"
        config.write_text(configuration(engines, port, state_dir, self.replicas), encoding="utf-8")
        log = state_dir / "bench.log"
        # What a benchmark that was killed has left behind.
        stop(config, state_dir, log)
        try:
            fenzhen(("up", "--detach", "--config", str(config)), log, _START_TIMEOUT_S, core)
            state = read_state(state_dir)
            if state is None or state.phase != "ready":
                raise OurFault(f"fenzhen up has ended, but the stack is not ready: {last_words(log)}")
            yield _running(state, port)
        finally:
            stop(config, state_dir, log)


def configuration(engines: Sequence[int], port: int, state_dir: Path, replicas: int = 1) -> str:
    """The configuration file, YAML: an able model for every question and a smaller one for the easy half."""
    pools = {"small": engines[0::2], "large": engines[1::2]}
    able = {"small": (0.5, 0.5), "large": (1.0, 1.5)}
    document = {
        "models": [
            {
                "name": name,
                "languages": ["zh", "en"],
                "max_difficulty": difficulty,
                "context_tokens": 32768,
                "parameters_b": parameters_b,
            }
            for name, (difficulty, parameters_b) in able.items()
        ],
        "pools": [
            {"model": name, "endpoints": [f"http://127.0.0.1:{one}" for one in ports]} for name, ports in pools.items()
        ],
        "router": {"port": port, "replicas": replicas},
        "site": {"state_dir": str(state_dir), "models_dir": str(state_dir / "models")},
    }
    return yaml.safe_dump(document, sort_keys=False)


def commit() -> str:
    """What is measured, from git; empty outside of a checkout."""
    words = ("git", "describe", "--always", "--dirty")
    with suppress(OSError, subprocess.SubprocessError):
        done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=10, check=True)
        return done.stdout.strip()
    return ""


def _running(state: StackState, port: int) -> Running:
    on_the_way = cpu.listeners(port)
    if not on_the_way:
        raise OurFault(f"the router is ready, but no process listens on port {port}")
    everything = set(itertools.chain(cpu.tree(state.pid), *(cpu.tree(note.pid) for note in state.processes)))
    return Running(port, on_the_way, tuple(sorted(everything - set(on_the_way))))


def stop(config: Path, state_dir: Path, log: Path) -> None:
    state = read_state(state_dir)
    if state is not None and (state.is_alive or any(note.is_alive for note in state.processes)):
        fenzhen(("down", "--config", str(config)), log, _STOP_TIMEOUT_S)


def fenzhen(words: Sequence[str], log: Path, timeout_s: float, core: int | None = None) -> None:
    """Run our command line. Raises TimedOut, OurFault."""
    command = [sys.executable, "-m", "fenzhen", *words]
    if core is not None:
        command = ["taskset", "--cpu-list", str(core), *command]
    with log.open("ab") as output:
        try:
            status = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                # A port or a profile from the caller's shell is not for this stack.
                env={key: value for key, value in os.environ.items() if not key.startswith("FENZHEN_")},
                cwd=ROOT,
                timeout=timeout_s,
                check=False,
                start_new_session=True,
            ).returncode
        except subprocess.TimeoutExpired:
            raise TimedOut(f"`fenzhen {words[0]}` took more than {timeout_s:.0f} s; its words are in {log}") from None
    if status != 0:
        raise OurFault(f"`fenzhen {words[0]}` ended with status {status}:\n{last_words(log)}")
