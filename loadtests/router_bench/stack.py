"""Our router in other sizes than those of the table: any number of models, endpoints and replicas."""

import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from cluster.errors import OurFault
from cluster.stack_state import StackState, read_state
from loadtests.router_bench import cpu, ours
from loadtests.router_bench.child import free_ports, last_words

_START_TIMEOUT_S: Final = 240.0
_REPLICAS_TIMEOUT_S: Final = 60.0
_LOOK_S: Final = 0.2
# Of the longest prompt here, 100,000 Chinese characters, with room to spare.
_CONTEXT_TOKENS: Final = 262_144


@dataclass(frozen=True, slots=True)
class Stack:
    """A stack of ours that is ready."""

    port: int
    replicas: tuple[int, ...]
    """The processes that listen, as they were at the start."""
    beside: tuple[int, ...]
    """All its other processes."""
    config: Path
    log: Path

    def listening(self) -> tuple[int, ...]:
        """The processes that listen now."""
        return cpu.listeners(self.port)

    def command(self, *words: str, timeout_s: float) -> None:
        """Run `fenzhen WORDS --config ...`. Raises TimedOut, OurFault."""
        ours.fenzhen((*words, "--config", str(self.config)), self.log, timeout_s)


@contextmanager
def started(
    pools: Mapping[str, Sequence[int]],
    core: int,
    folder: Path,
    *,
    replicas: int = 1,
    router: Mapping[str, Any] | None = None,
) -> Iterator[Stack]:
    """Start a stack on one core; `pools`: the ports of each model's endpoints. Raises OurFault, TimedOut."""
    (port,) = free_ports(1)
    folder.mkdir(parents=True, exist_ok=True)
    config, log = folder / "fenzhen.yaml", folder / "bench.log"
    document = configuration(pools, folder, {"port": port, "replicas": replicas, **(router or {})})
    config.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")
    # What a benchmark that was killed has left behind.
    ours.stop(config, folder, log)
    try:
        ours.fenzhen(("up", "--detach", "--config", str(config)), log, _START_TIMEOUT_S, core)
        state = read_state(folder)
        if state is None or state.phase != "ready":
            raise OurFault(f"fenzhen up has ended, but the stack is not ready: {last_words(log)}")
        yield _stack(state, port, replicas, config, log)
    finally:
        ours.stop(config, folder, log)


def configuration(pools: Mapping[str, Sequence[int]], state_dir: Path, router: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration file: each model is trusted with a little more than the one before, the last with all."""
    cards = [
        {
            "name": name,
            "languages": ["zh", "en"],
            "max_difficulty": (place + 1) / len(pools),
            "context_tokens": _CONTEXT_TOKENS,
            "parameters_b": 0.5 + place,
        }
        for place, name in enumerate(pools)
    ]
    return {
        "models": cards,
        "pools": [
            {"model": name, "endpoints": [f"http://127.0.0.1:{one}" for one in ports]} for name, ports in pools.items()
        ],
        "router": dict(router),
        "site": {"state_dir": str(state_dir), "models_dir": str(state_dir / "models")},
    }


def spread_over(pids: Iterable[int], cores: Iterable[int]) -> None:
    """Let processes that were started on one core use these, every thread of them."""
    wanted = set(cores)
    for pid in pids:
        for thread in Path("/proc", str(pid), "task").iterdir():
            os.sched_setaffinity(int(thread.name), wanted)


def _stack(state: StackState, port: int, replicas: int, config: Path, log: Path) -> Stack:
    # A stack is ready with its first replica; the others come a moment later.
    end_s = time.monotonic() + _REPLICAS_TIMEOUT_S
    while len(listening := cpu.listeners(port)) != replicas:
        if time.monotonic() > end_s:
            raise OurFault(f"{replicas} replicas were asked for, but {len(listening)} processes listen on port {port}")
        time.sleep(_LOOK_S)
    everything = {pid for root in (state.pid, *(note.pid for note in state.processes)) for pid in cpu.tree(root)}
    return Stack(port, listening, tuple(sorted(everything - set(listening))), config, log)
