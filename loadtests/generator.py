"""The generator of load, seen from outside: locust in a process of its own, started, listened to and ended.

The process gets the plan from the run's folder and keys through its environment. It prints one JSON object a line
(`loadtests.asking.listeners.Parent`), appends the samples to the folder, and ends when its stdin does: it outlives
nobody. Here nothing of locust or gevent is imported, as these replace the standard library's sockets.
"""

import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import orjson

from cluster.errors import OurFault, TimedOut, UserError
from loadtests.keys import keys_of
from loadtests.plan import Plan
from loadtests.plan_file import require_files
from loadtests.records.gaps import Gaps
from loadtests.records.run import Outcome
from loadtests.records.run_folder import RunFolder
from loadtests.records.tick import Tick

LOCUSTFILE: Final = Path(__file__).with_name("locustfile.py")
START_TIMEOUT_S: Final = 60.0
"""For the generator to begin, or to say anything before that."""
WORKERS_TIMEOUT_S: Final = 600.0
"""For the workers of other machines to come: somebody has to start them."""
_SILENCE_S: Final = 30.0
_END_TIMEOUT_S: Final = 10.0
# Before all that has the usual one, behind what the system needs itself; only root may ask for it.
_PRIORITY: Final = -10
# Of an interrupted run: what is in flight is given up, the rest is written down.
_INTERRUPT_TIMEOUT_S: Final = 20.0
_LAST_WORDS_LINES: Final = 8


@dataclass(frozen=True, slots=True)
class Generated:
    """What became of the load."""

    outcome: Outcome
    message: str
    """One sentence or a few, for a person; may be empty."""
    saturated_at_s: float | None
    gaps: Mapping[tuple[int, str], Gaps]
    """Between pieces of streams, by stage and the model that answered."""
    workers: int
    """Processes that sent."""


def generate(
    plan: Plan,
    url: str,
    folder: RunFolder,
    *,
    keys: Mapping[str, str] | None = None,
    processes: int = 1,
    expect_workers: int = 0,
    bind: tuple[str, int] = ("127.0.0.1", 5557),
    on_ticks: Callable[[Sequence[Tick]], None] = lambda _: None,
    on_begin: Callable[[float], None] = lambda _: None,
    on_workers: Callable[[int], None] = lambda _: None,
) -> Generated:
    """Put a plan's load on an address, and come back when it is over. The folder must have begun with this plan.

    keys: by the plan's `api_key_env`; workers on other machines take them from their own environment.
    expect_workers: that many workers of other machines send, and nobody here; they come to `bind`.
    on_ticks: gets the seconds that have ended since the last call; on_begin: when second 0 was, unix seconds;
    on_workers: how many workers have come so far.

    An interrupt (Ctrl-C) ends the load in order, with outcome `interrupted`; a second one at once.
    Raises UserError, TimedOut, OurFault.
    """
    if expect_workers and processes > 1:
        raise UserError(
            "workers of other machines and several processes here do not go together; "
            "start `fenzhen loadtest worker` here, too"
        )
    require_files(plan)
    if not expect_workers:
        keys_of(plan, {**os.environ, **(keys or {})})
    command = _command(url, folder, processes, expect_workers, bind)
    listening = _Listening(on_ticks, on_begin, on_workers, _waiting_for(expect_workers, bind))
    with _running(command, folder.log, keys or {}) as process:
        return listening.until_over(process, folder.log)


def _command(url: str, folder: RunFolder, processes: int, expect_workers: int, bind: tuple[str, int]) -> list[str]:
    command = [
        sys.executable, "-m", "locust", "--locustfile", str(LOCUSTFILE), "--headless", "--only-summary",
        "--stages", "--plan", str(folder.plan), "--fz-folder", str(folder.path), "--host", url,
        "--users", str(max(processes, expect_workers)), "--spawn-rate", "100", "--exit-code-on-error", "0",
    ]  # fmt: skip
    if expect_workers:
        _require_free(bind)
        host, port = bind
        command += ["--master", "--expect-workers", str(expect_workers)]
        command += ["--expect-workers-max-wait", str(int(WORKERS_TIMEOUT_S) + 60)]
        command += ["--master-bind-host", host, "--master-bind-port", str(port)]
    elif processes > 1:
        port = _free_port()
        command += ["--processes", str(processes), "--expect-workers-max-wait", str(int(START_TIMEOUT_S))]
        command += ["--master-bind-host", "127.0.0.1", "--master-bind-port", str(port)]
        command += ["--master-host", "127.0.0.1", "--master-port", str(port)]
    return command


def _waiting_for(expect_workers: int, bind: tuple[str, int]) -> tuple[float, str]:
    """How long the begin may take, and what to say if it takes longer."""
    if not expect_workers:
        return START_TIMEOUT_S, f"the generator did not begin within {START_TIMEOUT_S:.0f} s"
    return WORKERS_TIMEOUT_S, (
        f"not all of the {expect_workers} expected workers came within {WORKERS_TIMEOUT_S:.0f} s; "
        f"on each machine: fenzhen loadtest worker --master HOST:{bind[1]}"
    )


