"""What two parsers see in the same bytes: ours, and h11, which is written by others in another way."""

import asyncio
from collections.abc import Iterable
from typing import cast

import h11

from router.http_request import Limits, Request
from router.request_reader import RequestReader

# Method, target, body.
Seen = tuple[bytes, bytes, bytes]


class _Kept:
    """Keeps what has been read."""

    def __init__(self) -> None:
        self.requests: list[Request] = []

    def take(self, request: Request) -> None:
        self.requests.append(request)

    def ask_for_body(self) -> None:
        pass


class _StoppedClock:
    """A loop of which only the clock is asked."""

    def time(self) -> float:
        return 0.0


def read_by_us(pieces: Iterable[bytes]) -> tuple[list[Request], int | None]:
    """The requests, and the status of the refusal after them, if there is one."""
    kept = _Kept()
    reader = RequestReader(kept, Limits(32_768, 1 << 20, 30, 30), cast(asyncio.AbstractEventLoop, _StoppedClock()))
    for piece in pieces:
        reader.feed(piece)
    return kept.requests, None if reader.refusal is None else reader.refusal[0]


def read_by_h11(raw: bytes) -> list[Seen]:
    """The complete requests before the end, or before what it refuses."""
    seen: list[Seen] = []
    may_go_on = True
    # It refuses empty lines before a request, which RFC 9112, 2.2 would have ignored.
    while may_go_on and (raw := raw.lstrip(b"\r\n")):
        connection = h11.Connection(h11.SERVER)
        connection.receive_data(raw)
        try:
            request = connection.next_event()
            body = b""
            while isinstance(event := connection.next_event(), h11.Data):
                body += event.data
        except h11.ProtocolError:
            break
        if not isinstance(request, h11.Request) or not isinstance(event, h11.EndOfMessage):
            break
        seen.append((request.method, request.target, body))
        # It closes after every request of HTTP/1.0, even one that asks to stay.
        asks_to_stay = request.http_version == b"1.0" and (b"connection", b"keep-alive") in list(request.headers)
        may_go_on = asks_to_stay or connection.their_state is not h11.MUST_CLOSE
        raw = connection.trailing_data[0]
    return seen
