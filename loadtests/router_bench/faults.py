"""What a fault costs those who are asking at the time: two replicas, clients that never rest, and something breaks."""

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict

from cluster.errors import FenzhenError, OurFault, TimedOut
from loadtests.router_bench.child import ROOT, last_words, running
from loadtests.router_bench.gauges import listening_sockets
from loadtests.router_bench.patient import KindReport, PatientLoad, PatientReport
from loadtests.router_bench.stack import Stack

REPLICAS: Final = 2
_BEFORE_S: Final = 4.0
_AFTER_S: Final = 3.0
# How long people look at a fault that has nothing to come back from.
_WATCHED_S: Final = 5.0
_RECOVERY_TIMEOUT_S: Final = 120.0
# The client ends what is in flight: at most a time-out and two waits.
_CLIENT_END_S: Final = 60.0
_LOOK_S: Final = 0.05
_START_TIMEOUT_S: Final = 20.0


class Fault(BaseModel):
    """What one fault cost."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    requests: int
    right: int
    retried: int
    """Requests that were tried again, as the client of OpenAI does."""
    lost: int
    """Requests that could have been answered by trying again, and were not: must be 0."""
    broken_streams: int
    """Streams that ended in their middle, which nobody can try again."""
    broken_answers: int
    """The same of other answers."""
    wrong: int
    longest_gap_ms: float
    """Between two right answers, of all clients together."""
    slowest_ms: float
    """One request, with its waits and retries."""
    until_well_s: float | None
    """From the fault until two replicas listen again; None where no replica was touched."""
    problem: str
    """Why it did not become well again, if it did not."""
    kinds: dict[str, KindReport]
    answers_in_bins: tuple[int, ...]
    """Right answers in each tenth of a second."""
    fault_at_s: float
    """On the axis of those bins."""


class Faults:
    """Breaks one thing after the other in one stack of two replicas."""

    def __init__(self, stack: Stack, core: int, folder: Path, load: PatientLoad | None = None) -> None:
        self._stack = stack
        self._core = core
        self._folder = folder
        self._load = load or PatientLoad(port=stack.port)

    def update(self) -> Fault:
        """Replace both replicas by new ones: `fenzhen update --force`."""
        before = listening_sockets(self._stack.port)
        problems: list[str] = []

        def order() -> None:
            try:
                self._stack.command("update", "--force", timeout_s=_RECOVERY_TIMEOUT_S)
            except FenzhenError as error:
                problems.append(str(error))

        updating = threading.Thread(target=order, name="update")

        def is_well() -> bool:
            now = listening_sockets(self._stack.port)
            return not updating.is_alive() and (bool(problems) or (len(now) == REPLICAS and now.isdisjoint(before)))

        return self._under_load("update", updating.start, is_well, problems)

    def kill_replica(self) -> Fault:
        """Kill one replica; Ray Serve notices by itself and starts another."""
        before = listening_sockets(self._stack.port)
        victim = self._stack.listening()[0]

        def is_well() -> bool:
            now = listening_sockets(self._stack.port)
            return len(now) == REPLICAS and now != before

        return self._under_load("kill_replica", lambda: os.kill(victim, signal.SIGKILL), is_well, [])

    def lose_endpoint(self, name: str, pid: int, number: signal.Signals) -> Fault:
        """Let an engine leave (SIGTERM) or die (SIGKILL)."""
        end_s: list[float] = []

        def act() -> None:
            os.kill(pid, number)
            end_s.append(time.monotonic() + _WATCHED_S)

        found = self._under_load(name, act, lambda: time.monotonic() > end_s[0], [])
        return found.model_copy(update={"until_well_s": None})

    def _under_load(
        self, name: str, act: Callable[[], None], is_well: Callable[[], bool], problems: list[str]
    ) -> Fault:
        load_path, log = self._folder / f"{name}.json", self._folder / f"{name}.log"
        load_path.write_text(self._load.model_dump_json(), encoding="utf-8")
        log.unlink(missing_ok=True)
        command = (sys.executable, "-m", "loadtests.router_bench.patient", str(load_path))
        with running(command, self._core, log, cwd=ROOT) as client:
            time.sleep(_BEFORE_S)
            fault_s = time.monotonic()
            act()
            while not is_well() and time.monotonic() - fault_s < _RECOVERY_TIMEOUT_S:
                time.sleep(_LOOK_S)
            until_well_s = time.monotonic() - fault_s
            if until_well_s >= _RECOVERY_TIMEOUT_S:
                problems.append(f"not well after {until_well_s:.0f} s")
            time.sleep(_AFTER_S)
            client.terminate()
            client.wait(_CLIENT_END_S)
        return judged(_report_in(log), fault_s, until_well_s, "; ".join(problems))


def judged(report: PatientReport, fault_s: float, until_well_s: float, problem: str) -> Fault:
    """Add up what the client saw. The moments are by the system's monotonic clock."""
    kinds = report.kinds.values()
    streams = report.kinds["stream"]
    return Fault(
        requests=sum(kind.requests for kind in kinds),
        right=sum(kind.right for kind in kinds),
        retried=sum(kind.retried for kind in kinds),
        lost=sum(sum(kind.lost.values()) for kind in kinds),
        broken_streams=sum(streams.broken.values()),
        broken_answers=sum(sum(kind.broken.values()) for kind in kinds) - sum(streams.broken.values()),
        wrong=sum(sum(kind.wrong.values()) for kind in kinds),
        longest_gap_ms=report.longest_gap_ms,
        slowest_ms=max(kind.slowest_ms for kind in kinds),
        until_well_s=round(until_well_s, 1),
        problem=problem,
        kinds={str(name): kind for name, kind in report.kinds.items()},
        answers_in_bins=report.answers_in_bins,
        fault_at_s=round(fault_s - report.begun_s, 2),
    )


