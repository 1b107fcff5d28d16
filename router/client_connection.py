"""One client connection: HTTP/1.1 in, answers out. Knows nothing of models.

httptools (llhttp) does the parsing and refuses malformed and ambiguous framing; what stands here are the limits, the
order of pipelined requests, back-pressure and the life of the connection. One request at a time is being answered;
later ones of the same connection wait in a short queue, and when that is full the socket is not read.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from http import HTTPStatus
from typing import Final, cast

import httptools

from router.http_request import Application, Call, Limits, Request

# Requests of one connection that may wait behind the one being answered; more are left in the socket.
MAX_PIPELINED: Final = 8
# After an early refusal, the rest of the body is read and thrown away for so long, so that the client reads our answer
# instead of a reset. Seconds.
LINGER_S: Final = 2.0

_STATUS_LINES: Final = {
    status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode("ascii") for status in HTTPStatus
}


class ClientConnection(asyncio.Protocol):
    """One client's TCP connection."""

    __slots__ = (
        "_application", "_body", "_body_bytes", "_call", "_chunked", "_clock", "_closing_since_s", "_connections",
        "_head_bytes", "_headers", "_idle_since_s", "_is_answering", "_limits", "_parser", "_pending_head", "_queue",
        "_receiving_since_s", "_refusal", "_request", "_slow_since_s", "_target", "_transport", "is_draining",
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
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport | None = None
        self._queue: deque[Request] = deque()
        self._request: Request | None = None
        self._call: Call | None = None
        self._is_answering = False
        self._chunked = False
        self._pending_head = b""
        self._refusal: tuple[int, str] | None = None
        self._idle_since_s: float | None = clock.time()
        self._receiving_since_s: float | None = None
        self._slow_since_s: float | None = None
        self._closing_since_s: float | None = None
        self.is_draining = False
        self._forget_message()

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
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            # The request has been taken, with an answer that ends the connection: see `on_message_complete`.
            pass
        except httptools.HttpParserError:
            if self._refusal is None:
                self._refusal = (400, "This is not a well-formed HTTP/1.1 request.")
        if self._refusal is not None and not self._is_answering:
            self._refuse()

    # ---- from the parser -------------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        self._receiving_since_s = self._clock.time()
        self._idle_since_s = None

    def on_url(self, url: bytes) -> None:
        self._target += url
        self._count_head(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        self._count_head(len(name) + len(value) + 4)
        name = name.lower()
        if name in self._headers and name in (b"host", b"content-length", b"transfer-encoding"):
            self._stop(400, f"The header {name.decode('latin-1')} may stand there only once.")
        self._headers[name] = value

    def on_headers_complete(self) -> None:
        version = self._parser.get_http_version()
        if version not in ("1.0", "1.1"):
            self._stop(505, f"HTTP/{version} is not spoken here; HTTP/1.1 is.")
        if version == "1.1" and b"host" not in self._headers:
            self._stop(400, "The header host is missing.")
        length = self._headers.get(b"content-length")
        if length is not None and int(length) > self._limits.max_body_bytes:
            self._stop(413, self._too_large())
        if self._headers.get(b"expect", b"").lower() == b"100-continue" and not self._is_answering:
            assert self._transport is not None
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        self._body_bytes += len(body)
        if self._body_bytes > self._limits.max_body_bytes:
            self._stop(413, self._too_large())
        self._body.append(body)

    def on_message_complete(self) -> None:
        version = self._parser.get_http_version()
        request = Request(
            method=self._parser.get_method(),
            target=self._target,
            headers=self._headers,
            body=self._body[0] if len(self._body) == 1 else b"".join(self._body),
            # An offer to upgrade may lawfully be answered in HTTP/1.1; what follows it may be another protocol.
            keep_alive=self._parser.should_keep_alive() and not self._parser.should_upgrade(),
            is_http_1_0=version == "1.0",
        )
        self._forget_message()
        self._receiving_since_s = None
        if self._is_answering:
            self._queue.append(request)
            if len(self._queue) >= MAX_PIPELINED and self._transport is not None:
                self._transport.pause_reading()
        else:
            self._start(request)

    # ---- to the client ---------------------------------------------------------------------------------------------

    def answer(self, status: int, headers: bytes, body: bytes) -> None:
        """Send a whole answer. `headers` are complete lines, each ended by CR LF."""
        transport = self._transport
        if transport is None:
            return
        request = self._request
        is_head = request is not None and request.method == b"HEAD"
        transport.write(
            b"%b%bcontent-length: %d\r\n%b\r\n%b"
            % (_STATUS_LINES[status], headers, len(body), self._connection_line(), b"" if is_head else body)
        )
        self._finish()

    def begin(self, status: int, headers: bytes, content_length: int | None) -> None:
        """Set an answer's head; it leaves with the body's first part. Without a length the body is sent in chunks."""
        request = self._request
        assert request is not None
        if content_length is not None:
            framing = b"content-length: %d\r\n" % content_length
        elif request.is_http_1_0:
            framing = b""
            request.keep_alive = False
        else:
            framing = b"transfer-encoding: chunked\r\n"
            self._chunked = True
        self._pending_head = b"%b%b%b%b\r\n" % (_STATUS_LINES[status], headers, framing, self._connection_line())

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
        """End a half-sent answer so that the client sees that it is not whole."""
        self._call = None
        self._transport_abort()

    @property
    def is_slow(self) -> bool:
        """Whether the client's buffer is full."""
        return self._slow_since_s is not None

    # ---- time and shutdown -----------------------------------------------------------------------------------------

    def sweep(self, now_s: float) -> None:
        """Close what has waited too long."""
        limits = self._limits
        if self._closing_since_s is not None:
            if now_s - self._closing_since_s > LINGER_S:
                self._close()
        elif self._slow_since_s is not None and now_s - self._slow_since_s > limits.client_timeout_s:
            self._transport_abort()
        elif self._call is not None:
            self._call.sweep(now_s)
        elif self._is_answering:
            return
        elif self._receiving_since_s is not None:
            if now_s - self._receiving_since_s > limits.client_timeout_s:
                self._refusal = (408, f"The request did not arrive within {limits.client_timeout_s:g} s.")
                self._refuse()
        elif self._idle_since_s is not None and (self.is_draining or now_s - self._idle_since_s > limits.keep_alive_s):
            self._close()

    def drain(self) -> None:
        """Answer what is in flight with `connection: close`, then leave."""
        self.is_draining = True
        if self._idle_since_s is not None:
            self._close()

    # ---- inside ----------------------------------------------------------------------------------------------------

    def _forget_message(self) -> None:
        self._target = b""
        self._headers: dict[bytes, bytes] = {}
        self._head_bytes = 0
        self._body: list[bytes] = []
        self._body_bytes = 0

    def _count_head(self, size: int) -> None:
        self._head_bytes += size
        if self._head_bytes > self._limits.max_header_bytes:
            self._stop(431, f"The request's head may have at most {self._limits.max_header_bytes} bytes.")

    def _too_large(self) -> str:
        return f"The request's body may have at most {self._limits.max_body_bytes} bytes (router.max_body_bytes)."

    def _stop(self, status: int, message: str) -> None:
        """Leave the parser: a callback's exception is the only way out of it."""
        self._refusal = (status, message)
        raise _Refused

    def _refuse(self) -> None:
        assert self._refusal is not None
        status, message = self._refusal
        self._request = None
        self._is_answering = True
        self._application.refuse(status, message, self)

    def _start(self, request: Request) -> None:
        self._request = request
        self._is_answering = True
        call = self._application.handle(request, self)
        if self._is_answering and self._request is request:
            self._call = call
            if call is not None and self._slow_since_s is not None:
                call.client_is_slow()

    def _connection_line(self) -> bytes:
        request = self._request
        if request is None or not request.keep_alive or self.is_draining:
            return b"connection: close\r\n"
        return b"connection: keep-alive\r\n" if request.is_http_1_0 else b""

    def _finish(self) -> None:
        request, self._request = self._request, None
        self._call = None
        self._is_answering = False
        self._chunked = False
        if request is None or not request.keep_alive or self.is_draining:
            self._close_after_answer()
            return
        if self._queue:
            if len(self._queue) == MAX_PIPELINED and self._transport is not None:
                self._transport.resume_reading()
            # Not called from here: a long pipeline of instant answers would grow the stack.
            self._is_answering = True
            self._clock.call_soon(self._start_next)
        elif self._refusal is not None:
            self._refuse()
        elif self._receiving_since_s is None:
            self._idle_since_s = self._clock.time()

    def _start_next(self) -> None:
        if self._queue:
            self._start(self._queue.popleft())

    def _close_after_answer(self) -> None:
        transport = self._transport
        if transport is None:
            return
        if self._refusal is None:
            self._close()
            return
        # The client may still be sending: closing now would make the kernel send a reset that overtakes the answer.
        self._closing_since_s = self._clock.time()
        if transport.can_write_eof():
            transport.write_eof()

    def _transport_abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def _close(self) -> None:
        if self._transport is not None:
            self._transport.close()


class _Refused(Exception):
    """Leaves the parser from one of its callbacks."""
