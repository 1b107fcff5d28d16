"""The labelled questions, ready to be sent."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from loadtests.plan import Plan
from loadtests.questions import QUESTIONS_FILE, Question, is_right, load
from loadtests.workload.body import Body
from loadtests.workload.instruction import messages_of


class Prepared(NamedTuple):
    """One question, serialised both ways."""

    question: Question
    whole: bytes
    streamed: bytes
    is_right: Callable[[str], bool]

    @property
    def language(self) -> str:
        """Of the question."""
        return self.question.language

    @property
    def difficulty(self) -> str:
        """As it is labelled."""
        return self.question.level_of_difficulty


def prepared(plan: Plan, body: Body) -> tuple[Prepared, ...]:
    """All questions of the plan, in the file's order. Raises UserError."""
    return tuple(
        Prepared(
            question,
            body.unsigned(messages_of(question), is_streamed=False),
            body.unsigned(messages_of(question), is_streamed=True),
            partial(is_right, question),
        )
        for question in load(plan.workload.questions or QUESTIONS_FILE)
    )
