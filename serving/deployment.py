"""One engine as a replica: what Ray Serve wraps. Ray itself is not known here.

Ray Serve calls the constructor and waits for it, `check_health` every few seconds, and on a graceful stop awaits
`__del__`. All of them run on one event loop, which need not be in the process's main thread.
"""

import asyncio
import os
import uuid
from pathlib import Path

from cluster.directory import Directory
from cluster.errors import OurFault
from cluster.settings import Model, Pool
from serving.engine import Engine, Plan
from serving.engine_args import Command, device_of, engine_command, installed_build
from serving.health import Limits

# A third failure in a row is not chance; the engine's own words then go to whoever asked for the start.
FAILED_STARTS = 3
LOOPBACK = "127.0.0.1"


def plan_for(model: Model, pool: Pool, folder: Path, log_dir: Path, endpoint_id: str, host: str = LOOPBACK) -> Plan:
    """What one engine of a pool is told. Raises UserError if its settings cannot be."""
    device = device_of(pool, installed_build()[0])

    def command(port: int) -> Command:
        return engine_command(model, pool, folder, device, host, port, os.environ)

    return Plan(
        endpoint_id=endpoint_id,
        model=model.name,
        host=host,
        command=command,
        log_path=log_dir / f"{endpoint_id}.log",
        limits=Limits(pool.ready_timeout_s, pool.unresponsive_s),
        drain_s=pool.drain_s,
        max_adapters=pool.max_adapters,
        task=model.task,
    )


class EngineReplica:
    """Holds one engine for as long as it lives itself."""

    async def __init__(  # type: ignore[misc]  # Ray Serve awaits a constructor.
        self,
        model: Model,
        pool: Pool,
        folder: Path,
        log_dir: Path,
        directory: Directory,
        endpoint_id: str | None = None,
    ) -> None:
        """Return once the engine is ready. Raises OurFault with its own words after several failed starts."""
        name = endpoint_id or f"{model.name}-{uuid.uuid4().hex[:8]}"
        self._engine = Engine(plan_for(model, pool, folder, log_dir, name), directory)
        self._supervision = asyncio.create_task(self._engine.run(), name=f"engine {name}")
        try:
            await self._engine.wait_ready(FAILED_STARTS)
        except BaseException:
            # Also when the start is cancelled: an engine whose replica never came to be has no owner.
            self._supervision.cancel()
            await asyncio.wait({self._supervision})
            raise

    async def check_health(self) -> None:
        """Raise OurFault if nobody looks after the engine any more. A restart of the engine is no reason."""
        if not self._supervision.done():
            return
        if self._supervision.cancelled():
            raise OurFault("the engine's supervision was cancelled")
        raise OurFault(f"the engine's supervision has ended: {self._supervision.exception() or 'it was stopped'}")

    async def __del__(self) -> None:
        """Drain and end the engine; nothing of it is left then. Ray Serve awaits this on a graceful stop."""
        await self._engine.stop()
