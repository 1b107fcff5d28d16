"""Who asks what next: the people of a load test, drawn by the plan's shares.

A request's way: lots are drawn, always as many, so that the single questions do not depend on how fast answers come →
its kind → somebody of that kind who is ready for the next turn, else a new person → the bytes of the request. An
answer's way: the conversation takes it in, its person thinks, and is ready again.
"""

import random
from collections.abc import Mapping
from typing import NamedTuple

from loadtests.arrivals.arrival import Arrival
from loadtests.plan import Kind, Plan
from loadtests.workload.answer import Answer
from loadtests.workload.asked_questions import Prepared
from loadtests.workload.beginnings import Beginnings
from loadtests.workload.body import Body, signed
from loadtests.workload.callers import Caller, callers_of
from loadtests.workload.cells import Cell
from loadtests.workload.consistent import check_consistent, single_shares
from loadtests.workload.errands import Agent
from loadtests.workload.made_up import MadeUp
from loadtests.workload.open_talks import OpenTalks, Talk
from loadtests.workload.repertoire import Repertoire
from loadtests.workload.shares import Draw
from loadtests.workload.turn import Turn


class _Lots(NamedTuple):
    """All that chance decides of one request."""

    person: int
    kind: float
    caller: Caller
    cell: Cell
    pick: float


class Crowd:
    """The people of one worker. It has no clock: the same answers in the same order make the same requests."""

    def __init__(self, plan: Plan, keys: Mapping[str, str], worker: int = 0, workers: int = 1) -> None:
        """`keys`: by the names of the plan's `api_key_env`. Raises UserError for a plan that cannot be asked."""
        check_consistent(plan)
        work = plan.workload
        self._model = plan.target.model
        self._think_s = work.think_s
        self._worker, self._workers = worker, workers
        self._callers = callers_of(plan, keys)
        self._kinds = Draw(work.kinds.items(), "workload.kinds")
        # Prompts made to length are over with one answer.
        self._single_kinds = Draw((single_shares(plan) or work.kinds).items(), "workload.kinds")
        self._body = Body(plan)
        self._repertoire = Repertoire(plan, self._body)
        self._beginnings = Beginnings(work.kinds, self._repertoire.expected_turns)
        self._in_order = iter(self._repertoire.questions[worker::workers]) if work.in_order else None
        self._left = len(self._repertoire.questions[worker::workers])
        self._has_lengths = work.lengths is not None
        self._made_up = MadeUp(plan, self._body)
        self._talks = OpenTalks()
        self._count = 0
        # Two, since answers come in any order: how long people think must not change what is drawn next.
        self._chance = random.Random(f"crowd/{plan.seed}/{worker}")  # noqa: S311 - lots, no secrets
        self._thoughts = random.Random(f"thoughts/{plan.seed}/{worker}")  # noqa: S311 - the same

    @property
    def is_exhausted(self) -> bool:
        """Whether `in_order` has asked all its questions; without it there is always somebody more."""
        return self._in_order is not None and not self._left

    def due(self, arrival: Arrival) -> Turn:
        """The request of this arrival. Raises IndexError when there is none left."""
        lots = self._drawn()
        if self._has_lengths or arrival.prompt_tokens is not None:
            return self._made_up_turn(lots, arrival)
        kind = self._kinds.at(lots.kind)
        if talk := self._talks.ready(kind, arrival.at_s):
            return self._talk_turn(talk)
        return self._first(kind, lots)

    def begin(self) -> Turn:
        """A new person's first turn. Raises IndexError when there is none left."""
        lots = self._drawn()
        if self._has_lengths:
            return self._made_up_turn(lots, None)
        return self._first(self._beginnings.at(lots.kind), lots)

    def answered(self, turn: Turn, answer: Answer, now_s: float) -> None:
        """Open loop: remember the answer; after thinking the person is ready for the next turn. Same clock as due."""
        if talk := self._gone_on(turn, answer):
            self._talks.think(talk, now_s + self._thinking_s(talk))

    def follow(self, turn: Turn, answer: Answer) -> tuple[Turn, float] | None:
        """Closed loop: the same person's next turn, and the seconds to think before; None: this person is done."""
        if talk := self._gone_on(turn, answer):
            return self._talk_turn(talk), self._thinking_s(talk)
        return None

    def _drawn(self) -> _Lots:
        person = self._count * self._workers + self._worker
        self._count += 1
        chance = self._chance.random
        kind, caller, cell = chance(), self._callers.at(chance()), self._repertoire.cells.at(chance())
        return _Lots(person, kind, caller, cell, chance())

    def _first(self, kind: Kind, lots: _Lots) -> Turn:
        if self._in_order is not None:
            return self._question_turn(kind, lots, self._next_in_order())
        if kind in ("chat", "stream"):
            return self._question_turn(kind, lots, self._repertoire.question(lots.cell, lots.pick))
        talk = Talk(kind, lots.person, lots.caller, self._repertoire.talking(kind, lots.cell, lots.pick))
        self._talks.begin(talk)
        return self._talk_turn(talk)

    def _next_in_order(self) -> Prepared:
        if self._in_order is None or not self._left:
            raise IndexError("every question has been asked")
        self._left -= 1
        return next(self._in_order)

    def _gone_on(self, turn: Turn, answer: Answer) -> Talk | None:
        """The conversation that this was a turn of, if there is a next one."""
        talk = self._talks.asked(turn.person, turn.turn)
        if talk is None:
            return None
        if not answer.error and talk.talking.hear(answer):
            return talk
        self._talks.end(talk)
        self._beginnings.ended(talk.kind, turn.turn + 1)
        return None

    def _thinking_s(self, talk: Talk) -> float:
        # Tools answer at once; it is people who think.
        return 0.0 if isinstance(talk.talking, Agent) else self._thoughts.uniform(*self._think_s)

    def _question_turn(self, kind: Kind, lots: _Lots, prepared: Prepared) -> Turn:
        is_streamed = kind == "stream"
        body = signed(prepared.streamed if is_streamed else prepared.whole, lots.person)
        question, caller = prepared.question, lots.caller
        return Turn(
            kind, 0, lots.person, question.id, question.language, question.level_of_difficulty, caller.tenant,
            caller.level, self._model, body, caller.headers, is_streamed, prepared.is_right,
        )  # fmt: skip

    def _talk_turn(self, talk: Talk) -> Turn:
        talking, caller, script = talk.talking, talk.caller, talk.talking.script
        body = signed(self._body.unsigned(talking.messages, is_streamed=True, more=talking.more), talk.person)
        return Turn(
            talk.kind, talking.turn, talk.person, script.id, script.language, script.difficulty, caller.tenant,
            caller.level, self._model, body, caller.headers, True, talking.marks,
        )  # fmt: skip

    def _made_up_turn(self, lots: _Lots, arrival: Arrival | None) -> Turn:
        kind, caller = self._single_kinds.at(lots.kind), lots.caller
        is_streamed = kind == "stream"
        body = self._made_up.body(lots.person, arrival, is_streamed=is_streamed)
        # Its words are English; how hard it is, nobody has labelled.
        return Turn(
            kind, 0, lots.person, "", "en", "", caller.tenant,
            caller.level, self._model, body, caller.headers, is_streamed, None,
        )  # fmt: skip
