"""One connection of the load client: it asks, times the answer and looks whether it is whole and right."""

import asyncio
import re
import time
from array import array
from collections import Counter
from typing import Final, Protocol, cast

from loadtests.router_bench.answer_reader import AnswerReader, BadAnswerError
from loadtests.router_bench.load import Report, Spread, Target
from loadtests.router_bench.wire import ANSWER, word

_ANSWER: Final = ANSWER.encode()
_ANY_WORD: Final = re.compile(rb'"w\d+ "')
# Words of a stream: those of the longest are made once.
_WORDS: Final = [word(index) for index in range(4096)]


class Tally:
    """What has come of one target so far."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self.sent = 0
        self.right = 0
        self.errors: Counter[str] = Counter()
        self.connections_made = 0
        self.chunks = 0
        self.first_sent_ns = 0
        self.last_answer_ns = 0
        self.latencies_ns = array("q")
        self.ttfts_ns = array("q")
        self.gaps_ns = array("q")

    def report(self, *, keep_values: bool) -> Report:
        """The figures."""
        return Report(
            name=self.target.name,
            sent=self.sent,
            right=self.right,
            errors=dict(self.errors),
            connections_made=self.connections_made,
            elapsed_s=max(self.last_answer_ns - self.first_sent_ns, 0) / 1e9,
            chunks=self.chunks,
            latency=Spread.of_ns(self.latencies_ns, keep_values=keep_values),
            ttft=Spread.of_ns(self.ttfts_ns, keep_values=keep_values),
            gap=Spread.of_ns(self.gaps_ns, keep_values=keep_values),
        )


class Owner(Protocol):
    """Who decides what a connection asks next."""

    tally: Tally
    chunks: int
    """That each stream must have; 0: answers are not streamed."""

    def free(self, caller: "Caller") -> None:
        """It may be used again."""

    def lost(self, caller: "Caller") -> None:
        """It is gone."""


class Caller(asyncio.Protocol):
    """One connection to a target, one request at a time."""

    __slots__ = (
        "_due_ns", "_events", "_first_ns", "_is_whole", "_last_ns", "_owner", "_reader", "_seen", "_tally",
        "_transport", "is_busy", "sent_ns",
    )  # fmt: skip

    def __init__(self, owner: Owner) -> None:
        self._owner = owner
        self._tally = owner.tally
        self._reader = AnswerReader()
        self._transport: asyncio.Transport | None = None
        # What has come of an answer, or of a stream's event that is not whole yet.
        self._events = b""
        self._seen = 0
        self._is_whole = False
        self._due_ns = 0
        self._first_ns = 0
        self._last_ns = 0
        self.sent_ns = 0
        self.is_busy = False

    def ask(self, request: bytes, due_ns: int) -> None:
        """Send a request that was due then."""
        assert self._transport is not None
        tally = self._tally
        self._reader.restart()
        self._events = b""
        self._seen = 0
        self._is_whole = False
        self.is_busy = True
        self._due_ns = due_ns
        self.sent_ns = time.monotonic_ns()
        if not tally.sent:
            tally.first_sent_ns = self.sent_ns
        tally.sent += 1
        self._transport.write(request)

    def give_up(self, why: str) -> None:
        """Count the request in flight, if there is one, as failed, and leave."""
        self._fail(why)
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports have the methods of asyncio.Transport without being its subclass.
        self._transport = cast(asyncio.Transport, transport)
        self._tally.connections_made += 1

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._fail("closed in the middle of an answer" if self._reader.has_begun else "closed before an answer")
        self._owner.lost(self)

    def data_received(self, data: bytes) -> None:
        now_ns = time.monotonic_ns()
        if not self.is_busy:
            self._tally.errors["bytes that nobody asked for"] += 1
            self.give_up("")
            return
        try:
            body = self._reader.feed(data)
        except BadAnswerError as error:
            self.give_up(f"not a right answer: {error}")
            return
        if self._owner.chunks and self._reader.status == 200:
            if body and not self._hear(body, now_ns):
                return
        elif body:
            self._events += body
        if self._reader.is_complete:
            self._ended(now_ns)

    def _hear(self, body: bytes, now_ns: int) -> bool:
        """Look at a part of a stream; False if it is wrong."""
        *events, self._events = (self._events + body).split(b"\n\n")
        for event in events:
            if _WORDS[self._seen] in event:
                if self._seen:
                    self._tally.gaps_ns.append(now_ns - self._last_ns)
                else:
                    self._first_ns = now_ns
                self._last_ns = now_ns
                self._seen += 1
            elif event == b"data: [DONE]":
                self._is_whole = True
            elif b'"error"' in event or _ANY_WORD.search(event):
                self.give_up("an error inside a stream" if b'"error"' in event else "a stream out of order")
                return False
            # Anything else says who speaks, why it ends or what it cost.
        return True

    def _ended(self, now_ns: int) -> None:
        tally = self._tally
        tally.last_answer_ns = now_ns
        why = self._wrong()
        self.is_busy = False
        if why:
            tally.errors[why] += 1
        else:
            tally.right += 1
            tally.latencies_ns.append(now_ns - self._due_ns)
            if self._owner.chunks:
                tally.ttfts_ns.append(self._first_ns - self._due_ns)
                tally.chunks += self._seen
        if not self._reader.keeps_alive and self._transport is not None:
            self._transport.close()
            return
        self._owner.free(self)

    def _wrong(self) -> str:
        """What is wrong with a complete answer; empty if nothing is."""
        if self._reader.status != 200:
            return f"status {self._reader.status}"
        if not self._owner.chunks:
            return "" if _ANSWER in self._events else "a wrong answer"
        if self._seen != self._owner.chunks:
            return "a stream with too few or too many chunks"
        return "" if self._is_whole else "a stream without its end"

    def _fail(self, why: str) -> None:
        if self.is_busy:
            self.is_busy = False
            self._tally.errors[why] += 1
            self._tally.last_answer_ns = time.monotonic_ns()
