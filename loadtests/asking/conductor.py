"""One worker's part of a run: all stages one after the other, then the drain, with a report every second."""

import math
import time
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple, Protocol

from gevent import GreenletExit
from gevent.event import Event

from loadtests.arrivals.arrival import Arrival
from loadtests.asking.dispatcher import Dispatcher, OpenCrowd
from loadtests.asking.greenlets import Greenlets
from loadtests.asking.ledger import Ledger
from loadtests.asking.people import ClosedCrowd, Company, sittings_of
from loadtests.asking.sender import Asking, Cut, Dropped, Sender
from loadtests.plan import Plan
from loadtests.records.gaps import Gaps
from loadtests.records.sample import Sample
from loadtests.records.tick import Tick

_LOOK_EVERY_S: Final = 0.1
# A generator that is behind its schedule when that is over may still send for so long, at least.
_CATCH_UP_S: Final = 10.0


class AnyCrowd(OpenCrowd, ClosedCrowd, Protocol):
    """`loadtests.workload.crowd.Crowd`."""


class Ending(NamedTuple):
    """What is known at a worker's end only."""

    gaps: dict[tuple[int, str], Gaps]
    unsettled: int
    """Requests that an interrupt found in flight: they have no sample."""
    note: str
    """What this machine could not do, one sentence; empty if all went well."""


class Conductor:
    """Runs a plan once. `report` gets the lines of samples and the tick of each second, `seen` each sample."""

    def __init__(
        self,
        plan: Plan,
        crowd: AnyCrowd,
        arrivals: Iterator[Arrival],
        asker: Asking,
        report: Callable[[bytes, Tick], None],
        seen: Callable[[Sample], None],
        worker: int = 0,
        workers: int = 1,
    ) -> None:
        self._plan = plan
        self._crowd = crowd
        self._arrivals = arrivals
        self._asker = asker
        self._report = report
        self._seen = seen
        self._worker = worker
        self._workers = workers
        self._over = Event()
        self._cut = Event()
        self._ended = Event()
        self._ledger = Ledger()
        self._sending = Greenlets(self._over.set)
        self._requests = Greenlets(self._over.set)
        self._reporting = Greenlets(self._over.set)
        self._second = 0
        self._cpu_s = 0.0
        self._closed_s = 0.0

    def stop(self, *, cut: bool) -> None:
        """Send nothing more. With `cut`, what is in flight is given up without a sample; else it is drained."""
        if cut:
            self._cut.set()
        self._over.set()

    def run(self, zero_s: float) -> Ending:
        """All stages and the drain; second 0 is when time.perf_counter() is `zero_s`. Raises what a request raised."""
        sender = Sender(self._asker, self._ledger, self._worker, zero_s, self._seen)
        self._cpu_s, self._closed_s = time.process_time(), time.perf_counter()
        self._reporting.spawn(self._report_seconds, zero_s)
        try:
            dispatcher = self._begin(sender)
            self._wait_for_stages(zero_s)
            self._finish_sending(dispatcher)
            self._drain()
        finally:
            self._ended.set()
            self._reporting.join()
            self._requests.kill(Dropped if self._cut.is_set() else Cut)
            self._close_second()
            self._asker.close()
        # A request without a sample would be a lie: the run has failed.
        for group in (self._sending, self._requests, self._reporting):
            if group.fault is not None:
                raise group.fault
        return Ending(dict(self._asker.gaps), self._ledger.unsettled, self._asker.note)

    def _begin(self, sender: Sender) -> Dispatcher:
        limits = self._plan.limits
        most_in_flight = max(math.ceil(limits.max_in_flight / self._workers), 1)
        dispatcher = Dispatcher(
            self._plan, self._arrivals, self._crowd, sender, self._ledger, self._requests, most_in_flight
        )
        self._sending.spawn(dispatcher.run)
        for sittings in sittings_of(self._plan.stages):
            company = Company(sittings, self._worker, self._workers, self._over)
            self._sending.spawn(company.come, self._crowd, sender, self._ledger, self._requests)
        return dispatcher

    def _wait_for_stages(self, zero_s: float) -> None:
        """Until the last stage ends, every question has been asked, or somebody wants the end."""
        end_s = zero_s + self._plan.seconds
        while (left_s := end_s - time.perf_counter()) > 0 and not self._over.is_set():
            if self._crowd.is_exhausted and self._sending.join(0) and self._ledger.in_flight == 0:
                return
            self._over.wait(min(left_s, _LOOK_EVERY_S))

    def _finish_sending(self, dispatcher: Dispatcher) -> None:
        """What was due and is not sent yet still goes out, or is booked: nothing that was due may disappear."""
        end_s = time.perf_counter() + max(self._plan.limits.drain_s, _CATCH_UP_S)
        while not self._over.is_set() and time.perf_counter() < end_s:
            if self._sending.join(_LOOK_EVERY_S):
                return
        self._sending.kill(GreenletExit)
        if not self._over.is_set():
            dispatcher.keep_back_rest()

    def _drain(self) -> None:
        end_s = time.perf_counter() + self._plan.limits.drain_s
        while not self._cut.is_set() and (left_s := end_s - time.perf_counter()) > 0:
            if self._requests.join(min(left_s, _LOOK_EVERY_S)):
                return

    def _report_seconds(self, zero_s: float) -> None:
        # Never killed: a report that is half sent would be lost.
        while not self._ended.wait(max(zero_s + self._second + 1 - time.perf_counter(), 0)):
            self._close_second()

    def _close_second(self) -> None:
        cpu_s, now_s = time.process_time(), time.perf_counter()
        # The last second is cut short by the end: over milliseconds a ratio says nothing.
        cpu_ratio = (cpu_s - self._cpu_s) / max(now_s - self._closed_s, 1.0)
        lines, tick = self._ledger.close_second(self._second, cpu_ratio, self._asker.pieces)
        self._cpu_s, self._closed_s = cpu_s, now_s
        self._second += 1
        if not (self._ended.is_set() and tick.due == tick.done == tick.tokens == 0):
            self._report(lines, tick)
