"""Learning while serving: what one model has answered is asked of another, the answers are compared, a row is kept.

    HTTP loop   Overheard --Heard--> offer
    own loop    a short queue -> is it fit? -> is the other model idle? ask it -> compare -> mask -> a row on the disk

Nothing here is on a caller's way: it happens on another loop, waits for nobody, and is the first to be dropped when a
model is busy or the queue is full.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

import httpx
import orjson

from cluster.errors import FenzhenError
from cluster.masking import masked
from cluster.settings import Judging, Model
from router.estimate import Judge
from router.learning.answers import Answer, read_answer
from router.learning.comparison import agreement
from router.learning.judge_model import small_is_as_good
from router.learning.rows_store import RowsStore
from router.learning_tally import LearningTally, Outcome
from router.overheard import Heard
from router.policy import Candidate, Need, Roster, candidates_of, choose
from router.query import Query, read_chat
from router.spare_room import Busy, SpareRoom

_CONNECT_TIMEOUT_S: Final = 2.0
_OK: Final = 200

_log = logging.getLogger(__name__)


class _Given(Exception):
    """It comes to nothing; `outcome` says why."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(outcome)
        self.outcome: Outcome = outcome


class SecondOpinions:
    """Asks, compares and stores, on the loop on which it is run. Build it on that loop."""

    def __init__(
        self, cards: Sequence[Model], judging: Judging, store: RowsStore, room: SpareRoom, tally: LearningTally
    ) -> None:
        """`cards` are the served models, cheapest first; at least two of them chat."""
        self._judging = judging
        self._store = store
        self._room = room
        self._tally = tally
        self._roster = Roster(candidates_of(cards))
        # The two that a judge is trained on: what stands between them is judged by its place.
        self._small, self._large = self._roster.chat[0], self._roster.chat[-1]
        self._queue: asyncio.Queue[Heard] = asyncio.Queue(judging.learn_max_queue)
        self._client = httpx.AsyncClient(
            timeout=httpx.Timeout(judging.learn_timeout_s, connect=_CONNECT_TIMEOUT_S), trust_env=False
        )
        self._candidate: Judge | None = None

    def try_out(self, candidate: Judge | None) -> None:
        """Have a judge say its opinion from now on, or nobody."""
        self._candidate = candidate

    def offer(self, heard: Heard) -> None:
        """Take one chat into the queue, or drop it."""
        try:
            self._queue.put_nowait(heard)
        except asyncio.QueueFull:
            self._tally.outcomes["dropped_queue"] += 1

    async def run(self) -> None:
        """Work until cancelled."""
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(self._judging.learn_max_in_flight):
                    group.create_task(self._work())
        finally:
            await self._client.aclose()
            self._store.close()

    async def _work(self) -> None:
        while True:
            heard = await self._queue.get()
            try:
                await self._learn(heard)
                outcome: Outcome = "kept"
            except _Given as given:
                outcome = given.outcome
            except Exception:
                _log.exception("a chat could not be learnt from, by a fault of ours")
                outcome = "failed"
            self._tally.outcomes[outcome] += 1

    async def _learn(self, heard: Heard) -> None:
        """From a chat to a row. Raises _Given."""
        body = _fit(heard.raw)
        mine = read_answer(heard.answer)
        if body is None or mine is None or not all(_can_read(one, heard.need) for one in (self._small, self._large)):
            raise _Given("unfit")
        query, _ = read_chat(body["messages"], wants_json=bool(body.get("response_format")))
        row: dict[str, object] = {"prompt": "", "difficulty": round(heard.need.difficulty, 4)}
        if self._candidate is not None:
            row["candidate_difficulty"] = self._shadowed(self._candidate, query, heard.need)
        answers = {heard.model: _whole(mine)}
        for model in (self._small.name, self._large.name):
            if model not in answers:
                answers[model] = _whole(await self._asked(model, body))
        row |= await self._compared(query.text, answers[self._small.name], answers[self._large.name])
        row["prompt"] = masked(query.text)
        await self._stored(row)

    def _shadowed(self, candidate: Judge, query: Query, need: Need) -> float:
        """The candidate's difficulty; whether it would choose otherwise is counted."""
        estimate = candidate.estimate(query)
        other = need._replace(difficulty=estimate.difficulty, chances=estimate.chances, scale=estimate.scale)
        models = [choose(one, self._roster.chat, lambda _: True).model for one in (need, other)]
        self._tally.candidate_choices["same" if models[0] == models[1] else "other"] += 1
        return round(estimate.difficulty, 4)

    async def _asked(self, model: str, body: dict[str, Any]) -> Answer:
        """The answer of another model to the same chat. Raises _Given."""
        plain = {key: value for key, value in body.items() if key not in ("stream", "stream_options")}
        answer = await self._answer(model, plain)
        if answer is None:
            raise _Given("failed")
        return answer

    async def _answer(self, model: str, body: dict[str, Any]) -> Answer | None:
        content = orjson.dumps(body | {"model": model})
        try:
            async with self._engine_of(model) as base_url, asyncio.timeout(self._judging.learn_timeout_s):
                return await self._sent(f"{base_url}/v1/chat/completions", content)
        except (TimeoutError, httpx.TimeoutException):
            raise _Given("timed_out") from None
        except httpx.HTTPError as error:
            _log.info("a second answer of %s failed: %s", model, type(error).__name__)
            raise _Given("failed") from None

    async def _sent(self, url: str, content: bytes) -> Answer | None:
        headers = {"content-type": "application/json", "accept-encoding": "identity"}
        answer = bytearray()
        async with self._client.stream("POST", url, content=content, headers=headers) as response:
            if response.status_code != _OK:
                return None
            async for part in response.aiter_bytes():
                answer += part
                if len(answer) > self._judging.learn_max_answer_bytes:
                    return None
        return read_answer(bytes(answer))

    @asynccontextmanager
    async def _engine_of(self, model: str) -> AsyncIterator[str]:
        try:
            slot = await self._room.take(model)
        except Busy:
            raise _Given("dropped_busy") from None
        try:
            yield slot.endpoint.base_url
        finally:
            self._room.give_back(model, slot)

    async def _compared(self, question: str, small: str, large: str) -> dict[str, object]:
        """How well both did, and who says so. Raises _Given."""
        judge_model = self._judging.judge_model
        if judge_model is None:
            return {"small": round(agreement(small, large), 4), "large": 1.0, "how": "agreement"}
        points = await small_is_as_good(question, small, large, lambda body: self._answer(judge_model, body))
        if points is None:
            raise _Given("failed")
        return {"small": points, "large": 1.0, "how": "judge"}

    async def _stored(self, row: dict[str, object]) -> None:
        try:
            await asyncio.to_thread(self._store.append, row)
        except (OSError, FenzhenError) as error:
            _log.warning("a row could not be stored: %s", error)
            raise _Given("failed") from error


def _whole(answer: Answer) -> str:
    """Half an answer cannot be compared. Raises _Given."""
    if not answer.is_whole:
        raise _Given("cut_off")
    return answer.text


def _can_read(one: Candidate, need: Need) -> bool:
    return need.languages <= one.languages and need.tokens <= one.context_tokens


def _fit(raw: bytes) -> dict[str, Any] | None:
    """The body, if it is a plain chat: texts only, no tools, one answer."""
    body = orjson.loads(raw)
    has_tools = any(body.get(key) for key in ("tools", "functions", "tool_choice", "function_call"))
    if has_tools or body.get("n") not in (None, 1):
        return None
    is_text = all(
        message.get("role") not in ("tool", "function") and not message.get("tool_calls") and _is_text(message)
        for message in body["messages"]
    )
    return body if is_text and any(message.get("role") == "user" for message in body["messages"]) else None


def _is_text(message: dict[str, Any]) -> bool:
    content = message.get("content")
    return isinstance(content, str) or (
        isinstance(content, list) and all(isinstance(part, dict) and part.get("type") == "text" for part in content)
    )
