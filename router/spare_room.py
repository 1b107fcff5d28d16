"""Room in the pools for questions that can wait. May be asked from another loop than the one that serves."""

import asyncio
from typing import Final

from router.pools import Pools
from router.slot import Slot


class Busy(Exception):
    """The model has enough to do, or nobody of it is ready."""


class SpareRoom:
    """Gives out engines that have little to do, and counts what goes there among their requests in flight."""

    def __init__(self, pools: Pools, below_ratio: float, loop: asyncio.AbstractEventLoop) -> None:
        """`loop` is the one that serves: all state of the pools belongs to it."""
        self._pools: Final = pools
        self._below_ratio = below_ratio
        self._loop = loop

    async def take(self, model: str) -> Slot:
        """An engine of the model for one question, to be given back. Raises Busy."""
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(self._taken(model), self._loop))

    def give_back(self, model: str, slot: Slot) -> None:
        """The question is answered or given up."""
        self._loop.call_soon_threadsafe(self._pools.of(model).release, slot)

    async def _taken(self, model: str) -> Slot:
        now_s = self._loop.time()
        pool = self._pools.of(model)
        seen = pool.seen(now_s)
        slot = pool.pick(now_s) if seen.in_flight < self._below_ratio * seen.capacity else None
        if slot is None:
            raise Busy
        pool.take(slot)
        return slot
