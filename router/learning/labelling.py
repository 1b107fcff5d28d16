"""Labels questions: puts each to both models of a running stack, and judges how well both did.

A row is on the disk before the next question of the same worker is asked, so that a kill at any moment costs the
questions in flight and nothing else; a later run goes on where this one ended.
"""

import asyncio
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, Literal, NamedTuple

import httpx

from cluster.errors import Unavailable, UserError
from cluster.masking import masked
from router.learning.answers import Answer, read_answer
from router.learning.comparison import agreement, is_right
from router.learning.judge_model import small_is_as_good
from router.learning.questions import Question
from router.learning.rows_file import RowsFile

By = Literal["reference", "agreement", "judge"]

FIRST_PAUSE_S: Final = 1.0
MAX_PAUSE_S: Final = 60.0
# With the pauses between them some two minutes: an engine that has died is back by then.
ATTEMPTS: Final = 8
# A question that takes so long twice will not be quicker the third time.
_MAX_TIMED_OUT: Final = 2
# Then it is not the questions.
_MAX_FAILED_IN_A_ROW: Final = 5
# Not now, but perhaps soon.
_PASSING: Final = frozenset((408, 429, 500, 502, 503, 504))


class Plan(NamedTuple):
    """Whom to ask, and how to judge."""

    small: str
    large: str
    by: By
    judge_model: str | None = None
    max_tokens: int = 1024
    at_once: int = 4


@dataclass
class Tally:
    """What has come of the questions."""

    labelled: int = 0
    known: int = 0
    """Labelled by an earlier run, or a second time in the file."""
    refused: int = 0
    """The stack will not answer this one, however often it is asked: it is too long, for example."""
    why_refused: str = ""
    """Of the last of these."""
    cut_off: int = 0
    """An answer had the longest length allowed. By agreement and by a judge there is no row then."""
    unjudged: int = 0
    """The judge model did not keep to the form."""
    failed: int = 0
    """No answer in spite of all attempts."""
    small: list[float] = field(default_factory=list)
    large: list[float] = field(default_factory=list)


class _Refused(Exception):
    """The stack does not answer this question."""


