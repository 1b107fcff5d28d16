"""Reads requests off the bytes of one client: framing and limits. Answers nothing itself.

httptools (llhttp) does the parsing and refuses malformed and ambiguous framing. What is wrong ends in `refusal`, and
nothing of that connection is read after it.
"""

import asyncio
import logging
import re
from typing import Final, Protocol

import httptools
import numpy as np

from router import head_scan
from router.head_scan import OVERHEAD_BYTES, read_request
from router.http_request import Limits, Request

_ONLY_ONCE: Final = frozenset((b"host", b"content-length", b"transfer-encoding", b"authorization", b"content-type"))
# A name or an address and perhaps a port (RFC 3986), without the comma that two headers joined into one would leave.
_HOST: Final = re.compile(rb"(?:[\w.~%!$&'()*+;=-]+|\[[\da-fA-F:.]+\])(?::\d{0,5})?", re.ASCII)
_ABSOLUTE: Final = re.compile(rb"https?://([^/?#]+)", re.IGNORECASE)

# Where the compiled reading tells what it has found; used within one call, and by one loop in a process.
_FOUND: Final = np.zeros(head_scan.REQUEST_RESULTS, np.int64)

_log = logging.getLogger(__name__)


class Taker(Protocol):
    """Who gets what has been read."""

    def take(self, request: Request) -> None:
        """One request is complete."""

    def ask_for_body(self) -> None:
        """The client waits for a word before it sends the body."""


