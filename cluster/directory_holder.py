"""The one who keeps the table of endpoints: in a Ray actor in production, in the process itself in tests."""

import asyncio
import contextlib
import math
from collections import deque
from dataclasses import replace

from cluster.clock import Clock
from cluster.directory import LEASE_S, Endpoint, Table
from cluster.outcomes import Batch
from cluster.traffic import Traffic

# A holder that has just been born knows nobody. Readers wait until every engine has had the time to report twice, so
# that a holder that was killed and came back does not make routers forget engines that are well.
SETTLE_S = 2.0
# How often a waiting reader asks whether a lease may have run out.
_EXPIRY_LOOK_S = 1.0
# Some 64 replicas tell once a second: a controller that comes back within half a minute misses nothing.
_MAX_BATCHES = 2000


class DirectoryHolder:
    """Implements `cluster.directory.Directory`. A renewal costs the same however long the table is."""

    def __init__(self, clock: Clock, settle_s: float = SETTLE_S) -> None:
        self._clock = clock
        self._settled_s = clock.now_s() + settle_s
        self._endpoints: dict[str, Endpoint] = {}
        self._reported_s: dict[str, float] = {}
        # No lease ends before it. Renewals only move ends away, so all leases need to be gone through just then.
        self._no_end_before_s = math.inf
        # Later than any version of a holder before, so that no reader takes a new table for the one it has.
        self._table = Table(int(clock.now_s() * 1000), ())
        self._changed = asyncio.Event()
        self._told: deque[Batch] = deque(maxlen=_MAX_BATCHES)

    async def report(self, *endpoints: Endpoint) -> None:
        """Add or renew endpoints."""
        now_s = self._clock.now_s()
        self._no_end_before_s = min(self._no_end_before_s, now_s + LEASE_S)
        changed = [each for each in endpoints if self._endpoints.get(each.endpoint_id) != each]
        for endpoint in endpoints:
            self._reported_s[endpoint.endpoint_id] = now_s
        self._endpoints |= {endpoint.endpoint_id: endpoint for endpoint in changed}
        if changed:
            self._publish()

    async def forget(self, *endpoint_ids: str) -> None:
        """Remove endpoints; no error if one is not there."""
        known = [endpoint_id for endpoint_id in endpoint_ids if endpoint_id in self._endpoints]
        for endpoint_id in known:
            del self._endpoints[endpoint_id], self._reported_s[endpoint_id]
        if known:
            self._publish()

    async def read(self, known_version: int, timeout_s: float) -> Table:
        """Return the table as soon as its version is another than `known_version`, else after `timeout_s`."""
        deadline_s = self._clock.now_s() + timeout_s
        while True:
            now_s = self._clock.now_s()
            if now_s > self._no_end_before_s:
                await self._forget_the_silent(now_s)
            is_settled = now_s >= self._settled_s
            if now_s >= deadline_s or (is_settled and self._table.version != known_version):
                return self._table
            wait_s = min(deadline_s - now_s, _EXPIRY_LOOK_S if is_settled else self._settled_s - now_s)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self._changed.wait()

    async def direct(self, traffic: Traffic) -> None:
        """Put splits in force. Those of an earlier generation than the ones in force change nothing."""
        before = self._table.traffic
        if before is None or traffic.generation > before.generation:
            self._put(replace(self._table, version=self._table.version + 1, traffic=traffic))

    async def tell(self, batch: Batch) -> None:
        """Leave word of what became of requests, until the rollouts' controller fetches it. The oldest goes first."""
        self._told.append(batch)

    async def fetch(self) -> tuple[Batch, ...]:
        """Take away all that was told."""
        told = tuple(self._told)
        self._told.clear()
        return told

    async def _forget_the_silent(self, now_s: float) -> None:
        await self.forget(*(name for name, then_s in self._reported_s.items() if now_s - then_s > LEASE_S))
        self._no_end_before_s = min(self._reported_s.values(), default=math.inf) + LEASE_S

    def _publish(self) -> None:
        rows = tuple(self._endpoints[endpoint_id] for endpoint_id in sorted(self._endpoints))
        self._put(Table(self._table.version + 1, rows, self._table.traffic))

    def _put(self, table: Table) -> None:
        self._table = table
        # Whoever waits holds the old event; those who come later wait for the next change.
        self._changed.set()
        self._changed = asyncio.Event()
