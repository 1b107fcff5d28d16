"""One stand-in engine: its batch, driven by the clock. Knows no HTTP: whoever asks is told of each token."""

import asyncio
import time
from collections.abc import Iterable
from typing import Protocol

from cluster.errors import Unavailable
from loadtests.rehearsal.batch import Batch, Request, StepPlan
from loadtests.rehearsal.metrics import Counts
from loadtests.rehearsal.spoken import Habits
from loadtests.rehearsal.timing import Timing


class Listener(Protocol):
    """Whoever waits for a request's tokens."""

    def token(self, request: Request) -> None:
        """One more has come; all are there when `request.is_over`."""


class Engine:
    """Steps follow each other at the times that the model says, not at those when this process gets to them.

    So a late step does not make later ones late, and what is lost to this machine shows in `counts.late_ratio`.
    """

    def __init__(
        self, model: str, timing: Timing, habits: Habits, loop: asyncio.AbstractEventLoop, max_waiting: int | None
    ) -> None:
        self.model = model
        self.timing = timing
        self.habits = habits
        self.batch = Batch(timing, habits.seed)
        self.counts = Counts()
        self._loop = loop
        self._max_in_flight = None if max_waiting is None else timing.limits.max_num_seqs + max_waiting
        self._listeners: dict[Request, Listener] = {}
        self._first_s: dict[Request, float] = {}
        self._last_s: dict[Request, float] = {}
        self._plan: StepPlan | None = None
        self._timer: asyncio.TimerHandle | None = None

    def ask(self, request: Request, listener: Listener) -> None:
        """Take a request. Raises Unavailable if too many wait, ValueError if it is too long."""
        if self._max_in_flight is not None and self.batch.in_flight >= self._max_in_flight:
            self.counts.rejected += 1
            raise Unavailable("the engine's queue is full; ask again later")
        now_s = time.perf_counter()
        self.batch.add(request, now_s)
        self._listeners[request] = listener
        if self._plan is None and self._timer is None:
            self._wake_at(request.ready_s)

    def cancel(self, request: Request) -> None:
        """Whoever asked has gone."""
        if self._listeners.pop(request, None) is None:
            return
        self.batch.cancel(request)
        self._first_s.pop(request, None)
        self._last_s.pop(request, None)
        self.counts.finished["abort"] += 1

    def close(self) -> None:
        """Stop at once; nobody is told."""
        if self._timer is not None:
            self._timer.cancel()

    def _wake_at(self, at_s: float) -> None:
        self._timer = self._loop.call_later(max(0.0, at_s - time.perf_counter()), self._woken)

    def _woken(self) -> None:
        """End the steps that are due, and begin the next."""
        self._timer = None
        # The loop's timers are good to a millisecond: what is due within the next half is due.
        now_s = time.perf_counter() + 0.0005
        while True:
            if self._plan is not None:
                end_s = self._plan.begins_s + self._plan.duration_s
                if end_s > now_s:
                    self._wake_at(end_s)
                    return
                self._end(self._plan, end_s, now_s)
                begins_s = end_s
            else:
                begins_s = now_s
            self._plan = self.batch.step(begins_s)
            if self._plan is None:
                ready_s = self.batch.next_ready_s
                if ready_s is None:
                    return
                if ready_s > now_s:
                    self._wake_at(ready_s)
                    return
                # It was not there when the last step ended, but is by now: the engine was idle in between.
                self._plan = self.batch.step(max(begins_s, ready_s))

    def _end(self, plan: StepPlan, end_s: float, now_s: float) -> None:
        self.counts.stepped(plan.tokens, plan.duration_s, now_s - end_s)
        gaps: dict[float, int] = {}
        spoken = self.batch.end(plan)
        self.counts.generation_tokens += len(spoken)
        for request in spoken:
            last_s = self._last_s.get(request)
            if last_s is None:
                self._first_s[request] = end_s
                self.counts.began(request, end_s)
            else:
                gap_s = end_s - last_s
                gaps[gap_s] = gaps.get(gap_s, 0) + 1
            self._last_s[request] = end_s
        for gap_s, count in gaps.items():
            self.counts.gap.observe(gap_s, count)
        self._tell(spoken)

    def _tell(self, spoken: Iterable[Request]) -> None:
        for request in spoken:
            # A listener may have gone while others were told.
            listener = self._listeners.get(request)
            if listener is None:
                continue
            if request.is_over:
                del self._listeners[request]
            listener.token(request)

    def ended(self, request: Request, finish: str) -> None:
        """Count a request that is over; `finish` as callers were told."""
        self.counts.ended(request, self._first_s.pop(request), self._last_s.pop(request), finish)
