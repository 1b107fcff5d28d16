"""The endpoints that exist now: engines report themselves, routers read the table.

A report is a lease: an engine repeats it every `REPORT_INTERVAL_S`, and one that falls silent is forgotten after
`LEASE_S`. The table is small (one row an engine) and replaced whole, so a reader never sees half a change.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

REPORT_INTERVAL_S = 1.0
# Ten missed reports: a busy two-core machine delays one by seconds, and a router has its own breaker for the dead.
LEASE_S = 10.0

State = Literal["starting", "ready", "draining", "restarting"]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One engine as it reports itself."""

    endpoint_id: str
    """Stable over the engine's restarts: the replica's name."""
    model: str
    base_url: str
    """`http://host:port`, without a path."""
    state: State
    detail: str
    """What it is doing or what went wrong, one line for a person."""
    restarts: int
    """How often the engine process has been started again."""
    pid: int | None
    """Process id of the engine's guard; None while there is no process."""
    pid_started_s: float | None
    """When that process started, seconds since the epoch, so that a reused pid is not mistaken for it."""
    retry_after_s: int
    """While not ready: seconds after which asking again is sensible."""


@dataclass(frozen=True, slots=True)
class Table:
    """All endpoints at one moment. `version` grows with every change."""

    version: int
    endpoints: tuple[Endpoint, ...]


class Directory(Protocol):
    """Where endpoints are reported and read. Raises `Unavailable` when it cannot be reached."""

    async def report(self, endpoint: Endpoint) -> None:
        """Add or renew one endpoint."""

    async def forget(self, endpoint_id: str) -> None:
        """Remove one endpoint; no error if it is not there."""

    async def read(self, known_version: int, timeout_s: float) -> Table:
        """Return the table as soon as it is newer than `known_version`, else the same one after `timeout_s`."""


@dataclass(frozen=True, slots=True)
class Lease:
    """One row of the table with the moment of its last report, seconds on the holder's monotonic clock."""

    endpoint: Endpoint
    reported_s: float


def renewed(leases: Sequence[Lease], endpoint: Endpoint, now_s: float) -> tuple[Lease, ...]:
    """The leases after one report, in order of endpoint id."""
    kept = [lease for lease in leases if lease.endpoint.endpoint_id != endpoint.endpoint_id]
    return tuple(sorted([*kept, Lease(endpoint, now_s)], key=lambda lease: lease.endpoint.endpoint_id))


def unexpired(leases: Sequence[Lease], now_s: float) -> tuple[Lease, ...]:
    """The leases that were renewed within `LEASE_S`."""
    return tuple(lease for lease in leases if now_s - lease.reported_s <= LEASE_S)
