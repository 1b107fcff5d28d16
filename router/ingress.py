"""The addresses of the OpenAI API and of operations, and which of ours answers each."""

import os
import time
from collections.abc import Iterator
from typing import Final, Protocol

import orjson

from router.answerer import Answerer
from router.client_connection import ClientConnection
from router.http_request import Call, Request, is_safe_token
from router.metrics import CONTENT_TYPE
from router.openai_error import JSON_LINE, NO_STORE, error_body
from router.openai_request import Route
from router.policy import AUTO

_POSTS: Final[dict[bytes, Route]] = {
    b"/v1/chat/completions": "chat",
    b"/v1/completions": "completions",
    b"/v1/embeddings": "embeddings",
}
_GETS: Final = (b"/v1/models", b"/healthz", b"/readyz", b"/metrics")
_ONE_MODEL: Final = b"/v1/models/"
_FEEDBACK: Final = b"/v1/feedback"
_IDS_AT_ONCE: Final = 256
_KINDS: Final = {408: "timeout_error", 500: "server_error"}


class Draining(Protocol):
    """Knows whether this replica is leaving."""

    @property
    def is_draining(self) -> bool:
        """Whether new requests should go elsewhere."""


class Desk(Protocol):
    """Takes what people say of answers."""

    def take(self, request: Request, id_line: bytes, connection: ClientConnection) -> Call | None:
        """Answer one request, now or later."""


