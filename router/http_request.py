"""One request as it was read, and what those who answer requests must know how to do."""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from router.client_connection import ClientConnection

_TOKEN = re.compile(rb"[!-~]{1,128}\Z")


class Request:
    """One complete request. `headers` have lower-case names; `target` is as sent."""

    __slots__ = ("body", "headers", "is_http_1_0", "keep_alive", "method", "target")

    def __init__(
        self,
        method: bytes,
        target: bytes,
        headers: dict[bytes, bytes],
        body: bytes,
        keep_alive: bool,
        is_http_1_0: bool,
    ) -> None:
        self.method = method
        self.target = target
        self.headers = headers
        self.body = body
        self.keep_alive = keep_alive
        self.is_http_1_0 = is_http_1_0


class Call(Protocol):
    """What answers one request and must hear about its client."""

    def client_gone(self) -> None:
        """The client hung up: stop the work."""

    def client_is_slow(self) -> None:
        """The client's buffer is full: stop producing."""

    def client_is_ready(self) -> None:
        """The client reads again."""

    def sweep(self, now_s: float) -> None:
        """Look at the clock: called about every half second."""


class Client(Protocol):
    """Whoever asked, as those who answer see it: `answer` alone, or `begin`, any number of `relay`, and `end`."""

    def answer(self, status: int, headers: bytes, body: bytes) -> None:
        """Send a whole answer. `headers` are complete lines."""

    def begin(self, status: int, headers: bytes, content_length: int | None) -> None:
        """Set an answer's head."""

    def relay(self, parts: Sequence[bytes]) -> None:
        """Send parts of the body as they are."""

    def end(self) -> None:
        """The body is complete."""

    def abort(self) -> None:
        """Leave at once, in the middle of an answer."""


class Application(Protocol):
    """Answers requests, and words the refusals that are made before there is a request."""

    def handle(self, request: Request, connection: "ClientConnection") -> Call | None:
        """Answer at once and return None, or return the call that will."""

    def refuse(self, status: int, message: str, request: Request | None, connection: "ClientConnection") -> None:
        """Answer a request that could not be read (`request` is None), or on which `handle` raised."""


class Limits:
    """What one client may take. Sizes in bytes, times in seconds."""

    __slots__ = ("client_timeout_s", "keep_alive_s", "max_body_bytes", "max_header_bytes")

    def __init__(
        self, max_header_bytes: int, max_body_bytes: int, client_timeout_s: float, keep_alive_s: float
    ) -> None:
        self.max_header_bytes = max_header_bytes
        self.max_body_bytes = max_body_bytes
        self.client_timeout_s = client_timeout_s
        self.keep_alive_s = keep_alive_s


def is_safe_token(value: bytes) -> bool:
    """Whether a header value is short printable ASCII without spaces, fit to be repeated in an answer or a log."""
    return _TOKEN.match(value) is not None