class _Listening:
    """Reads what the generator prints until it says that all is over."""

    def __init__(
        self,
        on_ticks: Callable[[Sequence[Tick]], None],
        on_begin: Callable[[float], None],
        on_workers: Callable[[int], None],
        beginning: tuple[float, str],
    ) -> None:
        self._on_ticks = on_ticks
        self._on_begin = on_begin
        self._on_workers = on_workers
        self._begin_timeout_s, self._begin_too_late = beginning
        self._has_begun = False
        self._is_interrupted = False
        self._rest = b""

    def until_over(self, process: subprocess.Popen[bytes], log: Path) -> Generated:
        """What became of the load. Raises UserError, TimedOut, OurFault."""
        limit_s = self._begin_timeout_s
        heard_s = time.monotonic()
        while True:
            try:
                lines = self._lines(process, heard_s + limit_s - time.monotonic())
                for document in lines:
                    heard_s = time.monotonic()
                    if (generated := self._take(document)) is not None:
                        return generated
                if self._has_begun and not self._is_interrupted:
                    limit_s = _SILENCE_S
            except KeyboardInterrupt:
                if self._is_interrupted:
                    raise
                self._is_interrupted = True
                limit_s, heard_s = _INTERRUPT_TIMEOUT_S, time.monotonic()
                _tell_to_stop(process)
            except EOFError:
                if self._is_interrupted:
                    return Generated("interrupted", "It was interrupted before it began.", None, {}, 0)
                raise OurFault(f"the generator has ended too early: {_last_words(log)}") from None
            if time.monotonic() > heard_s + limit_s:
                raise TimedOut(self._too_late(limit_s))

    def _too_late(self, limit_s: float) -> str:
        if self._is_interrupted:
            return f"the generator did not end within {limit_s:.0f} s after the interrupt, and was killed"
        if self._has_begun:
            return f"the generator has not reported for {limit_s:.0f} s, and was killed"
        return self._begin_too_late

    def _lines(self, process: subprocess.Popen[bytes], timeout_s: float) -> Iterator[dict[str, Any]]:
        """Whole lines that have come. Raises EOFError at the end of all."""
        assert process.stdout is not None
        if not select.select([process.stdout], [], [], max(timeout_s, 0))[0]:
            return
        data = os.read(process.stdout.fileno(), 1 << 16)
        if not data:
            raise EOFError
        *whole, self._rest = (self._rest + data).split(b"\n")
        for line in whole:
            yield orjson.loads(line)

    def _take(self, document: dict[str, Any]) -> Generated | None:
        match document:
            case {"ticks": rows}:
                self._on_ticks([Tick(*row) for row in rows])
            case {"began_unix_s": unix_s}:
                self._has_begun = True
                self._on_begin(unix_s)
            case {"failed": {"text": text, "is_users": is_users}}:
                raise UserError(text) if is_users else OurFault(text)
            case {"over": total}:
                gaps = {(stage, model): dict(one) for stage, model, one in total["gaps"]}
                return Generated(
                    total["outcome"], total["message"], total["saturated_at_s"], gaps, total["workers"]
                )  # fmt: skip
            case {"workers": count}:
                self._on_workers(count)
        return None


def environment_of(keys: Mapping[str, str]) -> dict[str, str]:
    """For a process of locust: it must find our modules, and its own options come from us alone."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LOCUST_")}
    path = os.pathsep.join(filter(None, (str(LOCUSTFILE.parents[1]), environment.get("PYTHONPATH"))))
    return {**environment, **keys, "PYTHONPATH": path}


@contextmanager
def _running(command: Sequence[str], log: Path, keys: Mapping[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """The process for the length of a `with`; its whole group is ended after it."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=output,
            env=environment_of(keys),
            # Ctrl-C is for us: we tell it to stop.
            start_new_session=True,
        )
    # On a machine that is busy with the stack under test, a request shall still leave when it is due. Where it is not
    # allowed, the lag that is reported shows it.
    with suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, process.pid, _PRIORITY)
    try:
        try:
            yield process
        except BaseException:
            # Its workers, which may be on other machines, are to hear of the end.
            _tell_to_stop(process)
            raise
        finally:
            with suppress(subprocess.TimeoutExpired):
                process.wait(_END_TIMEOUT_S)
    finally:
        _kill(process)


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Kill what is left of its group: workers may outlive the one that is waited for."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with suppress(BrokenPipeError):
                pipe.close()


def _tell_to_stop(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin is not None
    with suppress(BrokenPipeError):
        process.stdin.write(b"stop\n")
        process.stdin.flush()


def _require_free(bind: tuple[str, int]) -> None:
    host, port = bind
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("" if host == "*" else host, port))
        except OSError as error:
            raise UserError(
                f"workers cannot be awaited on {host}:{port}: {error.strerror}; name another --master-bind-port"
            ) from error


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _last_words(log: Path) -> str:
    """The end of the log, for an error's sentence."""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    return "\n".join(lines[-_LAST_WORDS_LINES:]) or "it said nothing"
