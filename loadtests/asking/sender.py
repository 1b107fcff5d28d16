"""One request from its moment to its sample."""

import time
from collections.abc import Callable, Mapping
from typing import Protocol

from gevent import GreenletExit

from loadtests.asking.ledger import Ledger, unanswered
from loadtests.records.gaps import Gaps
from loadtests.records.sample import Sample
from loadtests.workload.answer import Answer
from loadtests.workload.turn import Turn


class Asking(Protocol):
    """What `loadtests.asking.exchange.Asker` can do."""

    @property
    def gaps(self) -> Mapping[tuple[int, str], Gaps]:
        """Gaps between pieces by stage and the model that answered."""
        ...

    @property
    def note(self) -> str:
        """One sentence if this machine could not do what was asked of it; else ""."""
        ...

    @property
    def pieces(self) -> int:
        """Pieces of streams that have come."""
        ...

    def ask(self, turn: Turn, stage: int, due_s: float | None, clock_zero_s: float) -> tuple[Sample, Answer]:
        """Send a turn and wait for the whole answer."""
        ...

    def close(self) -> None:
        """Close all connections."""
        ...


class Cut(GreenletExit):  # type: ignore[misc]  # gevent has no types.
    """Thrown into a request when the drain is over: it counts as timed out."""


class Dropped(GreenletExit):  # type: ignore[misc]  # gevent has no types.
    """Thrown into a request when the test is interrupted: it counts as nothing."""


class Sender:
    """Asks, books what comes of it, and tells `seen`. All requests of a worker go through one."""

    def __init__(
        self, asker: Asking, ledger: Ledger, worker: int, zero_s: float, seen: Callable[[Sample], None]
    ) -> None:
        self.zero_s = zero_s
        """time.perf_counter() when the run began."""
        self._asker = asker
        self._ledger = ledger
        self._worker = worker
        self._seen = seen

    def now_s(self) -> float:
        """Seconds since the run began."""
        return time.perf_counter() - self.zero_s

    def send(self, turn: Turn, stage: int, due_s: float | None) -> Answer:
        """Send one turn now and wait for its answer. `due_s`: None in a closed loop. Raises Cut, Dropped."""
        begin_s = self.now_s()
        at_s = begin_s if due_s is None else due_s
        self._ledger.sent(begin_s - at_s)
        try:
            sample, answer = self._asker.ask(turn, stage, due_s, self.zero_s)
        except Cut:
            self._settle(unanswered(turn, stage, self._worker, at_s, begin_s - at_s, "timeout"))
            raise
        except BaseException:
            self._ledger.dropped()
            raise
        self._settle(sample)
        return answer

    def keep_back(self, turn: Turn, stage: int, due_s: float) -> Answer:
        """Book one that is due and not sent, as too many are in flight."""
        sample = unanswered(turn, stage, self._worker, due_s, self.now_s() - due_s, "not_sent")
        self._ledger.kept_back(sample)
        self._seen(sample)
        return Answer(error="not_sent")

    def _settle(self, sample: Sample) -> None:
        self._ledger.settled(sample)
        self._seen(sample)
