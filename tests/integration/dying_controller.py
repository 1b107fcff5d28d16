"""A controller of rollouts that dies by SIGKILL before or after a call to the outside: for the kill tests.

One process with everything imported waits for lines on its standard input; for each it forks a controller. The table of
endpoints and the registry of versions stay with the test, which answers on a socket.
"""

import asyncio
import json
import os
import signal
import sys
import threading
from collections import Counter
from collections.abc import Callable
from multiprocessing.connection import Client, Connection
from pathlib import Path
from typing import Any

from registry.controller import Controller
from registry.database import Database
from registry.leading import Pace
from registry.rollout_store import RolloutStore
from tests.fakes.rollouts import ScriptedJudges


class Remote:
    """Calls of one object that stays with the test."""

    def __init__(self, address: str) -> None:
        self._connection: Connection = Client(address, "AF_UNIX")
        self._lock = threading.Lock()

    def call(self, target: str, method: str, *arguments: Any) -> Any:
        """Raises what the test's object raised."""
        with self._lock:
            self._connection.send((target, method, arguments))
            is_well, answer = self._connection.recv()
        if not is_well:
            raise answer
        return answer


class Death:
    """Counts the boundaries of calls by their names, and ends this process at one of them."""

    def __init__(self, place: str, number: int, log: Path) -> None:
        self._place = place
        self._number = number
        self._log = log
        self._reached: Counter[str] = Counter()
        self._lock = threading.Lock()

    def boundary(self, name: str) -> None:
        """One more was reached."""
        with self._lock:
            self._reached[name] += 1
            if not self._place:
                with self._log.open("a", encoding="utf-8") as log:
                    log.write(f"{name}\n")
            elif name == self._place and self._reached[name] == self._number:
                self._log.write_text("dead", encoding="utf-8")
                os.kill(os.getpid(), signal.SIGKILL)

    def around(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        """The same call, with a boundary on either side."""

        def wrapped(*arguments: Any, **named: Any) -> Any:
            self.boundary(f"before {name}")
            result = call(*arguments, **named)
            self.boundary(f"after {name}")
            return result

        return wrapped


class DyingStore:
    """A real store behind boundaries."""

    def __init__(self, store: RolloutStore, death: Death) -> None:
        self._store = store
        self._death = death

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._store, name)
        return self._death.around(name, value) if callable(value) else value


class DyingDirectory:
    """The test's table of endpoints behind boundaries."""

    def __init__(self, remote: Remote, death: Death) -> None:
        self._remote = remote
        self._death = death

    def __getattr__(self, name: str) -> Any:
        async def call(*arguments: Any) -> Any:
            self._death.boundary(f"before {name}")
            result = await asyncio.to_thread(self._remote.call, "directory", name, *arguments)
            self._death.boundary(f"after {name}")
            return result

        return call


class DyingVersions:
    """The test's registry of versions behind boundaries."""

    def __init__(self, remote: Remote, death: Death) -> None:
        self._remote = remote
        self._death = death

    def __getattr__(self, name: str) -> Any:
        return self._death.around(
            f"registry {name}", lambda *arguments: self._remote.call("versions", name, *arguments)
        )


def live(life: dict[str, Any]) -> None:
    """Be a controller until killed."""
    death = Death(life["place"], life["number"], Path(life["log"]))
    versions = DyingVersions(Remote(life["address"]), death)
    # Types are kept by the objects behind; these only count.
    store: Any = DyingStore(RolloutStore(Database(life["database"])), death)
    directory: Any = DyingDirectory(Remote(life["address"]), death)
    controller = Controller(
        store,
        directory,
        lambda: versions,
        Path(life["versions_dir"]),
        ScriptedJudges(needed=1, answer=life["answer"]),
        owner=str(os.getpid()),
        pace=Pace(**life["pace"]),
    )
    asyncio.run(controller.run())


def main() -> None:
    """Fork a controller for each line."""
    # Nobody waits for those that end.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    print("ready", flush=True)
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            # The nursery's pipe is not ours to read.
            os.close(0)
            try:
                live(json.loads(line))
            finally:
                os._exit(0)
        print(pid, flush=True)


if __name__ == "__main__":
    main()
