"""The table of endpoints as a Ray actor, and the client that engines and routers hold."""

import asyncio
from typing import Any

import ray
from ray.exceptions import RayError

from cluster.clock import MonotonicClock
from cluster.directory import Endpoint, Table
from cluster.directory_holder import DirectoryHolder
from cluster.errors import Unavailable
from cluster.outcomes import Batch
from cluster.traffic import Traffic

# A call inside one machine takes milliseconds; the actor's own restart takes a few seconds.
_CALL_TIMEOUT_S = 10.0


class _DirectoryActor:
    """`DirectoryHolder` behind Ray's remote calls."""

    def __init__(self) -> None:
        self._holder = DirectoryHolder(MonotonicClock())

    async def report(self, endpoints: tuple[Endpoint, ...]) -> None:
        await self._holder.report(*endpoints)

    async def forget(self, endpoint_ids: tuple[str, ...]) -> None:
        await self._holder.forget(*endpoint_ids)

    async def read(self, known_version: int, timeout_s: float) -> Table:
        return await self._holder.read(known_version, timeout_s)

    async def direct(self, traffic: Traffic) -> None:
        await self._holder.direct(traffic)

    async def tell(self, batch: Batch) -> None:
        await self._holder.tell(batch)

    async def fetch(self) -> tuple[Batch, ...]:
        return await self._holder.fetch()


class RayDirectory:
    """Implements `cluster.directory.Directory` over an actor. Can be sent to other Ray processes."""

    def __init__(self, actor: Any) -> None:
        self._actor = actor

    async def report(self, *endpoints: Endpoint) -> None:
        """Add or renew endpoints."""
        # As one argument: Ray packs each argument by itself.
        await self._call(self._actor.report.remote(endpoints), _CALL_TIMEOUT_S)

    async def forget(self, *endpoint_ids: str) -> None:
        """Remove endpoints; no error if one is not there."""
        await self._call(self._actor.forget.remote(endpoint_ids), _CALL_TIMEOUT_S)

    async def read(self, known_version: int, timeout_s: float) -> Table:
        """Return the table as soon as its version is another than `known_version`, else after `timeout_s`."""
        table = await self._call(self._actor.read.remote(known_version, timeout_s), timeout_s + _CALL_TIMEOUT_S)
        assert isinstance(table, Table)
        return table

    async def direct(self, traffic: Traffic) -> None:
        """Put splits in force. Those of an earlier generation than the ones in force change nothing."""
        await self._call(self._actor.direct.remote(traffic), _CALL_TIMEOUT_S)

    async def tell(self, batch: Batch) -> None:
        """Leave word of what became of requests, until the rollouts' controller fetches it. The oldest goes first."""
        await self._call(self._actor.tell.remote(batch), _CALL_TIMEOUT_S)

    async def fetch(self) -> tuple[Batch, ...]:
        """Take away all that was told."""
        told = await self._call(self._actor.fetch.remote(), _CALL_TIMEOUT_S)
        assert isinstance(told, tuple)
        return told

    async def _call(self, reference: Any, timeout_s: float) -> object:
        try:
            async with asyncio.timeout(timeout_s):
                return await reference
        except (RayError, TimeoutError) as error:
            raise Unavailable(f"the table of endpoints cannot be reached ({type(error).__name__})") from error


def start_directory() -> RayDirectory:
    """Start the actor. It lives as long as the process that calls this, and is born again if it is killed."""
    actor = (
        ray.remote(_DirectoryActor)
        # Readers wait inside: every router replica and the supervisor hold one call open all the time.
        .options(num_cpus=0, max_restarts=-1, max_task_retries=1, max_concurrency=1000)
        .remote()
    )
    return RayDirectory(actor)