class Labeller:
    """One run. `say_done` hears how many questions are done."""

    def __init__(
        self,
        client: httpx.AsyncClient,
        plan: Plan,
        file: RowsFile,
        say_done: Callable[[int], None],
        sleep: Callable[[float], Any] = asyncio.sleep,
    ) -> None:
        """`client` has the stack's base URL and a time-out."""
        self._client = client
        self._plan = plan
        self._file = file
        self._say_done = say_done
        self._sleep = sleep
        self._writing = asyncio.Lock()
        self._failed_in_a_row = 0
        self._done = 0
        self.tally = Tally()

    async def label(self, questions: Sequence[Question], known: Collection[str]) -> None:
        """Label all that are not among the `known` prompts. Raises Unavailable, UserError."""
        new = self._new(questions, set(known))
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(self._plan.at_once):
                    group.create_task(self._work(new))
        except* (Unavailable, UserError) as errors:
            raise errors.exceptions[0] from None

    def _new(self, questions: Sequence[Question], known: set[str]) -> Iterator[tuple[Question, str]]:
        for question in questions:
            prompt = masked(question.prompt)
            if prompt in known:
                self.tally.known += 1
                self._count_done()
                continue
            known.add(prompt)
            yield question, prompt

    async def _work(self, new: Iterator[tuple[Question, str]]) -> None:
        for question, prompt in new:
            try:
                row = await self._row(question)
            except _Refused as refused:
                self.tally.refused += 1
                self.tally.why_refused = str(refused)
            except Unavailable:
                self.tally.failed += 1
                self._failed_in_a_row += 1
                if self._failed_in_a_row >= _MAX_FAILED_IN_A_ROW:
                    raise
            else:
                self._failed_in_a_row = 0
                if row is not None:
                    await self._keep(row | {"prompt": prompt})
            self._count_done()

    def _count_done(self) -> None:
        self._done += 1
        self._say_done(self._done)

    async def _keep(self, row: dict[str, Any]) -> None:
        stamped = {"prompt": row["prompt"], **row, "at": datetime.now(UTC).isoformat(timespec="seconds")}
        async with self._writing:
            try:
                await asyncio.to_thread(self._file.append, stamped)
            except OSError as error:
                raise UserError(f"{self._file.path} cannot be written: {error.strerror or error}.") from error
        self.tally.labelled += 1
        self.tally.small.append(row["small"])
        self.tally.large.append(row["large"])

    async def _row(self, question: Question) -> dict[str, Any] | None:
        plan = self._plan
        body = {
            "messages": [{"role": "user", "content": question.prompt}],
            "max_tokens": plan.max_tokens,
            "temperature": 0,
        }
        small = await self._asked(plan.small, body)
        large = await self._asked(plan.large, body)
        kind = {} if question.kind is None else {"kind": question.kind}
        is_cut_off = not (small.is_whole and large.is_whole)
        self.tally.cut_off += is_cut_off
        if plan.by == "reference":
            assert question.reference is not None
            points = [float(is_right(answer.text, question.reference)) for answer in (small, large)]
            return {"small": points[0], "large": points[1], "how": plan.by, **kind}
        if is_cut_off:
            return None
        if plan.by == "agreement":
            return {"small": round(agreement(small.text, large.text), 4), "large": 1.0, "how": plan.by, **kind}
        judge = plan.judge_model
        assert judge is not None
        value = await small_is_as_good(question.prompt, small.text, large.text, lambda asked: self._asked(judge, asked))
        if value is None:
            self.tally.unjudged += 1
            return None
        return {"small": value, "large": 1.0, "how": plan.by, **kind}

    async def _asked(self, model: str, body: dict[str, Any]) -> Answer:
        """One model's answer. Raises _Refused, Unavailable, UserError."""
        pause_s, why, timed_out = FIRST_PAUSE_S, "", 0
        for attempt in range(ATTEMPTS):
            if attempt:
                await self._sleep(pause_s)
                pause_s = min(2 * pause_s, MAX_PAUSE_S)
            try:
                response = await self._client.post("/v1/chat/completions", json=body | {"model": model})
            except httpx.ReadTimeout:
                why, timed_out = "it takes longer than the time-out.", timed_out + 1
                if timed_out == _MAX_TIMED_OUT:
                    break
                continue
            except httpx.TransportError as error:
                why = f"the connection broke ({type(error).__name__})."
                continue
            if response.status_code == httpx.codes.OK:
                answer = read_answer(response.content)
                # An empty answer is one, too, if a poor one.
                return answer if answer is not None else Answer("", is_whole=True)
            if response.status_code == httpx.codes.NOT_FOUND:
                raise UserError(_message(response))
            if response.status_code not in _PASSING:
                raise _Refused(_message(response))
            why = _message(response)
            pause_s = max(pause_s, _retry_after_s(response))
        raise Unavailable(f"{model} does not answer: {why} What has been labelled is kept; run it again to go on.")


def check_references(questions: Sequence[Question]) -> None:
    """Raise UserError unless each question has one."""
    missing = [question for question in questions if not (question.reference or "").strip()]
    if missing:
        raise UserError(
            f"{len(missing)} of {len(questions)} questions have no reference, the first is {missing[0].prompt[:60]!r}; "
            "add one to each, or judge by agreement or by a judge model."
        )


def _message(response: httpx.Response) -> str:
    try:
        return str(response.json()["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return f"it answered {response.status_code}."


def _retry_after_s(response: httpx.Response) -> float:
    try:
        return max(0.0, min(float(response.headers.get("retry-after", 0)), MAX_PAUSE_S))
    except ValueError:
        return 0.0
