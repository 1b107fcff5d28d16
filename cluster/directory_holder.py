"""The one who keeps the table of endpoints: in a Ray actor in production, in the process itself in tests."""

import asyncio
import contextlib

from cluster.clock import Clock
from cluster.directory import Endpoint, Lease, Table, renewed, unexpired

# A holder that has just been born knows nobody. Readers wait until every engine has had the time to report twice, so
# that a holder that was killed and came back does not make routers forget engines that are well.
SETTLE_S = 2.0
# How often a waiting reader looks for leases that have run out.
_EXPIRY_LOOK_S = 1.0


class DirectoryHolder:
    """Implements `cluster.directory.Directory`."""

    def __init__(self, clock: Clock, settle_s: float = SETTLE_S) -> None:
        self._clock = clock
        self._settled_s = clock.now_s() + settle_s
        self._leases: tuple[Lease, ...] = ()
        self._version = 0
        self._changed = asyncio.Event()

    async def report(self, endpoint: Endpoint) -> None:
        """Add or renew one endpoint."""
        self._replace(renewed(self._leases, endpoint, self._clock.now_s()))

    async def forget(self, endpoint_id: str) -> None:
        """Remove one endpoint; no error if it is not there."""
        self._replace(tuple(lease for lease in self._leases if lease.endpoint.endpoint_id != endpoint_id))

    async def read(self, known_version: int, timeout_s: float) -> Table:
        """Return the table as soon as its version is another than `known_version`, else after `timeout_s`."""
        deadline_s = self._clock.now_s() + timeout_s
        while True:
            now_s = self._clock.now_s()
            self._replace(unexpired(self._leases, now_s))
            is_settled = now_s >= self._settled_s
            if now_s >= deadline_s or (is_settled and self._version != known_version):
                return Table(self._version, tuple(lease.endpoint for lease in self._leases))
            wait_s = min(deadline_s - now_s, _EXPIRY_LOOK_S if is_settled else self._settled_s - now_s)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self._changed.wait()

    def _replace(self, leases: tuple[Lease, ...]) -> None:
        is_change = [lease.endpoint for lease in leases] != [lease.endpoint for lease in self._leases]
        self._leases = leases
        if is_change:
            self._version += 1
            # Whoever waits holds the old event; those who come later wait for the next change.
            self._changed.set()
            self._changed = asyncio.Event()
