"""One endpoint as this replica uses it: its kept connections, and the breaker in front of it.

The breaker: an endpoint that breaks a connection is left alone for a while, longer each time; after the pause it is on
trial, one request at a time as long as others can answer, until an answer has come.
"""

import asyncio
from math import inf
from typing import Final
from urllib.parse import urlsplit

from cluster.directory import Endpoint
from router.engine_connection import EngineConnection

# An engine that broke a connection is left alone for this long, doubled each time up to the maximum, unless it reports
# a restart in between. Seconds.
FIRST_PAUSE_S: Final = 0.5
MAX_PAUSE_S: Final = 10.0
# vLLM's HTTP server closes idle connections after 5 s: use none that is about to be closed.
MAX_IDLE_S: Final = 4.0
# One question that an engine cannot bear is the question's fault; so many answers in a row are the engine's.
MAX_BAD_ANSWERS: Final = 5


class Slot:
    """One endpoint with its connections, its requests in flight and its breaker."""

    __slots__ = (
        "_idle", "_is_closed", "address", "bad_answers", "endpoint", "failures", "host", "in_flight", "is_ready",
        "paused_until_s", "port", "usable_from_s",
    )  # fmt: skip

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self.is_ready = endpoint.state == "ready"
        """Whether the endpoint reports so; the breaker may think otherwise."""
        address = urlsplit(endpoint.base_url)
        self.host = address.hostname or "127.0.0.1"
        self.port = address.port or 80
        self.address = address.netloc.encode("ascii")
        """As the header `host` wants it: an IPv6 address keeps its brackets."""
        self.in_flight = 0
        self.failures = 0
        """Broken connections since the last answer."""
        self.bad_answers = 0
        """Answers of an engine's own failure (500, 502, ...) since the last good one."""
        self.paused_until_s = 0.0
        self.usable_from_s = 0.0 if self.is_ready else inf
        """From when on a request may go there: report and breaker in one number, which every choice compares."""
        self._idle: list[EngineConnection] = []
        self._is_closed = False

    def report(self, endpoint: Endpoint) -> None:
        """Take over what the endpoint says of itself now."""
        if endpoint.restarts != self.endpoint.restarts:
            self.paused_until_s = 0.0
            self.succeeded()
        self.endpoint = endpoint
        self.is_ready = endpoint.state == "ready"
        self.usable_from_s = self.paused_until_s if self.is_ready else inf

    # ---- breaker ---------------------------------------------------------------------------------------------------

    @property
    def is_on_trial(self) -> bool:
        """Whether it has failed lately and a request is finding out whether it is well again."""
        return self.failures > 0 and self.in_flight > 0

    def succeeded(self) -> None:
        """An answer came."""
        self.failures = 0
        self.bad_answers = 0

    def failed(self, now_s: float) -> None:
        """It broke: leave it alone for a while."""
        self.paused_until_s = now_s + min(FIRST_PAUSE_S * 2**self.failures, MAX_PAUSE_S)
        if self.is_ready:
            self.usable_from_s = self.paused_until_s
        self.failures = min(self.failures + 1, 10)

    def answered_badly(self, now_s: float, *, is_replaceable: bool) -> None:
        """It answered that it has failed. The last usable endpoint is never left alone for that."""
        self.bad_answers += 1
        if self.bad_answers >= MAX_BAD_ANSWERS and is_replaceable:
            self.failed(now_s)

    # ---- connections -----------------------------------------------------------------------------------------------

    def idle_connection(self, now_s: float) -> EngineConnection | None:
        """Take the connection that was used last, if one is open and young enough."""
        while self._idle:
            connection = self._idle.pop()
            if connection.is_idle and now_s - connection.idle_since_s < MAX_IDLE_S:
                return connection
            connection.abort()
        return None

    def give_back(self, connection: EngineConnection, now_s: float) -> None:
        """Keep a connection for the next request if it can carry one."""
        if self._is_closed:
            connection.abort()
        elif connection.is_idle:
            connection.idle_since_s = now_s
            self._idle.append(connection)

    async def connect(self, timeout_s: float) -> EngineConnection:
        """Open a new connection. Raises OSError or TimeoutError."""
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(timeout_s):
            _, connection = await loop.create_connection(EngineConnection, self.host, self.port)
        return connection

    def close(self) -> None:
        """Close what is idle; exchanges in flight go on, and their connections close after them."""
        self._is_closed = True
        for connection in self._idle:
            connection.abort()
        self._idle.clear()

    def sweep(self, now_s: float) -> None:
        """Close connections that have been idle too long."""
        kept = []
        for connection in self._idle:
            if connection.is_idle and now_s - connection.idle_since_s < MAX_IDLE_S:
                kept.append(connection)
            else:
                connection.abort()
        self._idle = kept
