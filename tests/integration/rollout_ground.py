"""Where controllers are killed: the table of endpoints, the registry and two routers outlive them, in the test."""

import asyncio
import json
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Client, Connection, Listener
from pathlib import Path
from subprocess import PIPE, Popen
from typing import Any

from cluster.clock import MonotonicClock
from cluster.directory_holder import DirectoryHolder
from cluster.traffic import Split
from registry.database import Database
from registry.rollout import Rollout
from registry.rollout_store import RolloutStore
from router.splits import Splits
from tests.fakes.rollouts import NAME, STARTED, ScriptedEngines, batch, outcome
from tests.fakes.version_store import FakeVersionStore

FAST = {"tick_s": 0.01, "lease_s": 0.25, "retry_s": 0.02, "keep_s": 0.03}
OVER_S = 30.0


class Nursery:
    """Forks controllers; one process for a whole module of tests."""

    def __init__(self) -> None:
        self._process = Popen(
            [sys.executable, "-m", "tests.integration.dying_controller"], stdin=PIPE, stdout=PIPE, text=True
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "ready\n"
        self._pids: set[int] = set()

    def fork(self, life: dict[str, Any]) -> int:
        """Start a controller, and return its process id."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(life) + "\n")
        self._process.stdin.flush()
        pid = int(self._process.stdout.readline())
        self._pids.add(pid)
        return pid

    def kill(self, pid: int, number: int = signal.SIGKILL) -> None:
        """Send a signal to one that was forked here; no error if it has ended."""
        assert pid in self._pids
        with suppress(ProcessLookupError):
            os.kill(pid, number)

    def close(self) -> None:
        """End all that is left."""
        for pid in self._pids:
            if is_alive(pid):
                self.kill(pid)
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(10)
        assert self._process.stdout is not None
        self._process.stdout.close()


def is_alive(pid: int) -> bool:
    """Whether one of our forks still runs: its command line, as ids are used again."""
    try:
        return b"dying_controller" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


@dataclass
class Router:
    """Reads the table as a router replica does, and remembers when what was in force."""

    directory: DirectoryHolder
    splits: Splits = field(default_factory=Splits)
    seen: list[tuple[float, Split | None]] = field(default_factory=list)

    async def run(self) -> None:
        """Follow the table by long poll."""
        version = -1
        while True:
            table = await self.directory.read(version, 1.0)
            version = table.version
            if table.traffic is not None and self.splits.update(table.traffic):
                split = next((each for each in table.traffic.splits if each.name == NAME), None)
                if not self.seen or self.seen[-1][1] != split:
                    self.seen.append((asyncio.get_running_loop().time(), split))

    @property
    def ratios(self) -> list[float]:
        """The canary's shares, one for each split that was in force; -1: one without a canary."""
        shares = [-1.0 if split is None or split.canary is None else split.canary_ratio for _, split in self.seen]
        # Before the rollout came into force, and with one that has no canary yet, there was nothing to tell apart.
        return shares[1:] if shares[:1] == [-1.0] and len(shares) > 1 else shares


class Ground:
    """One rollout's surroundings."""

    def __init__(self, folder: Path, nursery: Nursery, database: str | None = None) -> None:
        self.folder = folder
        self.nursery = nursery
        folder.mkdir(parents=True, exist_ok=True)
        self.database = database or f"sqlite:///{folder / 'rollouts.db'}"
        self.store = RolloutStore(Database(self.database))
        self.versions = FakeVersionStore(folder / "registry")
        self.directory = DirectoryHolder(MonotonicClock(), settle_s=0.0)
        self.routers = [Router(self.directory), Router(self.directory)]
        self.engines = ScriptedEngines(self.directory)
        self.log = folder / "log"
        self._tasks: list[asyncio.Task[None]] = []
        self._address = str(folder / "s")
        self._listener = Listener(self._address, "AF_UNIX")
        self._loop = asyncio.get_running_loop()
        self._is_open = True
        self._pids: list[int] = []
        threading.Thread(target=self._accept, daemon=True).start()

    async def __aenter__(self) -> "Ground":
        runs = (self._tell(), self.engines.run(), *(router.run() for router in self.routers))
        self._tasks = [asyncio.create_task(run) for run in runs]
        return self

    async def __aexit__(self, *_: object) -> None:
        for pid in self._pids:
            self.nursery.kill(pid)
        while any(is_alive(pid) for pid in self._pids):
            await asyncio.sleep(0.01)
        for task in self._tasks:
            task.cancel()
        await asyncio.wait(self._tasks)
        self._is_open = False
        # The thread waits for a caller; this is the last one.
        with suppress(OSError):
            Client(self._address, "AF_UNIX").close()
        self._listener.close()
        self.store.close()

    def fork(
        self,
        *,
        place: str = "never",
        number: int = 0,
        answer: str | None = None,
        pace: dict[str, float] | None = None,
    ) -> int:
        """Start a controller that dies when it comes to a place for the n-th time; without a place it notes all."""
        life = {
            "place": place,
            "number": number,
            "log": str(self.log),
            "address": self._address,
            "database": self.database,
            "versions_dir": str(self.folder / "versions"),
            "answer": answer,
            "pace": pace or FAST,
        }
        self._pids.append(self.nursery.fork(life))
        return self._pids[-1]

    async def begin(self, rollout: Rollout) -> None:
        """Put a rollout before the controllers."""
        await asyncio.to_thread(self.store.start, rollout, STARTED)

    async def until_dead_or_over(self, pid: int) -> str:
        """Wait for the end of a controller or of the rollout; the stage that was stored then."""
        async with asyncio.timeout(OVER_S):
            while True:
                is_dead = not is_alive(pid)
                (found,) = await asyncio.to_thread(self.store.latest, NAME)
                if is_dead or found.is_over:
                    return found.stage
                await asyncio.sleep(0.01)

    async def until_over(self) -> Rollout:
        """Wait for the end of the rollout."""
        async with asyncio.timeout(OVER_S):
            while True:
                found = await asyncio.to_thread(self.store.latest, NAME)
                if found and found[0].is_over:
                    return found[0]
                await asyncio.sleep(0.01)

    def stages(self) -> list[str]:
        """The states that the history knows, in order."""
        return [entry.note.event for entry in self.store.history(NAME)]

    def longest_difference_s(self) -> float:
        """For how long the two routers sent requests to different sides."""
        changes = sorted((at, number, split) for number, router in enumerate(self.routers) for at, split in router.seen)
        now: list[Split | None] = [None, None]
        longest_s, since_s = 0.0, None
        for at, number, split in changes:
            if since_s is not None:
                longest_s = max(longest_s, at - since_s)
            now[number] = split
            since_s = at if now[0] != now[1] else None
        return longest_s if since_s is None else float("inf")

    async def _tell(self) -> None:
        """What becomes of requests, as routers tell while a canary is in force."""
        while True:
            split = self.routers[0].seen[-1][1] if self.routers[0].seen else None
            if split is not None and split.canary is not None:
                sides = [outcome(split.rollout_id, is_canary=is_canary) for is_canary in (True, False)]
                await self.directory.tell(batch(sides))
            await asyncio.sleep(0.01)

    def _accept(self) -> None:
        while self._is_open:
            try:
                connection = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: Connection) -> None:
        with connection, suppress(EOFError, OSError):
            while True:
                target, method, arguments = connection.recv()
                try:
                    if target == "directory":
                        call = getattr(self.directory, method)(*arguments)
                        answer = asyncio.run_coroutine_threadsafe(call, self._loop).result(10)
                    else:
                        answer = getattr(self.versions, method)(*arguments)
                except Exception as error:
                    connection.send((False, error))
                else:
                    connection.send((True, answer))


@contextmanager
def nursery() -> Iterator[Nursery]:
    """One for a module."""
    made = Nursery()
    try:
        yield made
    finally:
        made.close()
