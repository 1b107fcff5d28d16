"""A client's connection on which one awaits each answer: for loads that care what becomes of every single request."""

import asyncio
import re
from dataclasses import dataclass
from typing import Final, Self, cast

from loadtests.router_bench.answer_reader import AnswerReader, BadAnswerError

_RETRY_AFTER: Final = re.compile(rb"\r\nretry-after:[ \t]*(\d+)", re.IGNORECASE)
_WORD: Final = re.compile(rb'"w(\d+) "')
_STREAM_END: Final = b"data: [DONE]\n\n"
_CONNECT_TIMEOUT_S: Final = 5.0


class BrokenError(Exception):
    """The connection ended before the answer did."""

    def __init__(self, why: str, *, has_begun: bool) -> None:
        super().__init__(why)
        self.has_begun = has_begun
        """Whether any byte of the answer had come: then it cannot be asked again."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer."""

    status: int
    body: bytes
    keeps_alive: bool
    retry_after_s: int | None

    def is_stream_of(self, chunks: int) -> bool:
        """Whether it is the engines' stream of so many chunks, each there once and in order, with its end."""
        words = [int(number) for number in _WORD.findall(self.body)]
        return words == list(range(chunks)) and self.body.endswith(_STREAM_END)


class Asker(asyncio.Protocol):
    """One connection, one request at a time."""

    __slots__ = ("_answered", "_first", "_first_seen", "_parts", "_reader", "_transport", "_why")

    def __init__(self) -> None:
        self._reader = AnswerReader()
        self._transport: asyncio.Transport | None = None
        self._answered: asyncio.Future[Answer] | None = None
        self._first_seen: asyncio.Future[None] | None = None
        self._parts: list[bytes] = []
        self._first = b""
        self._why = "closed"

    @classmethod
    async def open(cls, host: str, port: int) -> Self:
        """Raises OSError, TimeoutError."""
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(_CONNECT_TIMEOUT_S):
            _, asker = await loop.create_connection(cls, host, port)
        return asker

    @property
    def is_open(self) -> bool:
        """Whether the other side has not left, as far as is known here."""
        return self._transport is not None and not self._transport.is_closing()

    def send(self, request: bytes) -> asyncio.Future[Answer]:
        """Send one request; the future has its answer, or BrokenError, and may also be left alone."""
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        if self._transport is None:
            future.set_exception(BrokenError("closed before the request", has_begun=False))
            return future
        self._reader.restart()
        self._parts = []
        self._first = b""
        self._answered = future
        self._transport.write(request)
        return future

    def first_byte(self) -> asyncio.Future[None]:
        """When the answer begins; a connection that ends also ends this wait."""
        self._first_seen = asyncio.get_running_loop().create_future()
        if self._transport is None or self._first:
            self._first_seen.set_result(None)
        return self._first_seen

    def close(self) -> None:
        """Leave; an answer that has not come yet is not waited for."""
        self._answered = None
        if self._transport is not None:
            self._transport.close()

    # ---- from the socket -------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports have the methods of asyncio.Transport without being its subclass.
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._see_first()
        if self._answered is not None and not self._answered.done():
            why = "reset" if exc is not None else self._why
            self._answered.set_exception(BrokenError(why, has_begun=self._reader.has_begun))
        self._answered = None

    def data_received(self, data: bytes) -> None:
        if self._answered is None:
            self.close()
            return
        if not self._first:
            self._first = data
        self._see_first()
        try:
            body = self._reader.feed(data)
        except BadAnswerError as error:
            self._why = f"not a right answer: {error}"
            assert self._transport is not None
            self._transport.abort()
            return
        if body:
            self._parts.append(body)
        if self._reader.is_complete:
            self._complete()

    def _complete(self) -> None:
        future, self._answered = self._answered, None
        assert future is not None
        asked = _RETRY_AFTER.search(self._first) if self._reader.status == 503 else None
        answer = Answer(
            status=self._reader.status,
            body=b"".join(self._parts),
            keeps_alive=self._reader.keeps_alive,
            retry_after_s=int(asked[1]) if asked else None,
        )
        if not self._reader.keeps_alive and self._transport is not None:
            self._transport.close()
        if not future.done():
            future.set_result(answer)

    def _see_first(self) -> None:
        if self._first_seen is not None and not self._first_seen.done():
            self._first_seen.set_result(None)
        self._first_seen = None


def post(port: int, body: bytes, headers: bytes = b"", path: bytes = b"/v1/chat/completions") -> bytes:
    """A request as it goes over the wire. `headers` are complete lines."""
    lines = b"%bcontent-type: application/json\r\ncontent-length: %d\r\n" % (headers, len(body))
    return b"POST %b HTTP/1.1\r\nhost: 127.0.0.1:%d\r\n%b\r\n%b" % (path, port, lines, body)
