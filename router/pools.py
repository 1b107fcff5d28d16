"""The endpoints a replica may use, and which of them takes the next request.

Directory reports say who is ready; what this replica has seen itself (a refused or broken connection) counts sooner.
All state belongs to one event loop.
"""

import asyncio
from collections.abc import Collection
from typing import Final
from urllib.parse import urlsplit

from cluster.directory import Endpoint, Table
from router.engine_connection import EngineConnection

# An engine that broke a connection is left alone for this long, doubled each time up to the maximum, unless it reports
# a restart in between. Seconds.
FIRST_PAUSE_S: Final = 0.5
MAX_PAUSE_S: Final = 10.0
# vLLM's HTTP server closes idle connections after 5 s: use none that is about to be closed.
MAX_IDLE_S: Final = 4.0
# Told to a client when nothing better is known.
DEFAULT_RETRY_AFTER_S: Final = 5


class Slot:
    """One endpoint as this replica uses it."""

    __slots__ = ("_idle", "_is_closed", "endpoint", "failures", "host", "in_flight", "paused_until_s", "port")

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        address = urlsplit(endpoint.base_url)
        self.host = address.hostname or "127.0.0.1"
        self.port = address.port or 80
        self.in_flight = 0
        self.failures = 0
        self.paused_until_s = 0.0
        self._idle: list[EngineConnection] = []
        self._is_closed = False

    def is_usable(self, now_s: float) -> bool:
        """Whether a request may go there now."""
        return self.endpoint.state == "ready" and now_s >= self.paused_until_s

    def idle_connection(self, now_s: float) -> EngineConnection | None:
        """Take the connection that was used last, if one is open and young enough."""
        while self._idle:
            connection = self._idle.pop()
            if _is_reusable(connection, now_s):
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

    def succeeded(self) -> None:
        """An answer came."""
        self.failures = 0

    def failed(self, now_s: float) -> None:
        """It broke: leave it alone for a while."""
        self.paused_until_s = now_s + min(FIRST_PAUSE_S * 2**self.failures, MAX_PAUSE_S)
        self.failures = min(self.failures + 1, 10)

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
            if _is_reusable(connection, now_s):
                kept.append(connection)
            else:
                connection.abort()
        self._idle = kept


def _is_reusable(connection: EngineConnection, now_s: float) -> bool:
    return connection.is_idle and connection.is_open and now_s - connection.idle_since_s < MAX_IDLE_S


class Pools:
    """All slots, by model."""

    def __init__(self, models: Collection[str]) -> None:
        self._slots: dict[str, list[Slot]] = {model: [] for model in models}

    def update(self, table: Table) -> None:
        """Take over a new table. Slots that go on keep their connections and counts."""
        known = {slot.endpoint.endpoint_id: slot for slots in self._slots.values() for slot in slots}
        fresh: dict[str, list[Slot]] = {model: [] for model in self._slots}
        for endpoint in table.endpoints:
            if endpoint.model not in fresh:
                continue
            slot = known.pop(endpoint.endpoint_id, None)
            if slot is not None and slot.endpoint.base_url == endpoint.base_url:
                if endpoint.restarts != slot.endpoint.restarts:
                    slot.paused_until_s = 0.0
                    slot.succeeded()
                slot.endpoint = endpoint
            else:
                if slot is not None:
                    slot.close()
                slot = Slot(endpoint)
            fresh[endpoint.model].append(slot)
        for slot in known.values():
            slot.close()
        self._slots = fresh

    def slots(self, model: str) -> list[Slot]:
        """The slots of one model, in the table's order."""
        return self._slots[model]

    def pick(self, model: str, now_s: float, tried: Collection[Slot] = ()) -> Slot | None:
        """The usable slot with the fewest requests in flight, or None."""
        best: Slot | None = None
        for slot in self._slots[model]:
            if slot.is_usable(now_s) and slot not in tried and (best is None or slot.in_flight < best.in_flight):
                best = slot
        return best

    def is_ready(self, model: str, now_s: float) -> bool:
        """Whether a request for this model could go somewhere now."""
        return any(slot.is_usable(now_s) for slot in self._slots[model])

    def retry_after_s(self, model: str, now_s: float) -> int:
        """When asking for this model again is sensible, whole seconds, at least 1."""
        waits = [
            max(1, round(slot.paused_until_s - now_s))
            if slot.endpoint.state == "ready"
            else slot.endpoint.retry_after_s
            for slot in self._slots[model]
        ]
        return max(1, min(waits)) if waits else DEFAULT_RETRY_AFTER_S

    def state(self, model: str) -> str:
        """One word and a detail on a model's pool, for people."""
        slots = self._slots[model]
        if not slots:
            return "starting: no engine has reported yet"
        first = min(slots, key=lambda slot: ("ready", "starting", "restarting", "draining").index(slot.endpoint.state))
        endpoint = first.endpoint
        return f"{endpoint.state}: {endpoint.detail}" if endpoint.detail else endpoint.state

    def sweep(self, now_s: float) -> None:
        """Close connections that nobody has used for long."""
        for slots in self._slots.values():
            for slot in slots:
                slot.sweep(now_s)

    def close(self) -> None:
        """Close everything that is idle."""
        for slots in self._slots.values():
            for slot in slots:
                slot.close()
