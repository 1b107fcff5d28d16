"""Stores the chats that were kept for feedback, beside the loop that serves. Nobody waits for it."""

import asyncio
import contextlib
import logging
import time
from typing import Any, Final

import orjson

from cluster.errors import FenzhenError, Unavailable
from registry.feedback_store import Exchange, FeedbackStore
from router.feedback_tally import FeedbackTally
from router.keeping import Heard, Keeping
from router.outcome_answer import read_spoken

LOOK_S: Final = 0.2
"""Whoever judges an answer sooner waits for it: see `feedback_desk`."""
_AT_ONCE: Final = 16
# Masking is pure Python and holds up the loop that serves: it may have so much of a core, and the rest is dropped.
_BUSY_RATIO: Final = 0.1
_AGAIN_S: Final = 1.0
# A database that is away for longer, or refuses just these: others must have their turn.
_TRIES: Final = 20
# Of an answer: masking more at once would be felt by callers.
_MAX_CHARS: Final = 20_000
_PRUNE_S: Final = 60.0
_LAST_S: Final = 2.0
_ROLES: Final = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}

_log = logging.getLogger(__name__)


class Keeper:
    """Takes what `Keeping` has heard. For one loop, another than the one that serves."""

    def __init__(self, keeping: Keeping, store: FeedbackStore, tally: FeedbackTally) -> None:
        self._keeping = keeping
        self._store = store
        self._tally = tally

    async def run(self) -> None:
        """Work until cancelled; then store what is there already."""
        clock = asyncio.get_running_loop()
        pruned_s = clock.time()
        try:
            while True:
                await asyncio.sleep(LOOK_S)
                await self.store_some()
                if clock.time() - pruned_s >= _PRUNE_S:
                    await asyncio.to_thread(self._prune)
                    pruned_s = clock.time()
        finally:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LAST_S):
                    while heard := self._keeping.take(_AT_ONCE):
                        await asyncio.to_thread(self._stored, heard)

    async def store_some(self) -> None:
        """Store what was heard first, or try so a few times."""
        heard = self._keeping.take(_AT_ONCE)
        if not heard:
            return
        try:
            for _ in range(_TRIES):
                busy_s = await asyncio.to_thread(self._stored, heard)
                if busy_s is not None:
                    await asyncio.sleep(busy_s / _BUSY_RATIO - busy_s)
                    return
                # More and more waits meanwhile, up to the bytes that may be held; then chats are dropped.
                await asyncio.sleep(_AGAIN_S)
            self._tally.kept["failed"] += len(heard)
        finally:
            for one in heard:
                self._keeping.let_go(one.held_bytes)

    def _stored(self, heard: list[Heard]) -> float | None:
        """Seconds of a core that it took; None: not now."""
        tally, began_s = self._tally.kept, time.thread_time()
        exchanges = [exchange for exchange in map(_read, heard) if exchange is not None]
        try:
            if exchanges:
                self._store.keep(exchanges)
        except Unavailable as error:
            _log.warning("chats wait to be kept for feedback: %s", error)
            return None
        except FenzhenError as error:
            _log.error("chats cannot be kept for feedback: %s", error)
            tally["failed"] += len(exchanges)
        except Exception as error:  # One that cannot be stored must not end the keeping of others.
            # Its words may be a caller's: the kind is all that is told.
            _log.error("chats could not be kept for feedback, by a fault of ours: %s", type(error).__name__)
            tally["failed"] += len(exchanges)
        else:
            tally["kept"] += len(exchanges)
        tally["unfit"] += len(heard) - len(exchanges)
        return time.thread_time() - began_s

    def _prune(self) -> None:
        try:
            while self._store.prune():
                pass
        except FenzhenError as error:
            _log.warning("what is too old could not be erased from the database of feedback: %s", error)


def _read(heard: Heard) -> Exchange | None:
    """What was asked and answered; None where it is no plain chat with an answer in words."""
    messages = _messages(heard.raw)
    spoken = read_spoken(heard.parts, heard.is_stream)
    is_ended = spoken.finish in ("stop", "length") and not spoken.is_broken and not spoken.calls
    if messages is None or not is_ended or not 0 < len(spoken.text) <= _MAX_CHARS:
        return None
    return Exchange(
        heard.request_id, f"{heard.mark:016x}", heard.model, heard.version, heard.grade, heard.group, messages,
        spoken.text, spoken.finish == "stop",
    )  # fmt: skip


def _messages(raw: bytes) -> tuple[tuple[str, str], ...] | None:
    try:
        body = orjson.loads(raw)
        # Of several answers nobody could tell which one is meant.
        if body.get("n") not in (None, 1) or body.get("functions"):
            return None
        messages = tuple((_ROLES[message["role"]], _text(message["content"])) for message in body["messages"])
    except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError, ValueError):
        return None
    return messages if messages and messages[-1][0] == "user" else None


def _text(content: Any) -> str:
    """A turn in words. Raises ValueError, KeyError or TypeError for one with anything else in it."""
    if isinstance(content, str):
        return content
    texts = [part["text"] for part in content if part["type"] == "text"]
    if len(texts) != len(content) or not all(isinstance(text, str) for text in texts):
        raise ValueError("not only words")
    return "\n".join(texts)
