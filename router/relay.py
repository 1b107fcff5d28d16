"""The way of a request that came through Ray's own ingress: on to this replica's own server, and its answer back.

    Ray's HTTP proxy --> RouterReplica.__call__ --> Relay --> the replica's own port on loopback

Bodies are streamed both ways. A client that hangs up cancels the task that answers it, which closes the connection to
the own server, which frees the engine.
"""

from collections.abc import AsyncIterator, Iterable
from typing import Final
from urllib.parse import quote

import httpx
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from cluster.errors import Unavailable
from cluster.settings import Router as RouterSettings
from router.openai_error import as_http

Headers = list[tuple[bytes, bytes]]

# Of one connection and not of the request (RFC 9110, 7.6.1). `expect` has been answered by whoever reads the body.
_HOP_BY_HOP: Final = frozenset(
    (
        b"connection", b"expect", b"keep-alive", b"proxy-authenticate", b"proxy-authorization", b"proxy-connection",
        b"te", b"trailer", b"transfer-encoding", b"upgrade",
    )
)  # fmt: skip
# Set by the server that the client talks to; the request id is the one that it passed on.
_SET_BEFORE: Final = frozenset((b"date", b"server", b"x-request-id"))


class Relay:
    """Passes requests on to one server."""

    def __init__(self, base_url: str, settings: RouterSettings) -> None:
        self._base_url = httpx.URL(base_url)
        self._client = httpx.AsyncClient(
            # The own server keeps the time of everything else.
            timeout=httpx.Timeout(None, connect=settings.connect_timeout_s),
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=100),
            # Not through a proxy of the environment.
            trust_env=False,
        )

    async def answer(self, request: Request) -> Response:
        """The own server's answer; a 503 if it cannot be reached."""
        headers = end_to_end(request.headers.raw)
        has_body = any(name in (b"content-length", b"transfer-encoding") for name, _ in request.headers.raw)
        onward = self._client.build_request(
            request.method,
            self._base_url.copy_with(raw_path=_target(request.scope)),
            headers=headers,
            content=request.stream() if has_body else None,
        )
        try:
            answer = await self._client.send(onward, stream=True)
        except ClientDisconnect:
            # Nobody is there to read it.
            return Response(status_code=400)
        except httpx.HTTPError as error:
            fault = Unavailable(f"The router does not answer its own replica ({type(error).__name__}).", 1)
            status, lines, body = as_http(fault)
            return _whole(status, lines, body)
        return _Relayed(answer)

    async def close(self) -> None:
        """Let go of all connections."""
        await self._client.aclose()


class _Relayed(StreamingResponse):
    """One answer on its way; whatever becomes of it, its connection is let go of."""

    def __init__(self, answer: httpx.Response) -> None:
        super().__init__(_bytes_of(answer), answer.status_code)
        self.raw_headers = [pair for pair in end_to_end(answer.headers.raw) if pair[0] not in _SET_BEFORE]
        self._answer = answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            await self._answer.aclose()


async def _bytes_of(answer: httpx.Response) -> AsyncIterator[bytes]:
    async for part in answer.aiter_raw():
        yield part


def end_to_end(headers: Iterable[tuple[bytes, bytes]]) -> Headers:
    """The headers that are meant for the other end, with lower-case names."""
    lowered = [(name.lower(), value) for name, value in headers]
    named = {
        word.strip().lower() for name, value in lowered if name == b"connection" for word in value.split(b",")
    }  # What a `connection` header names belongs to the connection as well.
    return [(name, value) for name, value in lowered if name not in _HOP_BY_HOP and name not in named]


def _target(scope: Scope) -> bytes:
    """Path and query as the client sent them."""
    path: bytes = scope.get("raw_path") or quote(scope["path"]).encode("ascii")
    query: bytes = scope.get("query_string", b"")
    return path + b"?" + query if query else path


def _whole(status: int, lines: bytes, body: bytes) -> Response:
    response = Response(body, status)
    pairs = (line.partition(b": ") for line in lines.splitlines())
    response.raw_headers = [(name, value) for name, _, value in pairs] + [(b"content-length", b"%d" % len(body))]
    return response
