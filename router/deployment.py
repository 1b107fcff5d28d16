"""A router replica: placed, watched, updated and drained by Ray Serve, HTTP on a port of its own.

The server runs on an event loop (uvloop) in a thread of its own, because the replica's main loop belongs to Ray and
must not wait behind requests, nor requests behind it. Values cross between the loops only by `call_soon_threadsafe`.
"""

import asyncio
import logging
import threading
from typing import Final

import uvloop

from cluster.directory import Directory
from cluster.errors import OurFault, Unavailable
from cluster.settings import Model
from cluster.settings import Router as RouterSettings
from router.server import RouterServer

# A long poll: the directory answers at once when something changes.
_READ_TIMEOUT_S: Final = 5.0
# A directory that cannot be reached is asked again after this long; the last table stays in force meanwhile.
_READ_RETRY_S: Final = 1.0
_START_TIMEOUT_S: Final = 30.0

_log = logging.getLogger(__name__)


class RouterReplica:
    """Wrapped by Ray Serve in `fenzhen.app`."""

    # Ray Serve awaits an async constructor, which lets it begin following the directory on the right loop.
    async def __init__(  # type: ignore[misc]
        self, cards: tuple[Model, ...], settings: RouterSettings, directory: Directory
    ) -> None:
        self._directory = directory
        self._loop = uvloop.new_event_loop()
        self._server = RouterServer(cards, settings, self._loop)
        self._thread = threading.Thread(target=self._run_loop, name="router-http", daemon=True)
        self._thread.start()
        starting = asyncio.run_coroutine_threadsafe(self._server.start(), self._loop)
        try:
            await asyncio.wait_for(asyncio.wrap_future(starting), _START_TIMEOUT_S)
        except BaseException:
            self._loop.call_soon_threadsafe(self._loop.stop)
            raise
        self._following = asyncio.get_running_loop().create_task(self._follow_directory())

    async def check_health(self) -> None:
        """Called by Ray Serve every few seconds. Raises if this replica should be replaced."""
        if self._following.done():
            raise OurFault("the router no longer follows the table of endpoints")
        if not self._thread.is_alive() or not (self._server.is_serving or self._server.is_draining):
            raise OurFault("the router's HTTP server has stopped")

    async def __del__(self) -> None:
        """Awaited by Ray Serve on a graceful stop."""
        self._following.cancel()
        draining = asyncio.run_coroutine_threadsafe(self._server.drain(), self._loop)
        await asyncio.wrap_future(draining)
        self._loop.call_soon_threadsafe(self._loop.stop)

    async def _follow_directory(self) -> None:
        version = -1
        while True:
            try:
                table = await self._directory.read(version, _READ_TIMEOUT_S)
            except Unavailable as error:
                _log.warning("the table of endpoints cannot be read, the last one stays in force: %s", error)
                await asyncio.sleep(_READ_RETRY_S)
                continue
            if table.version != version:
                version = table.version
                self._loop.call_soon_threadsafe(self._server.update, table)

    def _run_loop(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()
        self._loop.close()
