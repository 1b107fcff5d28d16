"""Looks at a server that runs already: one GET on a connection of its own, and what the answer means.

A thousand servers are looked at by one process. httpx takes 1.1 ms of processor time for a GET on a new connection, and
0.7 ms on a kept one, of which a thousand would stay open; this takes 0.2 ms. A new connection also shows that the
server still accepts some.
"""

import asyncio
import errno
import json
import os
import socket
from dataclasses import dataclass
from typing import Any, Final, cast

import httptools

from cluster.base_url import host_and_port

MODELS_PATH: Final = "/v1/models"
# A list of a thousand models is a tenth of it.
_MAX_ANSWER_BYTES: Final = 1024 * 1024
_WANTS_KEY: Final = (401, 403)


class LookError(Exception):
    """A server that gave no answer; `str(error)` goes on after the server's name: "refuses connections"."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where to look, and for what."""

    base_url: str
    model: str
    health_path: str
    timeout_s: float


async def complaint(target: Target, *, is_new: bool) -> str | None:
    """What keeps this server from answering requests for its model; None: nothing.

    A new one, or one that was not well before, is also asked which models it has, as far as it can say.
    """
    try:
        async with asyncio.timeout(target.timeout_s):
            status, body = await get(target.base_url, target.health_path)
            if status != 200:
                return _refusal(status, target.health_path)
            if is_new and target.health_path != MODELS_PATH:
                status, body = await get(target.base_url, MODELS_PATH)
                if status in _WANTS_KEY:
                    # With a key of its own, vLLM still tells everybody its health.
                    return _refusal(status, MODELS_PATH)
    except TimeoutError:
        return f"does not answer within {target.timeout_s:g} s"
    except LookError as error:
        return str(error)
    names = models_in(body) if is_new and status == 200 else []
    if names and target.model not in names:
        return f"has no model {target.model}, but {', '.join(names[:3])}; vLLM's option is --served-model-name"
    return None


def models_in(body: bytes) -> list[str]:
    """The names in an answer on /v1/models; none where it is something else."""
    try:
        found: Any = json.loads(body)
        return [str(row["id"]) for row in found["data"]]
    except (ValueError, TypeError, KeyError):
        return []


async def get(base_url: str, path: str) -> tuple[int, bytes]:
    """Status and body of one GET. Raises LookError; the caller sets the time-out."""
    host, port = host_and_port(base_url)
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[tuple[int, bytes]] = loop.create_future()
    request = f"GET {path} HTTP/1.1\r\nhost: {base_url.removeprefix('http://')}\r\nconnection: close\r\n\r\n"
    try:
        transport, _ = await loop.create_connection(lambda: _Exchange(request.encode("ascii"), answer), host, port)
    except socket.gaierror as error:
        raise LookError(f"cannot be found: {error.strerror}") from None
    except OSError as error:
        raise LookError(_no_connection(error)) from None
    try:
        return await answer
    finally:
        transport.abort()


def _no_connection(error: OSError) -> str:
    # A name with several addresses has several reasons, which asyncio joins into one text without a number.
    if error.errno == errno.ECONNREFUSED or (error.errno is None and f"[Errno {errno.ECONNREFUSED}]" in str(error)):
        return "refuses connections: nothing listens there"
    return f"cannot be reached: {os.strerror(error.errno) if error.errno else error}"


def _refusal(status: int, path: str) -> str:
    words = f"says {status} on {path}"
    if status in _WANTS_KEY:
        return f"{words}: it wants a key, and the router sends none"
    if status == 404 and path != MODELS_PATH:
        return f"{words}: set health_path of its pool to a path that it has, {MODELS_PATH} perhaps"
    return words


class _Exchange(asyncio.Protocol):
    """One request out, one answer in."""

    __slots__ = ("_answer", "_body", "_bytes", "_ends_with_connection", "_is_framed", "_parser", "_request")

    def __init__(self, request: bytes, answer: "asyncio.Future[tuple[int, bytes]]") -> None:
        self._request = request
        self._answer = answer
        self._parser = httptools.HttpResponseParser(self)
        self._body: list[bytes] = []
        self._bytes = 0
        self._is_framed = False
        self._ends_with_connection = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask."""
        # Not an isinstance check: uvloop's transports have no such base class.
        cast("asyncio.WriteTransport", transport).write(self._request)

    def data_received(self, data: bytes) -> None:
        """Read on until the answer is whole."""
        self._bytes += len(data)
        if self._bytes > _MAX_ANSWER_BYTES:
            self._fail("answers without end")
            return
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._fail("answers something that is not HTTP")

    def connection_lost(self, exc: Exception | None) -> None:
        """Take the end of the connection for that of an answer that gave no length."""
        if self._ends_with_connection:
            self._succeed(self._parser.get_status_code())
        self._fail("closes the connection without an answer")

    def on_header(self, name: bytes, value: bytes) -> None:
        """Called by the parser."""
        self._is_framed |= name.lower() in (b"content-length", b"transfer-encoding")

    def on_headers_complete(self) -> None:
        """Called by the parser."""
        self._ends_with_connection = self._parser.get_status_code() >= 200 and not self._is_framed

    def on_body(self, body: bytes) -> None:
        """Called by the parser."""
        self._body.append(body)

    def on_message_complete(self) -> None:
        """Called by the parser, for an interim answer (103), too."""
        status: int = self._parser.get_status_code()
        if status >= 200:
            self._succeed(status)

    def _succeed(self, status: int) -> None:
        if not self._answer.done():
            self._answer.set_result((status, b"".join(self._body)))

    def _fail(self, words: str) -> None:
        if not self._answer.done():
            self._answer.set_exception(LookError(words))
