"""One client connection: HTTP/1.1 in, answers out. Knows nothing of models.

What stands here is the order of pipelined requests, back-pressure and the life of the connection. One request at a
time is being answered; later ones of the same connection wait in a short queue, and when that is full the socket is
not read.
"""

import asyncio
import contextlib
import functools
import logging
import time
from collections import deque
from collections.abc import Sequence
from email.utils import formatdate
from http import HTTPStatus
from typing import Final, cast

from router.http_request import Application, Call, Limits, Request
from router.request_reader import RequestReader

# Requests of one connection that may wait behind the one being answered; more are left in the socket.
MAX_PIPELINED: Final = 8
# After an early refusal, the rest of the body is read and thrown away for so long, so that the client reads our answer
# instead of a reset. Seconds.
LINGER_S: Final = 2.0

_PHRASES: Final = {status.value: status.phrase for status in HTTPStatus}
# Engines may use numbers that no standard names.
_STATUS_LINES: Final = [f"HTTP/1.1 {code} {_PHRASES.get(code, '')}\r\n".encode("ascii") for code in range(1000)]
# By definition without a body, and so without its length or its end.
_BODILESS: Final = frozenset((204, 304))

_log = logging.getLogger(__name__)


class ClientConnection(asyncio.Protocol):
    """One client's TCP connection."""

    __slots__ = (
        "_application", "_call", "_chunked", "_clock", "_closing_since_s", "_connections", "_idle_since_s",
        "_is_answering", "_limits", "_pending_head", "_queue", "_reader", "_request", "_slow_since_s", "_transport",
        "is_draining",
    )  # fmt: skip

    def __init__(
        self,
        application: Application,
        limits: Limits,
        connections: set["ClientConnection"],
        clock: asyncio.AbstractEventLoop,
    ) -> None:
        self._application = application
        self._limits = limits
        self._connections = connections
        self._clock = clock
        self._reader = RequestReader(self, limits, clock)
        self._transport: asyncio.Transport | None = None
        self._queue: deque[Request] = deque()
        self._request: Request | None = None
        self._call: Call | None = None
        self._is_answering = False
        self._chunked = False
        self._pending_head = b""
        self._idle_since_s = clock.time()
        self._slow_since_s: float | None = None
        self._closing_since_s: float | None = None
        self.is_draining = False

    # ---- from the socket -------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports have the methods of asyncio.Transport without being its subclass.
        self._transport = cast(asyncio.Transport, transport)
        self._connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._connections.discard(self)
        self._queue.clear()
        call, self._call = self._call, None
        if call is not None:
            call.client_gone()

    def pause_writing(self) -> None:
        self._slow_since_s = self._clock.time()
        if self._call is not None:
            self._call.client_is_slow()

    def resume_writing(self) -> None:
        self._slow_since_s = None
        if self._call is not None:
            self._call.client_is_ready()

    def data_received(self, data: bytes) -> None:
        if self._closing_since_s is not None:
            return
        self._reader.feed(data)
        if self._reader.refusal is not None and not self._is_answering and self._closing_since_s is None:
            self._refuse()

    # ---- from the reader -------------------------------------------------------------------------------------------

    def take(self, request: Request) -> None:
        """Answer a request that is complete, now or in its turn."""
        if self._closing_since_s is not None:
            return
        if not self._is_answering:
            self._start(request)
            return
        self._queue.append(request)
        if len(self._queue) >= MAX_PIPELINED and self._transport is not None:
            self._transport.pause_reading()

    def ask_for_body(self) -> None:
        """Tell the client to go on, unless that would stand in the middle of an answer."""
        if self._transport is not None and not self._is_answering and self._closing_since_s is None:
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    # ---- to the client ---------------------------------------------------------------------------------------------

    def answer(self, status: int, headers: bytes, body: bytes) -> None:
        """Send a whole answer. `headers` are complete lines, each ended by CR LF."""
        transport = self._transport
        if transport is None:
            return
        request = self._request
        is_head = request is not None and request.method == b"HEAD"
        transport.write(
            b"%b%b%bcontent-length: %d\r\n%b\r\n%b"
            % (
                _STATUS_LINES[status],
                _date_line(int(time.time())),
                headers,
                len(body),
                self._connection_line(),
                b"" if is_head else body,
            )
        )
        self._finish()

    def begin(self, status: int, headers: bytes, content_length: int | None) -> None:
        """Set an answer's head; it leaves with the body's first part. Without a length the body is sent in chunks."""
        request = self._request
        assert request is not None
        if status in _BODILESS:
            framing = b""
        elif content_length is not None:
            framing = b"content-length: %d\r\n" % content_length
        elif request.is_http_1_0:
            framing = b""
            request.keep_alive = False
        else:
            framing = b"transfer-encoding: chunked\r\n"
            self._chunked = True
        self._pending_head = b"%b%b%b%b%b\r\n" % (
            _STATUS_LINES[status],
            _date_line(int(time.time())),
            headers,
            framing,
            self._connection_line(),
        )

    def relay(self, parts: Sequence[bytes]) -> None:
        """Send parts of the body as they are."""
        transport = self._transport
        if transport is None:
            return
        data = parts[0] if len(parts) == 1 else b"".join(parts)
        if self._chunked:
            data = b"%b%x\r\n%b\r\n" % (self._pending_head, len(data), data)
        elif self._pending_head:
            data = self._pending_head + data
        self._pending_head = b""
        transport.write(data)

    def end(self) -> None:
        """The body is complete."""
        if self._transport is None:
            return
        if self._chunked:
            self._transport.write(self._pending_head + b"0\r\n\r\n")
        elif self._pending_head:
            self._transport.write(self._pending_head)
        self._pending_head = b""
        self._finish()

    def abort(self) -> None:
        """Leave at once. A half-sent answer ends so that the client sees that it is not whole."""
        if self._transport is not None:
            self._transport.abort()

    # ---- time and shutdown -----------------------------------------------------------------------------------------

    def sweep(self, now_s: float) -> None:
        """Close what has waited too long."""
        limits, receiving_since_s = self._limits, self._reader.receiving_since_s
        if self._closing_since_s is not None:
            if now_s - self._closing_since_s > LINGER_S + limits.client_timeout_s:
                # What it has not read of our answer by now it never will.
                self.abort()
            elif now_s - self._closing_since_s > LINGER_S:
                self._close()
        elif self._slow_since_s is not None and now_s - self._slow_since_s > limits.client_timeout_s:
            self.abort()
        elif self._call is not None:
            self._call.sweep(now_s)
        elif self._is_answering:
            return
        elif receiving_since_s is not None:
            if now_s - receiving_since_s > limits.client_timeout_s:
                self._reader.refusal = (408, f"The request did not arrive within {limits.client_timeout_s:g} s.")
                self._refuse()
        elif now_s - self._idle_since_s > limits.keep_alive_s:
            self._close()

    def drain(self, idle_s: float) -> None:
        """Answer what is in flight with `connection: close`, then leave. May be called again.

        An idle one has `idle_s` left in which it may speak: a request that is on its way now would be lost.
        """
        now_s = self._clock.time()
        if not self.is_draining:
            self.is_draining = True
            self._idle_since_s = now_s
        is_busy = self._is_answering or self._reader.receiving_since_s is not None
        if not is_busy and self._closing_since_s is None and now_s - self._idle_since_s >= idle_s:
            self._close()

    # ---- inside ----------------------------------------------------------------------------------------------------

    def _refuse(self) -> None:
        assert self._reader.refusal is not None
        status, message = self._reader.refusal
        self._request = None
        self._is_answering = True
        self._application.refuse(status, message, None, self)

    def _start(self, request: Request) -> None:
        self._request = request
        self._is_answering = True
        try:
            call = self._application.handle(request, self)
        except Exception:
            _log.exception("a request failed, by a fault of ours")
            if self._request is request:
                self._application.refuse(500, "The router failed on this request.", request, self)
            return
        if self._is_answering and self._request is request:
            # Whoever needs it has it: thousands of slow streams must not hold their questions.
            request.body = b""
            self._call = call
            if call is not None and self._slow_since_s is not None:
                call.client_is_slow()

    def _connection_line(self) -> bytes:
        request = self._request
        if request is not None and self.is_draining:
            # Only what has been announced is done: a client that was not told may be sending its next request.
            request.keep_alive = False
        if request is None or not request.keep_alive:
            return b"connection: close\r\n"
        return b"connection: keep-alive\r\n" if request.is_http_1_0 else b""

    def _finish(self) -> None:
        request, self._request = self._request, None
        self._call = None
        self._is_answering = False
        self._chunked = False
        if request is None or not request.keep_alive:
            self._close_after_answer()
            return
        now_s = self._idle_since_s = self._clock.time()
        if self._reader.receiving_since_s is not None:
            # It may have waited unread behind what has just been answered, which is not the client's fault.
            self._reader.receiving_since_s = now_s
        if self._queue:
            if len(self._queue) == MAX_PIPELINED and self._transport is not None:
                self._transport.resume_reading()
            # Not called from here: a long pipeline of instant answers would grow the stack.
            self._is_answering = True
            self._clock.call_soon(self._start_next)
        elif self._reader.refusal is not None:
            self._refuse()

    def _start_next(self) -> None:
        if self._queue:
            self._start(self._queue.popleft())

    def _close_after_answer(self) -> None:
        if self._transport is None:
            return
        # The client may still be sending: the rest of what we refuse, a request behind the last that we answer, an
        # empty line. Closing now would make the kernel send a reset that overtakes the answer (RFC 9112, 9.6).
        self._closing_since_s = self._clock.time()
        with contextlib.suppress(OSError):  # It has just been reset: `connection_lost` will say so.
            self._transport.write_eof()

    def _close(self) -> None:
        if self._closing_since_s is None:
            self._closing_since_s = self._clock.time()
        if self._transport is not None:
            self._transport.close()


@functools.lru_cache(maxsize=1)
def _date_line(unix_s: int) -> bytes:
    """The answer's date, which a server with a clock must tell (RFC 9110, 6.6.1); made once a second."""
    return b"date: %b\r\n" % formatdate(unix_s, usegmt=True).encode("ascii")
