"""A plan's stages under locust: who leads, who sends, and how all of them end together.

A process of locust is alone (then it leads and sends), the master (it leads) or a worker (it sends).
"""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import gevent
from gevent import socket

from loadtests.asking.leader import Leader
from loadtests.asking.listeners import Parent, Terminal
from loadtests.asking.member import Member
from loadtests.asking.sample_file import SampleFile
from loadtests.keys import keys_of
from loadtests.plan import Plan
from loadtests.plan_file import require_files
from loadtests.records.run_folder import RunFolder
from loadtests.records.sample import Sample

_INTERRUPT_TIMEOUT_S: Final = 10.0


class Stages:
    """`environment` and `runner` are locust's."""

    def __init__(self, environment: Any, runner: Any, seen: Callable[[Sample], None]) -> None:
        """`seen` gets each sample that this process has sent."""
        self._environment = environment
        self._runner = runner
        self._is_master = bool(environment.parsed_options.master)
        self._member = None if self._is_master else Member(runner, seen)
        self._leader: Leader | None = None
        self._running: gevent.Greenlet | None = None
        environment.events.quitting.add_listener(self._interrupt)

    def lead(self, plan: Plan, host: str, folder: str | None) -> None:
        """Run the plan whenever locust starts a test, on locust's host or else `host`. Raises UserError.

        folder: of a run; its samples are kept, and its seconds go to stdout.
        """
        require_files(plan)
        if not self._is_master:
            keys_of(plan, os.environ)
        events = self._environment.events
        listener = Terminal() if folder is None else self._parent(folder)
        self._leader = Leader(self._runner, plan, listener, is_local=not self._is_master)
        events.test_start.add_listener(lambda **_: self._begin(host))
        events.test_stopping.add_listener(self._stop)
        if folder is not None:
            gevent.spawn(self._obey_stdin, self._leader)

    def end_with(self, parent: int) -> None:
        """A forked worker ends with the process that has forked it, which may have been killed."""
        while os.getppid() == parent:
            time.sleep(1)
        self._runner.quit()

    def _parent(self, folder: str) -> Parent:
        lines = os.dup(1)
        # What anybody prints belongs into the log: our lines alone go to the one who has started us.
        os.dup2(2, 1)
        parent = Parent(lines, SampleFile(RunFolder(Path(folder)).samples))
        # It is told before the one who comes is counted.
        self._environment.events.worker_connect.add_listener(
            lambda client_id, **_: parent.connected(len({*self._runner.clients, client_id}))
        )
        return parent

    def _begin(self, host: str) -> None:
        # Now, and not before: the web page may name another host.
        self._running = gevent.spawn(self._run, self._environment.host or host)

    def _run(self, url: str) -> None:
        assert self._leader is not None
        self._leader.run(url, self._names(), self._missing)
        if self._environment.parsed_options.headless:
            self._runner.quit()
        else:
            self._runner.stop()

    def _names(self) -> list[str]:
        if not self._is_master:
            return ["local"]
        gone = self._missing()
        return [name for name in self._runner.clients if name not in gone]

    def _missing(self) -> list[str]:
        if not self._is_master:
            return []
        clients = self._runner.clients
        return [name for name in self._runner.worker_indexes if name not in clients or clients[name].state == "missing"]

    def _stop(self, **_: object) -> None:
        """The web page's button, or our own end."""
        if self._leader is not None and self._leader.is_running:
            self._leader.interrupt()

    def _interrupt(self, **_: object) -> None:
        """A signal, or our own end: what there is is kept."""
        if self._leader is None:
            if self._member is not None:
                self._member.interrupt(_INTERRUPT_TIMEOUT_S)
        elif self._leader.is_running and self._running is not None:
            self._leader.interrupt()
            self._running.join(_INTERRUPT_TIMEOUT_S)

    def _obey_stdin(self, leader: Leader) -> None:
        """Any word on it means stop, and so does its end: whoever started us is gone."""
        socket.wait_read(0)
        was_running = leader.is_running
        leader.interrupt()
        if not was_running:
            # Locust waits for workers and looks at nothing else: those that have come are told, then it is woken.
            self._runner.quit()
            os.kill(os.getpid(), signal.SIGINT)