class RequestReader:
    """The reading half of one client connection."""

    __slots__ = (
        "_body", "_clock", "_head_bytes", "_headers", "_host", "_is_between", "_is_http_1_0", "_is_in_head", "_limits",
        "_max_header_bytes", "_parser", "_taker", "_target", "_unended_bytes", "receiving_since_s", "refusal",
    )  # fmt: skip

    def __init__(self, taker: Taker, limits: Limits, clock: asyncio.AbstractEventLoop) -> None:
        self._taker = taker
        self._limits = limits
        self._max_header_bytes = limits.max_header_bytes
        self._clock = clock
        self._parser = httptools.HttpRequestParser(self)
        self.refusal: tuple[int, str] | None = None
        """Status and message, once something was wrong."""
        self.receiving_since_s: float | None = None
        """When the request began that is not yet complete."""
        self._body: bytes | bytearray = b""
        # The last one that was found good; none is like this one.
        self._host = b"\n"
        self._is_between = True
        self._forget_message()

    def feed(self, data: bytes) -> None:
        """Read on."""
        if self.refusal is not None or (self._is_between and self._take_ordinary(data)):
            return
        headers, body_bytes = self._headers, len(self._body)
        rest: bytes | memoryview = data
        try:
            while True:
                try:
                    self._parser.feed_data(rest)
                except httptools.HttpParserUpgrade as offer:
                    # In a loop and without copies: one read may bring thousands of such offers.
                    rest = memoryview(rest)[offer.args[0] :]
                    self._decline_upgrade()
                else:
                    break
        except httptools.HttpParserCallbackError:
            if self.refusal is None:
                _log.exception("a request could not be read, by a fault of ours")
                self.refusal = (500, "The router failed on this request.")
        except httptools.HttpParserError:
            self.refusal = (400, "This is not a well-formed HTTP/1.1 request.")
        if self._headers is headers:
            if len(self._body) != body_bytes:
                self._unended_bytes = 0
                return
            # The parser keeps a header or a trailer until its end, skips what extends a chunk, and tells nobody how
            # long they have grown.
            self._unended_bytes += len(data)
            self._is_between = False
            if self._unended_bytes > self._max_header_bytes and self.refusal is None:
                self.refusal = (431, self._head_too_large())

    # ---- from the parser -------------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        self._is_between = False
        self.receiving_since_s = self._clock.time()

    def on_url(self, url: bytes) -> None:
        self._target += url
        self._count_head(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        # Not by `_count_head`: a call for each header would be felt.
        self._head_bytes += len(name) + len(value) + OVERHEAD_BYTES
        if self._head_bytes > self._max_header_bytes:
            self._stop(431, self._head_too_large())
        if not self._is_in_head:
            # A trailer. Merged into the headers it could put on a name that those in front of us have checked.
            return
        name = name.lower()
        # The parser leaves the spaces behind a value, which are no part of it (RFC 9112, 5.1).
        value = value.rstrip()
        headers = self._headers
        if name in headers:
            if name in _ONLY_ONCE:
                self._stop(400, f"The header {name.decode('latin-1')} may stand there only once.")
            # Lines of one name are one list (RFC 9110, 5.3).
            value = b"%b, %b" % (headers[name], value)
        headers[name] = value

    def on_headers_complete(self) -> None:
        self._is_in_head = False
        if self._parser.get_method() == b"CONNECT":
            self._stop(501, "CONNECT is not spoken here.")
        if self._parser.should_upgrade():
            return
        headers = self._headers
        version = self._parser.get_http_version()
        self._is_http_1_0 = version == "1.0"
        if version not in ("1.0", "1.1"):
            self._stop(505, f"HTTP/{version} is not spoken here; HTTP/1.1 is.")
        host = headers.get(b"host")
        # A connection's requests nearly always name the same host.
        if host != self._host:
            self._check_host(host, version)
        if self._target[:1] != b"/":
            self._check_target()
        length = headers.get(b"content-length")
        if length is None:
            if b"transfer-encoding" in headers:
                self._check_coding(headers[b"transfer-encoding"], version)
        elif int(length) > self._limits.max_body_bytes:
            self._stop(413, self._body_too_large())
        if b"expect" in headers and version == "1.1":
            self._heed_expectation(headers[b"expect"])

    def on_body(self, body: bytes) -> None:
        if not self._body:
            # Most bodies come in one read and are never copied.
            self._body = body
        else:
            # A list of parts would take 20 times the limit for a body in chunks of two bytes.
            if isinstance(self._body, bytes):
                self._body = bytearray(self._body)
            self._body += body
        if len(self._body) > self._limits.max_body_bytes:
            self._stop(413, self._body_too_large())

    def on_message_complete(self) -> None:
        if self._parser.should_upgrade():
            return
        request = Request(
            method=self._parser.get_method(),
            target=self._target,
            headers=self._headers,
            body=bytes(self._body),
            keep_alive=self._parser.should_keep_alive(),
            is_http_1_0=self._is_http_1_0,
        )
        self._forget_message()
        self.receiving_since_s = None
        self._taker.take(request)

    # ---- inside ----------------------------------------------------------------------------------------------------

    def _take_ordinary(self, data: bytes) -> bool:
        """Take a whole request in one step if `data` is one, and names the host that was found good before."""
        limits = self._limits
        if not read_request(data, self._max_header_bytes, limits.max_body_bytes, _FOUND):
            return False
        (
            target_end, body_start, host, host_end, _, _, id_start, id_end, parent, parent_end, state, state_end,
            deadline, deadline_end, _, _,
        ) = _FOUND.tolist()  # fmt: skip
        if data[host:host_end] != self._host:
            return False
        headers: dict[bytes, bytes] = {}
        if id_start:
            headers[b"x-request-id"] = data[id_start:id_end]
        if parent:
            headers[b"traceparent"] = data[parent:parent_end]
        if state:
            headers[b"tracestate"] = data[state:state_end]
        if deadline:
            headers[b"x-fenzhen-deadline-s"] = data[deadline:deadline_end]
        target = data[head_scan.TARGET_START : target_end]
        self._taker.take(Request(b"POST", target, headers, data[body_start:], True, False))
        return True

    def _forget_message(self) -> None:
        self._target = b""
        self._headers: dict[bytes, bytes] = {}
        self._head_bytes = 0
        self._unended_bytes = 0
        self._is_in_head = True
        self._is_http_1_0 = False
        self._is_between = True
        self._body = b""

    def _check_host(self, host: bytes | None, version: str) -> None:
        if host is None:
            if version == "1.1":
                self._stop(400, "The header host is missing.")
            return
        if _HOST.fullmatch(host) is None:
            self._stop(400, "The header host must be one host and perhaps a port.")
        self._host = host

    def _check_target(self) -> None:
        """Of a target that is no path: `*` is for OPTIONS, and whole addresses are as good as paths."""
        if self._target == b"*" and self._parser.get_method() == b"OPTIONS":
            return
        address = _ABSOLUTE.match(self._target)
        # Names and passwords are not for addresses of HTTP any more (RFC 9110, 4.2.4), but for deceiving.
        if address is None or _HOST.fullmatch(address[1]) is None:
            self._stop(400, "The request's target must be a path or begin with http:// and a host.")

    def _check_coding(self, coding: bytes, version: str) -> None:
        if version == "1.0":
            # It does not know chunks: who else reads this request may see another end of it (RFC 9112, 6.1).
            self._stop(400, "HTTP/1.0 has no transfer-encoding.")
        codings = coding.lower()
        if codings != b"chunked":
            has_an_end = codings.rpartition(b",")[2].strip() == b"chunked"
            self._stop(501 if has_an_end else 400, "Of all transfer codings only chunked is understood here.")

    def _heed_expectation(self, expectation: bytes) -> None:
        if expectation.lower() != b"100-continue":
            self._stop(417, "Of all expectations only 100-continue can be met here.")
        self._taker.ask_for_body()

    def _decline_upgrade(self) -> None:
        """Read the head again as if it had not offered to upgrade.

        Java's own HTTP client offers HTTP/2 with every first request and goes on in HTTP/1.1; the parser, believing
        that another protocol follows, would leave the body out.
        """
        version = self._parser.get_http_version().encode("ascii")
        head = b"%b %b HTTP/%b\r\n" % (self._parser.get_method(), self._target, version)
        head += b"".join(b"%b: %b\r\n" % (name, self._headers[name]) for name in self._headers if name != b"upgrade")
        began_s = self.receiving_since_s
        self._forget_message()
        self._parser = httptools.HttpRequestParser(self)
        self._parser.feed_data(head + b"\r\n")
        if self.receiving_since_s is not None:
            self.receiving_since_s = began_s

    def _count_head(self, size: int) -> None:
        self._head_bytes += size
        if self._head_bytes > self._max_header_bytes:
            self._stop(431, self._head_too_large())

    def _head_too_large(self) -> str:
        return f"The request's head may have at most {self._limits.max_header_bytes} bytes (router.max_header_bytes)."

    def _body_too_large(self) -> str:
        return f"The request's body may have at most {self._limits.max_body_bytes} bytes (router.max_body_bytes)."

    def _stop(self, status: int, message: str) -> None:
        """Leave the parser: a callback's exception is the only way out of it."""
        self.refusal = (status, message)
        raise _Refused


class _Refused(Exception):
    """Leaves the parser from one of its callbacks."""
