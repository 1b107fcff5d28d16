"""Open loop: each arrival is sent at its moment, whatever is still unanswered."""

import time
from collections import deque
from collections.abc import Iterator
from typing import Final, Protocol

from loadtests.arrivals.arrival import Arrival
from loadtests.asking.alarm import Alarm
from loadtests.asking.greenlets import Greenlets
from loadtests.asking.ledger import Ledger
from loadtests.asking.sender import Sender
from loadtests.plan import Plan
from loadtests.workload.answer import Answer
from loadtests.workload.turn import Turn

_AHEAD: Final = 64
# Nothing is made ready so close to a moment: a prompt of many thousand tokens takes about that long.
_HANDS_OFF_S: Final = 0.002
# After so many that are due at once, those in flight get their turn, or nobody would read their answers.
_IN_A_ROW: Final = 32


class OpenCrowd(Protocol):
    """What `loadtests.workload.crowd.Crowd` can do for an open loop."""

    @property
    def is_exhausted(self) -> bool:
        """Whether every question has been given out."""
        ...

    def due(self, arrival: Arrival) -> Turn:
        """The request of this arrival. Raises IndexError if there is none left."""
        ...

    def answered(self, turn: Turn, answer: Answer, now_s: float) -> None:
        """Remember an answer, so that its conversation may go on."""
        ...


class Dispatcher:
    """Sends one worker's arrivals, each in a greenlet of its own among `requests`."""

    def __init__(
        self,
        plan: Plan,
        arrivals: Iterator[Arrival],
        crowd: OpenCrowd,
        sender: Sender,
        ledger: Ledger,
        requests: Greenlets,
        most_in_flight: int,
    ) -> None:
        self._arrivals = arrivals
        self._crowd = crowd
        self._sender = sender
        self._ledger = ledger
        self._requests = requests
        self._most_in_flight = most_in_flight
        # Where no answer decides what is asked next, requests can be made ready while there is time.
        self._may_be_ahead = not any(plan.workload.kinds.get(kind) for kind in ("conversation", "agent"))
        self._ahead: deque[tuple[Arrival, Turn]] = deque()
        self._next = next(arrivals, None)

    def run(self) -> None:
        """Send all. Ends with the schedule, or as soon as every question has been asked."""
        alarm = Alarm()
        in_a_row = 0
        try:
            while (arrival := self._ahead[0][0] if self._ahead else self._next) is not None:
                if not self._ahead and self._crowd.is_exhausted:
                    return
                at_s = self._sender.zero_s + arrival.at_s
                self._make_ready(at_s)
                if at_s > time.perf_counter() or in_a_row >= _IN_A_ROW:
                    alarm.sleep_until(at_s)
                    in_a_row = 0
                in_a_row += 1
                self._send(arrival)
        finally:
            alarm.close()

    def keep_back_rest(self) -> None:
        """Book all that is left as not sent: the generator could not keep up, and the schedule is over."""
        while (arrival := self._ahead[0][0] if self._ahead else self._next) is not None:
            if not self._ahead and self._crowd.is_exhausted:
                return
            turn = self._taken(arrival)
            self._ledger.due()
            self._sender.keep_back(turn, arrival.stage, arrival.at_s)

    def _make_ready(self, until_s: float) -> None:
        """Make requests ready while the next moment is some way off."""
        while (
            self._may_be_ahead
            and self._next is not None
            and len(self._ahead) < _AHEAD
            and not self._crowd.is_exhausted
            and time.perf_counter() < until_s - _HANDS_OFF_S
        ):
            self._ahead.append((self._next, self._crowd.due(self._next)))
            self._next = next(self._arrivals, None)

    def _send(self, arrival: Arrival) -> None:
        turn = self._taken(arrival)
        self._ledger.due()
        if self._ledger.in_flight < self._most_in_flight:
            following = self._ahead[0][0] if self._ahead else self._next
            if following is None or self._sender.zero_s + following.at_s > time.perf_counter():
                self._requests.begin(self._ask, turn, arrival)
            else:
                self._requests.spawn(self._ask, turn, arrival)
        else:
            answer = self._sender.keep_back(turn, arrival.stage, arrival.at_s)
            self._crowd.answered(turn, answer, self._sender.now_s())

    def _taken(self, arrival: Arrival) -> Turn:
        if self._ahead:
            return self._ahead.popleft()[1]
        turn = self._crowd.due(arrival)
        self._next = next(self._arrivals, None)
        return turn

    def _ask(self, turn: Turn, arrival: Arrival) -> None:
        answer = self._sender.send(turn, arrival.stage, arrival.at_s)
        self._crowd.answered(turn, answer, self._sender.now_s())
