"""Copies of requests to stable, asked of the canary: nobody sees those answers.

    stable has answered -> a short queue -> is the canary's pool idle? ask it -> both outcomes, or none

Only where the copy was answered does stable's answer count beside it: a pair is measured in the same minute under the
same load, or not at all. Nothing here is on a caller's way, and it is the first to be dropped when a pool is busy.
"""

import asyncio
import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Final, Literal, get_args

import httpx
import orjson

from cluster.clock import MonotonicClock
from cluster.errors import BadRequest
from cluster.outcomes import Fault, Outcome
from cluster.release_settings import Rollouts
from cluster.settings import Judging
from cluster.traffic import Side
from router.engine_request import body_for, prompted
from router.openai_request import ApiRequest, Route
from router.outcome import Finding, Findings
from router.outcome_record import Asked, Record
from router.pools import Pools
from router.quality import Qualities
from router.spare_room import Busy, SpareRoom
from router.watched import MAX_ANSWER_BYTES

if TYPE_CHECKING:
    from router.splits import Drawn

Fate = Literal["compared", "dropped_busy", "dropped_queue", "unfit", "failed"]
FATES: Final[tuple[Fate, ...]] = get_args(Fate)

_PATHS: Final[dict[Route, str]] = {
    "chat": "/v1/chat/completions",
    "completions": "/v1/completions",
    "embeddings": "/v1/embeddings",
}
_HEADERS: Final = {"content-type": "application/json", "accept-encoding": "identity"}
_CONNECT_TIMEOUT_S: Final = 2.0
_BAD_STATUS: Final = 400
_TIMED_OUT: Final = 504
# Told once a second; a teller that hangs must not make this grow.
_MAX_TOLD: Final = 2000

_log = logging.getLogger(__name__)


class Shadows:
    """Asks the copies, on the loop on which it is run. Build it on that loop."""

    def __init__(
        self,
        pools: Pools,
        judging: Judging,
        rollouts: Rollouts,
        findings: Findings,
        serving: asyncio.AbstractEventLoop,
    ) -> None:
        """`serving`: the loop to which the pools belong."""
        self._rollouts = rollouts
        self._findings = findings
        self._room = SpareRoom(pools, rollouts.shadow_below_ratio, serving)
        self._queue: asyncio.Queue[Record] = asyncio.Queue(rollouts.shadow_max_queue)
        self._client = httpx.AsyncClient(
            timeout=httpx.Timeout(rollouts.shadow_timeout_s, connect=_CONNECT_TIMEOUT_S), trust_env=False
        )
        self._qualities = (
            None
            if judging.judge_model is None
            else Qualities(judging.judge_model, rollouts.quality_ratio, self._room, self._client)
        )
        self._told: list[Outcome] = []
        self.fates: dict[str, int] = dict.fromkeys(FATES, 0)
        """What became of the copies so far."""

    def offer(self, record: Record) -> bool:
        """Take a request that stable has answered; False: it is not copied."""
        asked, canary = record.asked, None if record.drawn is None else record.drawn.split.canary
        if canary is None or not canary.pool or not asked.raw or not asked.may_copy:
            self.fates["unfit"] += 1
            return False
        try:
            self._queue.put_nowait(record)
        except asyncio.QueueFull:
            self.fates["dropped_queue"] += 1
            return False
        return True

    def take(self) -> list[Outcome]:
        """Take away the outcomes of pairs: stable's, and the canary's."""
        told, self._told = self._told, []
        return told

    async def run(self) -> None:
        """Work until cancelled."""
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(self._rollouts.shadow_max_in_flight):
                    group.create_task(self._work())
        finally:
            await self._client.aclose()

    async def _work(self) -> None:
        while True:
            record = await self._queue.get()
            assert record.drawn is not None
            try:
                fate = await self._copy(record, record.drawn)
            except Exception as error:  # Whatever it is, the next copy must not suffer.
                # Its words may be a caller's: the kind is all that is told.
                _log.error("a copy of a request came to nothing, by a fault of ours: %s", type(error).__name__)
                fate = "failed"
            self.fates[fate] += 1

    async def _copy(self, record: Record, drawn: "Drawn") -> Fate:
        canary = drawn.split.canary
        assert canary is not None
        try:
            body = _body(record.asked, canary)
        except (BadRequest, orjson.JSONDecodeError):
            return "unfit"
        try:
            slot = await self._room.take(canary.served_name)
        except (Busy, KeyError):
            return "dropped_busy"
        try:
            url = f"{slot.endpoint.base_url}{_PATHS[record.asked.route]}"
            answered = await self._asked(url, body, record.asked)
        finally:
            # An adapter may be gone by now; its endpoints are those of the model, and count there.
            self._room.give_back(canary.pool, slot)
        as_canary = answered._replace(
            drawn=drawn._replace(side=canary, is_canary=True, is_recorded=True, is_shadowed=False), model=canary.pool
        )
        of_stable = self._findings.of(record)
        of_canary = self._findings.of(as_canary, is_shadow=True)
        quality = await self._quality(of_canary, of_stable)
        if len(self._told) < _MAX_TOLD:
            self._told += (of_stable.outcome, replace(of_canary.outcome, quality=quality))
        return "compared"

    async def _asked(self, url: str, body: bytes, asked: Asked) -> Record:
        """Ask in the way in which the caller asked: streamed or not, so that times can be compared."""
        # The clock that the watching has: see there why it is not the loop's.
        now_s = MonotonicClock().now_s
        record = Record(asked, None, "", False, False, now_s())
        parts: list[bytes] = []
        first_s = last_s = 0.0
        status = size = events = 0
        fault: Fault = ""
        try:
            async with (
                asyncio.timeout(self._rollouts.shadow_timeout_s),
                self._client.stream("POST", url, content=body, headers=_HEADERS) as response,
            ):
                status = response.status_code
                async for part in response.aiter_raw():
                    last_s = now_s()
                    first_s = first_s or last_s
                    size += len(part)
                    events += part.count(b"data:")
                    if size <= MAX_ANSWER_BYTES:
                        parts.append(part)
                    else:
                        # Enough for the words at the end; the middle is not looked into.
                        parts = [b"".join([*parts[-1:], part])[-4096:]]
        except (TimeoutError, httpx.TimeoutException):
            fault = "timeout"
        except httpx.HTTPError:
            fault = "error"
        if not fault and status >= _BAD_STATUS:
            # Stable has answered the same request: no caller is to blame.
            fault = "timeout" if status == _TIMED_OUT else "error"
        is_held = size <= MAX_ANSWER_BYTES
        return record._replace(
            first_s=first_s,
            last_s=last_s,
            status=status,
            fault=fault,
            parts=tuple(parts) if is_held else None,
            tail=b"" if is_held else parts[0],
            events=events,
        )

    async def _quality(self, canary: Finding, stable: Finding) -> float | None:
        if (
            self._qualities is None
            or canary.is_fault
            or stable.is_fault
            or canary.question.task != stable.question.task
        ):
            return None
        return await self._qualities.compared(canary.question.text, canary.spoken.text, stable.spoken.text)


def _body(asked: Asked, canary: Side) -> bytes:
    """The copy as the canary's engines get it. Raises BadRequest and orjson.JSONDecodeError."""
    request = ApiRequest(asked.route, orjson.loads(asked.raw), asked.name, asked.is_stream)
    if canary.prompt and asked.route == "chat":
        return prompted(canary.prompt, canary.served_name, request, asked.raw)
    return body_for(canary.served_name, request, asked.raw)