class Ingress:
    """Takes each request to the one who answers it."""

    def __init__(self, answerer: Answerer, server: Draining) -> None:
        self._answerer = answerer
        self._server = server
        self._ids = _new_ids()
        self.feedback: Desk | None = None
        """Who takes feedback; mostly nobody."""
        self._started_s = int(time.time())

    def handle(self, request: Request, connection: ClientConnection) -> Call | None:
        """Answer one request."""
        id_line = self._id_line(request.headers.get(b"x-request-id"))
        path = request.target
        route = _POSTS.get(path)
        if route is None:
            path = _path_of(path)
            route = _POSTS.get(path)
        if route is not None:
            if request.method != b"POST":
                self._wrong_method(b"POST", id_line, connection)
                return None
            if request.headers.get(b"content-encoding", b"identity") != b"identity":
                self._error(
                    415, "Send the body as it is: content-encoding is not understood here.", id_line, connection
                )
                return None
            return self._answerer.answer(route, request, id_line, connection)
        if path in _GETS or path.startswith(_ONE_MODEL):
            if request.method in (b"GET", b"HEAD"):
                self._get(path, id_line, connection)
            else:
                self._wrong_method(b"GET, HEAD", id_line, connection)
            return None
        if path == _FEEDBACK:
            return self._take_feedback(request, id_line, connection)
        if path == b"*":
            # OPTIONS of the server as a whole, a ping in HTTP's own words (RFC 9110, 9.3.7); the reader lets no other
            # method come with it.
            connection.answer(200, b"allow: GET, HEAD, POST, OPTIONS\r\n%b" % id_line, b"")
            return None
        known = ", ".join(address.decode() for address in (*_POSTS, _FEEDBACK, *_GETS))
        self._error(404, f"Nothing is at this address. There are: {known}.", id_line, connection)
        return None

    def refuse(self, status: int, message: str, request: Request | None, connection: ClientConnection) -> None:
        """Answer a request that could not be read, or on which `handle` raised."""
        asked = None if request is None else request.headers.get(b"x-request-id")
        self._error(status, message, self._id_line(asked), connection)

    def _take_feedback(self, request: Request, id_line: bytes, connection: ClientConnection) -> Call | None:
        if request.method != b"POST":
            self._wrong_method(b"POST", id_line, connection)
        elif self.feedback is None:
            why = "Feedback is not taken here: no answers are kept. In fenzhen.yaml feedback.keep_ratio turns it on."
            self._error(404, why, id_line, connection)
        else:
            return self.feedback.take(request, id_line, connection)
        return None

    def _get(self, path: bytes, id_line: bytes, connection: ClientConnection) -> None:
        match path:
            case b"/healthz":
                connection.answer(200, JSON_LINE + id_line, b'{"status":"ok"}')
            case b"/readyz":
                status, state = self._readiness()
                connection.answer(status, JSON_LINE + id_line, orjson.dumps(state))
            case b"/metrics":
                lines = b"content-type: %b\r\n%b%b" % (CONTENT_TYPE, NO_STORE, id_line)
                connection.answer(200, lines, self._answerer.metrics.page())
            case b"/v1/models":
                data = [self._model(name) for name in (AUTO, *self._names())]
                connection.answer(200, JSON_LINE + id_line, orjson.dumps({"object": "list", "data": data}))
            case _:
                name = path.removeprefix(_ONE_MODEL).decode("utf-8", "replace")
                if name in (AUTO, *self._names()):
                    connection.answer(200, JSON_LINE + id_line, orjson.dumps(self._model(name)))
                else:
                    known = ", ".join((AUTO, *self._names()))
                    body = error_body(
                        f"That model does not exist here. Models that exist: {known}.",
                        "invalid_request_error", "model", "model_not_found",
                    )  # fmt: skip
                    connection.answer(404, JSON_LINE + id_line, body)

    def _names(self) -> list[str]:
        return self._answerer.roster.names()

    def _model(self, name: str) -> dict[str, object]:
        card: dict[str, object] = {
            "id": name, "object": "model", "created": self._started_s, "owned_by": "fenzhen",
        }  # fmt: skip
        base = self._answerer.roster.versions_of.get(name)
        # As vLLM says of an adapter which model it belongs to.
        return card if base is None else card | {"root": base, "parent": base}

    def _readiness(self) -> tuple[int, dict[str, object]]:
        """Ready means: a chat request to `auto` can be answered, if not by every model."""
        pools, now_s = self._answerer.pools, self._answerer.loop.time()
        models = {one.name: pools.of(one.name).state for one in self._answerer.roster.candidates}
        is_ready = any(pools.of(one.name).is_ready(now_s) for one in self._answerer.roster.chat)
        status = "draining" if self._server.is_draining else "ready" if is_ready else "starting"
        state: dict[str, object] = {"status": status, "models": models}
        ways = self._answerer.ways
        if ways is not None:
            state["traffic"] = {"generation": ways.splits.generation, "not_ready": ways.not_ready(now_s)}
        return (200 if status == "ready" else 503), state

    def _id_line(self, asked: bytes | None) -> bytes:
        """The answer's x-request-id line: the caller's id if it is fit to be repeated, else a new one."""
        if asked is not None and is_safe_token(asked):
            return b"x-request-id: %b\r\n" % asked
        return b"x-request-id: req-%b\r\n" % next(self._ids)

    def _wrong_method(self, allowed: bytes, id_line: bytes, connection: ClientConnection) -> None:
        message = f"This address takes {allowed.decode()}."
        body = error_body(message, "invalid_request_error", None, "method_not_allowed")
        connection.answer(405, b"%ballow: %b\r\n%b" % (JSON_LINE, allowed, id_line), body)

    def _error(self, status: int, message: str, id_line: bytes, connection: ClientConnection) -> None:
        kind = _KINDS.get(status, "invalid_request_error")
        connection.answer(status, JSON_LINE + id_line, error_body(message, kind, None, None))


def _path_of(target: bytes) -> bytes:
    """The path of a request target, also of one that names the host, which RFC 9112 has servers accept (3.2.2)."""
    path = target.partition(b"?")[0]
    if path.startswith(b"/"):
        return path
    _, mark, rest = path.partition(b"://")
    return b"/" + rest.partition(b"/")[2] if mark else path


def _new_ids() -> Iterator[bytes]:
    """Ids of 96 bits that nobody can guess: whoever knows an answer's id may judge it."""
    while True:
        # The system's own random numbers cost a call each, many at once hardly more.
        drawn = os.urandom(12 * _IDS_AT_ONCE).hex().encode("ascii")
        for at in range(0, len(drawn), 24):
            yield drawn[at : at + 24]