def all_of(stack: Stack, core: int, folder: Path, engines: Sequence[int]) -> Iterator[tuple[str, Fault]]:
    """One fault after the other; `engines`: the processes of two endpoints that may go."""
    breaking = Faults(stack, core, folder)
    yield "leave_endpoint", breaking.lose_endpoint("leave_endpoint", engines[0], signal.SIGTERM)
    yield "kill_endpoint", breaking.lose_endpoint("kill_endpoint", engines[1], signal.SIGKILL)
    yield "kill_replica", breaking.kill_replica()
    yield "update", breaking.update()


@contextmanager
def engines_that_leave(count: int, core: int, folder: Path) -> Iterator[list[tuple[int, int]]]:
    """So many stand-ins in processes of their own; gives port and process id of each. Raises TimedOut."""
    with ExitStack() as stack:
        found = []
        for number in range(count):
            log = folder / f"engine-{number}.log"
            log.unlink(missing_ok=True)
            command = (sys.executable, "-m", "loadtests.router_bench.leaving")
            process = stack.enter_context(running(command, core, log, cwd=ROOT))
            found.append((_port_in(log), process.pid))
        yield found


def pools_of(steady: Sequence[int], leaving: Sequence[int]) -> Mapping[str, Sequence[int]]:
    """Two models: the small one has the engines that will leave beside two that stay."""
    return {"small": (*steady[:2], *leaving), "large": tuple(steady[2:4])}


def _port_in(log: Path) -> int:
    end_s = time.monotonic() + _START_TIMEOUT_S
    while time.monotonic() < end_s:
        text = log.read_text(encoding="utf-8")
        if text.endswith("}\n"):
            return int(json.loads(text.splitlines()[-1])["port"])
        time.sleep(_LOOK_S)
    raise TimedOut(f"an engine's stand-in did not start; its last words:\n{last_words(log)}")


def _report_in(log: Path) -> PatientReport:
    lines = log.read_text(encoding="utf-8").splitlines()
    if not lines or not lines[-1].startswith('{"kinds"'):
        raise OurFault(f"the client ended without a report:\n{last_words(log)}")
    return PatientReport.model_validate_json(lines[-1])
