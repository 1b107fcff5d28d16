"""The endpoints that exist now: engines report themselves, routers read the table.

A report is a lease: an engine repeats it every `REPORT_INTERVAL_S`, and one that falls silent is forgotten after
`LEASE_S`. The table is small (one row an engine) and replaced whole, so a reader never sees half a change. Whoever
speaks for many reports them together: one call, and at most one change of the table.
"""

from dataclasses import dataclass
from typing import Literal, Protocol

from cluster.outcomes import Batch
from cluster.traffic import Traffic

REPORT_INTERVAL_S = 1.0
# Ten missed reports: a busy two-core machine delays one by seconds, and a router has its own breaker for the dead.
LEASE_S = 10.0

State = Literal["starting", "ready", "draining", "restarting"]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One engine as it reports itself."""

    endpoint_id: str
    """Stable over the engine's restarts: the replica's name, or model@host:port of a server that runs already."""
    model: str
    base_url: str
    """`http://host:port`, without a path."""
    state: State
    detail: str
    """What it is doing or what went wrong, one line for a person."""
    restarts: int
    """How often the engine process has been started again, or the server has come back."""
    pid: int | None
    """Process id of the engine's guard; None while there is no process, and for servers that run already."""
    pid_started_s: float | None
    """When that process started, seconds since the epoch, so that a reused pid is not mistaken for it."""
    retry_after_s: int
    """While not ready: seconds after which asking again is sensible."""
    adapters: tuple[str, ...] = ()
    """Served names of the adapters that are loaded and warm here, sorted."""
    adapter_faults: tuple[tuple[str, str], ...] = ()
    """Served names that could not be loaded here, and why, sorted."""
    max_adapters: int = 0
    """How many it may have loaded at once."""

    @property
    def is_external(self) -> bool:
        """Whether it is a server that ran already: no model's name has an @."""
        return "@" in self.endpoint_id


@dataclass(frozen=True, slots=True)
class Table:
    """All endpoints at one moment. `version` grows with every change."""

    version: int
    endpoints: tuple[Endpoint, ...]
    traffic: Traffic | None = None
    """The splits in force; None: nobody has said yet, and what was known before stays in force."""


class Directory(Protocol):
    """Where endpoints are reported and read. Raises `Unavailable` when it cannot be reached."""

    async def report(self, *endpoints: Endpoint) -> None:
        """Add or renew endpoints."""

    async def forget(self, *endpoint_ids: str) -> None:
        """Remove endpoints; no error if one is not there."""

    async def read(self, known_version: int, timeout_s: float) -> Table:
        """Return the table as soon as it is newer than `known_version`, else the same one after `timeout_s`."""

    async def direct(self, traffic: Traffic) -> None:
        """Put splits in force. Those of an earlier generation than the ones in force change nothing."""

    async def tell(self, batch: Batch) -> None:
        """Leave word of what became of requests, until the rollouts' controller fetches it. The oldest goes first."""

    async def fetch(self) -> tuple[Batch, ...]:
        """Take away all that was told."""
