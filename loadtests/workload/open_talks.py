"""Conversations and errands that are not over: asked and not yet answered, or thinking before the next turn."""

import heapq
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from loadtests.plan import Kind
from loadtests.workload.callers import Caller
from loadtests.workload.dialogues import Conversation
from loadtests.workload.errands import Agent

MOST_OPEN: Final = 50_000
"""Of one worker. Some answers never come; without an end their conversations would fill the memory."""


@dataclass(frozen=True, slots=True)
class Talk:
    """One person's, as far as it has come."""

    kind: Kind
    person: int
    caller: Caller
    talking: Conversation | Agent


class OpenTalks:
    """At most so many; the oldest are forgotten first."""

    def __init__(self, most: int = MOST_OPEN) -> None:
        self._most = most
        # In the order in which they began.
        self._talks: OrderedDict[int, Talk] = OrderedDict()
        self.thinking: dict[Kind, list[tuple[float, int]]] = {}
        """When each person is ready, and who, as heaps; the forgotten are in there for a while."""

    def __len__(self) -> int:
        return len(self._talks)

    def begin(self, talk: Talk) -> None:
        """Remember it: its first turn is being asked."""
        self._talks[talk.person] = talk
        if len(self._talks) > self._most:
            self._talks.popitem(last=False)

    def asked(self, person: int, turn: int) -> Talk | None:
        """That which waits for the answer to this turn; None for people with one question, and the forgotten."""
        talk = self._talks.get(person)
        return talk if talk and talk.talking.turn == turn else None

    def end(self, talk: Talk) -> None:
        """Nothing more will be said."""
        self._talks.pop(talk.person, None)

    def think(self, talk: Talk, until_s: float) -> None:
        """It has been answered; its next turn may be asked from `until_s` on."""
        waiting = self.thinking.setdefault(talk.kind, [])
        heapq.heappush(waiting, (until_s, talk.person))
        if len(waiting) > 2 * self._most:
            waiting[:] = sorted(one for one in waiting if one[1] in self._talks)

    def ready(self, kind: Kind, now_s: float) -> Talk | None:
        """The one of this kind that has been ready for longest; it counts as asked from now on."""
        waiting = self.thinking.get(kind)
        while waiting and waiting[0][0] <= now_s:
            _, person = heapq.heappop(waiting)
            if talk := self._talks.get(person):
                return talk
        return None
