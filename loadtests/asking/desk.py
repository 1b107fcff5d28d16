"""Where the people of plain locust ask: one crowd for each kind, one asker for all."""

import random
import time
from collections.abc import Callable, Mapping

from loadtests.asking.exchange import Asker
from loadtests.asking.people import AFTER_ERROR_S
from loadtests.plan import Kind, Plan
from loadtests.records.sample import Sample
from loadtests.workload.crowd import Crowd
from loadtests.workload.turn import Turn


class Desk:
    """Of one worker process."""

    def __init__(
        self, plan: Plan, url: str, keys: Mapping[str, str], worker: int, seen: Callable[[Sample], None]
    ) -> None:
        """`seen` gets each sample. Raises UserError for an address that cannot be asked."""
        self.think_s = plan.workload.think_s
        """Between two turns, and before the next conversation."""
        self.seen = seen
        self.asker = Asker(url, plan.limits.timeout_s, worker)
        self.zero_s = time.perf_counter()
        self._plan, self._keys, self._worker = plan, keys, worker
        self._crowds: dict[Kind, Crowd] = {}

    def crowd(self, kind: Kind) -> Crowd:
        """Those who ask in this way. Raises UserError if the plan cannot be asked so."""
        if kind not in self._crowds:
            workload = self._plan.workload.model_copy(update={"kinds": {kind: 1.0}})
            plan = self._plan.model_copy(update={"workload": workload})
            self._crowds[kind] = Crowd(plan, self._keys, self._worker, self._worker + 1)
        return self._crowds[kind]

    def close(self) -> None:
        """Close all connections."""
        self.asker.close()


class Visit:
    """One person at the desk: a conversation, and when it is over another one."""

    def __init__(self, desk: Desk, kind: Kind) -> None:
        self._desk = desk
        self._crowd = desk.crowd(kind)
        self._turn: Turn | None = None

    def ask(self) -> float:
        """Ask once and wait for the answer; returns the seconds to think before the next time."""
        turn = self._turn if self._turn is not None else self._crowd.begin()
        sample, answer = self._desk.asker.ask(turn, 0, None, self._desk.zero_s)
        self._desk.seen(sample)
        following = self._crowd.follow(turn, answer)
        if following is not None:
            self._turn, think_s = following
        else:
            self._turn, think_s = None, random.uniform(*self._desk.think_s)  # noqa: S311  No secret.
        return max(think_s, AFTER_ERROR_S) if answer.error else think_s
