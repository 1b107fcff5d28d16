"""Closed loop: so many people, each asking again once answered and thought."""

from collections.abc import Sequence
from typing import Final, NamedTuple, Protocol

from gevent.event import Event

from loadtests.asking.greenlets import Greenlets
from loadtests.asking.ledger import Ledger
from loadtests.asking.sender import Sender
from loadtests.plan import People, Stage
from loadtests.workload.answer import Answer
from loadtests.workload.turn import Turn

AFTER_ERROR_S: Final = 1.0
"""Nobody asks sooner after an error: a server that refuses at once would be asked thousands of times a second."""


class ClosedCrowd(Protocol):
    """What `loadtests.workload.crowd.Crowd` can do for a closed loop."""

    @property
    def is_exhausted(self) -> bool:
        """Whether every question has been given out."""
        ...

    def begin(self) -> Turn:
        """A new person's first turn. Raises IndexError if there is none left."""
        ...

    def follow(self, turn: Turn, answer: Answer) -> tuple[Turn, float] | None:
        """The same person's next turn and the seconds to think before it; None: this person is done."""
        ...


class Sitting(NamedTuple):
    """A closed stage in its time, seconds since the run began."""

    stage: int
    begin_s: float
    end_s: float
    people: People


def sittings_of(stages: Sequence[Stage]) -> list[list[Sitting]]:
    """The closed stages; those that follow each other together, because people stay from one to the next."""
    groups: list[list[Sitting]] = []
    begin_s, was_closed = 0.0, False
    for index, stage in enumerate(stages):
        end_s = begin_s + stage.seconds
        if stage.people is not None:
            if not was_closed:
                groups.append([])
            groups[-1].append(Sitting(index, begin_s, end_s, stage.people))
        begin_s, was_closed = end_s, stage.people is not None
    return groups


def comings_of(sittings: Sequence[Sitting]) -> list[tuple[float, int]]:
    """When who comes: a stage's newcomers are those beyond the people who are there from the stage before."""
    comings: list[tuple[float, int]] = []
    there = 0
    for sitting in sittings:
        count = sitting.people.count
        new = max(count - there, 0)
        at_s = [sitting.begin_s + sitting.people.ramp_s * number / new for number in range(new)]
        come = [(one, there + number) for number, one in enumerate(at_s) if one < sitting.end_s]
        comings += come
        there = min(there, count) + len(come)
    return comings


class Company:
    """One worker's part of the people of closed stages that follow each other."""

    def __init__(self, sittings: Sequence[Sitting], worker: int, workers: int, over: Event) -> None:
        """`over` is set when the whole test ends before its time: nobody asks anything after that."""
        self._sittings = tuple(sittings)
        self._over = over
        self._comings = [coming for coming in comings_of(sittings) if coming[1] % workers == worker]

    def come(self, crowd: ClosedCrowd, sender: Sender, ledger: Ledger, requests: Greenlets) -> None:
        """All come at their moments and stay until the last stage ends; who waits for an answer then still gets it."""
        for at_s, number in self._comings:
            if self._is_over_after(at_s - sender.now_s(), sender):
                return
            requests.spawn(self._stay, number, crowd, sender, ledger)

    def _stay(self, number: int, crowd: ClosedCrowd, sender: Sender, ledger: Ledger) -> None:
        turn: Turn | None = None
        while (stage := self._stage_of(number, sender.now_s())) is not None and not self._over.is_set():
            if turn is None:
                if crowd.is_exhausted:
                    return
                turn = crowd.begin()
            ledger.due()
            answer = sender.send(turn, stage, None)
            following = crowd.follow(turn, answer)
            turn, think_s = following if following is not None else (None, 0.0)
            if self._is_over_after(max(think_s, AFTER_ERROR_S) if answer.error else think_s, sender):
                return

    def _stage_of(self, number: int, now_s: float) -> int | None:
        """The stage that a person asks in now; None: there are fewer people now, or all is over."""
        for sitting in self._sittings:
            if now_s < sitting.end_s:
                return sitting.stage if number < sitting.people.count else None
        return None

    def _is_over_after(self, wait_s: float, sender: Sender) -> bool:
        """Wait, and tell whether nothing more is to be asked: the last stage or the whole test has ended meanwhile."""
        end_s = self._sittings[-1].end_s
        end_in_s = end_s - sender.now_s()
        if wait_s > 0:
            self._over.wait(min(wait_s, max(end_in_s, 0.0)))
        return self._over.is_set() or wait_s >= end_in_s or sender.now_s() >= end_s
