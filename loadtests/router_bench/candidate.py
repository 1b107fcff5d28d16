"""Who is measured: a server, and the ways in which it is asked."""

import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import httpx

from cluster.errors import TimedOut
from loadtests.router_bench import cpu, prompts
from loadtests.router_bench.child import last_words
from loadtests.router_bench.load import Target


@dataclass(frozen=True, slots=True)
class Running:
    """A server that answers."""

    port: int
    on_the_way: tuple[int, ...]
    """Its processes that requests pass through."""
    beside: tuple[int, ...] = ()
    """Its other processes."""


@dataclass(frozen=True, slots=True)
class Trim:
    """One row of the table: how a server is asked."""

    name: str
    model: str = "small"
    is_conversation: bool = False
    """Whether questions come at the end of a conversation."""
    headers: tuple[str, ...] = ()
    is_scraped: bool = False
    """Whether its metrics are read each second while it is measured."""
    is_slow: bool = False
    """Gets less to do, or it would not end."""

    def target(self, port: int) -> Target:
        """Where and what to ask, answers whole."""
        bodies = prompts.bodies(self.model, is_conversation=self.is_conversation)
        return Target(name=self.name, port=port, bodies=bodies, headers=self.headers)

    def streamed(self, port: int, chunks: int, pace_ms: float) -> Target:
        """Where and what to ask, answers as streams."""
        bodies = prompts.streamed(self.model, chunks, pace_ms, is_conversation=self.is_conversation)
        return Target(name=self.name, port=port, bodies=bodies, headers=self.headers)


class Server(Protocol):
    """Something between clients and engines."""

    @property
    def name(self) -> str:
        """As in the table, for a server with one trim."""

    @property
    def trims(self) -> tuple[Trim, ...]:
        """How it is asked."""

    @property
    def version(self) -> str:
        """What was installed."""

    def run(self, engines: Sequence[int], core: int, folder: Path) -> AbstractContextManager[Running]:
        """Start it on one core, in front of engines on these ports, with its files in a folder; stop it after."""


def wait_for_answer(port: int, pid: int, log: Path, timeout_s: float) -> None:
    """Return when a server answers a question. Raises TimedOut with its last words."""
    body = prompts.bodies("small")[0]
    end_s = time.monotonic() + timeout_s
    while time.monotonic() < end_s and cpu.tree(pid):
        try:
            url = f"http://127.0.0.1:{port}/v1/chat/completions"
            reply = httpx.post(url, content=body, headers={"content-type": "application/json"}, timeout=5)
            if reply.status_code == httpx.codes.OK:
                return
        except httpx.TransportError:
            pass
        # Often enough that a start is not waited for in vain, seldom enough that it is not slowed down.
        time.sleep(0.1)
    raise TimedOut(
        f"nothing answers on port {port} after {timeout_s:.0f} s; the last words in {log}:\n{last_words(log)}"
    )
