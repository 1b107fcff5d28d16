"""Who is watched, and what is remembered of it in passing: times, sizes, and the bytes up to a bound.

    HTTP loop    Watched --Record--> a bounded queue
    own loop     Telling: what was it? -> Outcome -> the directory; Shadows: would the canary have done as well?

A watched exchange talks to its client through a `Watched`, which passes everything on at once and looks into nothing;
it tells it where it goes (`chosen`), what `failed` there before the first byte, and when the caller is `gone`.
"""

from collections import deque
from collections.abc import Mapping
from random import random
from typing import Final

from cluster.clock import Clock
from cluster.traffic import Traffic
from router.http_request import Client, Request, is_safe_token
from router.openai_request import ApiRequest
from router.outcome_record import GROUP, Asked, Record
from router.overheard import NO_LEARNING
from router.policy import AUTO, Need
from router.watched import MAX_RAW_BYTES, Watched

# Of all requests of one replica, those included that wait to be looked into.
MAX_HELD_BYTES: Final = 64 * 1024 * 1024
# So many wait between two looks; far more than a replica answers in that time.
MAX_RECORDS: Final = 20_000
# Adapters' names come from the table, so there are few; this bounds them whatever the table says.
MAX_WANTED: Final = 1024
MAX_GROUP_BYTES: Final = 32
# Looking into one takes up to a quarter of a millisecond: at twenty a second half a percent of a core, at any load.
DRIFT_GAP_S: Final = 0.05


class Watching:
    """Chooses the exchanges to watch. Lives on the HTTP loop; what it says of itself may be called from another."""

    def __init__(
        self,
        clock: Clock,
        parameters_b: Mapping[str, float],
        drift_ratio: float,
        max_held_bytes: int = MAX_HELD_BYTES,
        drift_gap_s: float = DRIFT_GAP_S,
    ) -> None:
        """`parameters_b`: sizes of the served models in 10^9; `drift_ratio`: see `Rollouts`; no two requests are
        drawn for drift within `drift_gap_s`."""
        # Not the loop's own: uvloop looks at its clock once a turn, and counts whole milliseconds.
        self.now_s = clock.now_s
        self.parameters_b: Final = dict(parameters_b)
        self._drift_ratio = drift_ratio
        self._drift_gap_s = drift_gap_s
        self._drift_drawn_s = -drift_gap_s
        self._max_held_bytes = max_held_bytes
        self._names: frozenset[str] = frozenset()
        self._records: deque[Record] = deque()
        self._wanted: dict[str, int] = {}
        self.held_bytes = 0
        # What others let go of, on whatever thread: only this loop adds and subtracts.
        self._freed: deque[int] = deque()
        self.dropped = 0
        """Records for which there was no room. Only ever grows."""
        self.generation = -1
        """Of the traffic that this replica acts by; -1: none yet."""

    def update(self, traffic: Traffic) -> None:
        """Take over the splits in force. On the HTTP loop, with each table that has traffic."""
        names = {split.name for split in traffic.splits if split.is_watched}
        # Whoever lets us choose may be sent to any of them.
        self._names = frozenset(names | {AUTO}) if names else frozenset()
        self.generation = traffic.generation

    def client_for(
        self, request: Request, api_request: ApiRequest, need: Need | None, client: Client
    ) -> "Watched | None":
        """The client that an exchange should talk to; None: nobody wants to know what becomes of it."""
        is_watched = api_request.model in self._names
        # By chance and not by the request's id: nobody chooses what is counted.
        is_drift = random() < self._drift_ratio and self._is_time_for_drift()  # noqa: S311  No secret hangs on it.
        if not is_watched and not is_drift:
            return None
        may_copy = NO_LEARNING not in request.headers
        if not is_watched and not may_copy:
            return None
        while self._freed:
            self.held_bytes -= self._freed.popleft()
        return Watched(client, self, self._asked(request, api_request, may_copy), is_drift and may_copy)

    def _is_time_for_drift(self) -> bool:
        now_s = self.now_s()
        if now_s - self._drift_drawn_s < self._drift_gap_s:
            return False
        self._drift_drawn_s = now_s
        return True

    def wanted(self, served_name: str) -> None:
        """One more request for an adapter, loaded or not."""
        count = self._wanted.get(served_name, 0)
        if count or len(self._wanted) < MAX_WANTED:
            self._wanted[served_name] = count + 1

    # ---- from the other loop ---------------------------------------------------------------------------------------

    def take(self) -> list[Record]:
        """Take away what has been seen since the last call. Each record is to be given back with `free`."""
        return [self._records.popleft() for _ in range(len(self._records))]

    def free(self, record: Record) -> None:
        """A record has been looked into, and its bytes are let go of."""
        if record.held_bytes:
            self._freed.append(record.held_bytes)

    def wanted_so_far(self) -> dict[str, int]:
        """How often each adapter was asked for since the beginning."""
        return self._wanted.copy()

    # ---- for `Watched` ---------------------------------------------------------------------------------------------

    def has_room(self, more_bytes: int) -> bool:
        """Whether so much more may be held."""
        return self.held_bytes + more_bytes <= self._max_held_bytes

    def put(self, record: Record) -> None:
        """One more record."""
        if len(self._records) < MAX_RECORDS:
            self._records.append(record)
        else:
            self.dropped += 1
            self.free(record)

    def let_go(self, held_bytes: int) -> None:
        """Whoever held so much is gone. May be called from any thread."""
        self._freed.append(held_bytes)

    def _asked(self, request: Request, api_request: ApiRequest, may_copy: bool) -> Asked:
        raw, group = request.body, request.headers.get(GROUP, b"")
        if group and (len(group) > MAX_GROUP_BYTES or not is_safe_token(group)):
            group = b""
        size, task = len(raw), ""
        if size > MAX_RAW_BYTES or not self.has_room(size):
            raw, task = b"", _task_of_bytes(raw)
        return Asked(api_request.model, api_request.route, api_request.is_stream, raw, size, group, may_copy, task)


def _task_of_bytes(raw: bytes) -> str:
    """The kind of task of a body that is too long to be held, as far as its keys tell it."""
    if b'"tools"' in raw:
        return "tools"
    return "json" if b'"json_schema"' in raw or b'"json_object"' in raw else ""
