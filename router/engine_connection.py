"""One keep-alive connection to one engine: a request out, an answer's head and body parts in."""

import asyncio
import logging
from typing import Final, Protocol, cast

import httptools
import numpy as np

from router import head_scan
from router.head_scan import NOT_PASSED_ON, read_answer

# Where the compiled reading puts what it has found; used within one call, and by one loop in a process.
_FOUND: Final = np.zeros(head_scan.ANSWER_RESULTS, np.int64)
_LINES: Final = np.empty(16384, np.uint8)

_log = logging.getLogger(__name__)


class Listener(Protocol):
    """Who hears an engine's answer. `engine_answer`, `engine_done`, `engine_lost` or `at_fault` ends it, just once."""

    def engine_answer(self, status: int, headers: bytes, body: bytes) -> None:
        """The whole answer has arrived at once; `headers` are complete lines, fit to be passed on."""

    def engine_head(self, status: int, headers: bytes, content_length: int | None) -> None:
        """The head has arrived; `headers` are complete lines, fit to be passed on."""

    def engine_body(self, parts: list[bytes]) -> None:
        """Parts of the body have arrived, at least one."""

    def engine_done(self) -> None:
        """The answer is complete."""

    def engine_lost(self, why: str) -> None:
        """The connection broke before the answer was complete."""

    def at_fault(self) -> None:
        """One of the calls above has raised, by a fault of ours; it has been logged."""


class EngineConnection(asyncio.Protocol):
    """A connection that carries one exchange at a time. `is_idle` says that it may carry another."""

    __slots__ = (
        "_can_go_on", "_ends_with_connection", "_head", "_headers", "_is_complete", "_is_framed", "_length",
        "_listener", "_new_status", "_parser", "_parts", "_transport", "has_spoken", "idle_since_s", "is_fresh",
        "is_idle",
    )  # fmt: skip

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._listener: Listener | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._parts: list[bytes] = []
        self._headers: list[bytes] = []
        self._head = b""
        self._length: int | None = None
        self._new_status = 0
        self._is_framed = False
        self._ends_with_connection = False
        self._is_complete = False
        self._can_go_on = False
        self.is_idle = False
        self.is_fresh = True
        """Whether no exchange has been carried yet: a used one may have been closed by the engine meanwhile."""
        self.has_spoken = False
        """Whether anything of the present exchange's answer has arrived."""
        self.idle_since_s = 0.0

    @property
    def is_open(self) -> bool:
        """Whether the engine has not closed it."""
        return self._transport is not None and not self._transport.is_closing()

    def send(self, listener: Listener, head: bytes, body: bytes) -> None:
        """Send one request. `head` includes the empty line."""
        assert self._transport is not None
        self._listener = listener
        self.is_idle = False
        self.has_spoken = False
        # One write for a small request, so that it leaves in one packet; a large body is not copied.
        if len(body) < 65536:
            self._transport.write(head + body)
        else:
            self._transport.writelines((head, body))

    def abort(self) -> None:
        """Stop the exchange: the engine sees that nobody listens and frees its slot."""
        self._listener = None
        self.is_idle = False
        if self._transport is not None:
            self._transport.abort()

    def pause(self) -> None:
        """Stop reading: the client is slower than the engine."""
        if self._transport is not None:
            self._transport.pause_reading()

    def resume(self) -> None:
        """Read again."""
        if self._transport is not None:
            self._transport.resume_reading()

    # ---- from the socket -------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports have the methods of asyncio.Transport without being its subclass.
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self.is_idle = False
        listener, self._listener = self._listener, None
        if listener is None:
            return
        try:
            if self._ends_with_connection and exc is None:
                listener.engine_done()
            else:
                listener.engine_lost("broke the connection" if exc is not None else "closed the connection")
        except Exception:
            self._fail(listener)

    def data_received(self, data: bytes) -> None:
        if self._listener is None:
            # An engine that speaks unasked is not one to trust with the next request.
            self.abort()
            return
        if not self.has_spoken:
            self.has_spoken = True
            if read_answer(data, _LINES, _FOUND):
                self._tell_whole(data)
                return
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            if not self._is_complete:
                self._lose("sent something that is not HTTP")
                return
            # It went on after its answer: that is whole, but nothing of this connection is to be trusted any more.
            self._can_go_on = False
        listener = self._listener
        try:
            self._tell(listener)
        except Exception:
            self._fail(listener)

    def eof_received(self) -> None:
        """The engine closes: an idle connection must not be taken any more; `connection_lost` follows."""
        self.is_idle = False

    def _tell_whole(self, data: bytes) -> None:
        """Pass on an answer that has been read in one step."""
        status, size, _, body_start = _FOUND.tolist()
        listener, self._listener = self._listener, None
        assert listener is not None
        self.is_fresh = False
        self.is_idle = not self._is_sending
        try:
            listener.engine_answer(status, _LINES[:size].tobytes(), data[body_start:])
        except Exception:
            self._fail(listener)
            return
        if not self.is_idle and self._listener is None:
            self.abort()

    def _tell(self, listener: Listener) -> None:
        """Pass on what has been read. The listener may abort this connection at any step."""
        if self._new_status:
            status, self._new_status = self._new_status, 0
            listener.engine_head(status, self._head, self._length)
        if self._parts:
            parts, self._parts = self._parts, []
            if self._listener is listener:
                listener.engine_body(parts)
        if self._is_complete:
            self._is_complete = False
            is_heard, self._listener = self._listener is listener, None
            self.is_fresh = False
            self.is_idle = self._can_go_on and self.is_open and not self._is_sending
            if is_heard:
                listener.engine_done()
            if not self.is_idle and self._listener is None:
                self.abort()

    def _fail(self, listener: Listener) -> None:
        _log.exception("a request failed, by a fault of ours")
        self.abort()
        listener.at_fault()

    # ---- from the parser -------------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        if self._is_complete:
            raise _Unasked
        # The trailers of the answer before, too, must not end up in this one.
        self._headers = []
        self._length = None
        self._is_framed = False

    def on_header(self, name: bytes, value: bytes) -> None:
        lower = name.lower()
        if lower == b"content-length":
            self._length = int(value)
            self._is_framed = True
        elif lower == b"transfer-encoding":
            self._is_framed = value.lower().endswith(b"chunked")
        elif lower not in NOT_PASSED_ON:
            self._headers.append(b"%b: %b\r\n" % (lower, value))

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        # An interim answer (100, 103) is a message to the parser, too; the real one follows.
        if status >= 200:
            self._ends_with_connection = not self._is_framed
            self._new_status = status
            # Now, so that the trailers do not get into it.
            self._head = b"".join(self._headers)

    def on_body(self, body: bytes) -> None:
        self._parts.append(body)

    def on_message_complete(self) -> None:
        if self._parser.get_status_code() >= 200:
            self._is_complete = True
            # The parser knows it only here: with the message it forgets what was said about the connection.
            self._can_go_on = self._parser.should_keep_alive()
            self._ends_with_connection = False

    @property
    def _is_sending(self) -> bool:
        """Whether the engine has answered before it took the whole request: it may never take the rest."""
        return self._transport is not None and self._transport.get_write_buffer_size() > 0

    def _lose(self, why: str) -> None:
        listener = self._listener
        self.abort()
        if listener is not None:
            try:
                listener.engine_lost(why)
            except Exception:
                self._fail(listener)


class _Unasked(Exception):
    """Leaves the parser: a second answer begins."""
