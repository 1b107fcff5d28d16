"""An engine's stand-in that can leave well, as vLLM does: `python -m loadtests.router_bench.leaving`.

On SIGTERM it takes no new connections, closes idle ones, ends its streams, and then is gone. It prints one line of
JSON with its port. In all else it is `stand_in`.
"""

import argparse
import asyncio
import json
import os
import signal
from typing import Final

import uvloop

from loadtests.router_bench.stand_in import Connection, Counts, options_of

_LOOK_S: Final = 0.02


class LeavingConnection(Connection):
    """One connection that leaves when it is told to and nothing is in flight on it."""

    __slots__ = ("_all", "_is_leaving")

    def __init__(
        self, everyone: set["LeavingConnection"], counts: Counts, options: argparse.Namespace,
        loop: asyncio.AbstractEventLoop,
    ) -> None:  # fmt: skip
        super().__init__(counts, 0, options, loop)
        self._all = everyone
        self._is_leaving = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._all.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._all.discard(self)

    def leave(self) -> None:
        """Close, now or after the stream that is open."""
        self._is_leaving = True
        if not self._chunks and self._transport is not None:
            self._transport.close()

    def _step(self) -> None:
        super()._step()
        if self._is_leaving and not self._chunks and self._transport is not None:
            self._transport.close()


async def serve(models: str) -> None:
    """Listen until SIGTERM, then leave."""
    loop = asyncio.get_running_loop()
    options = options_of(["--free-ports", "1", "--models", models])
    counts, everyone = Counts(), set[LeavingConnection]()
    stop = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    server = await loop.create_server(lambda: LeavingConnection(everyone, counts, options, loop), "127.0.0.1", 0)
    print(json.dumps({"port": server.sockets[0].getsockname()[1], "pid": os.getpid()}), flush=True)
    await stop.wait()
    server.close()
    for connection in list(everyone):
        connection.leave()
    while everyone:
        await asyncio.sleep(_LOOK_S)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m loadtests.router_bench.leaving")
    parser.add_argument("--models", default="small,large", help="what /v1/models lists")
    uvloop.run(serve(parser.parse_args().models))
