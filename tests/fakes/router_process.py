"""A router's server as a process of its own, as a replica is: `python -m tests.fakes.router_process PORT`.

Serves without engines. Says `serving` when it listens, drains on SIGTERM, and ends.
"""

import asyncio
import signal
import sys

import uvloop

from cluster.settings import Router as RouterSettings
from router.estimate import Judge
from router.judge_file import DEFAULT, load
from router.server import RouterServer
from tests.fakes.stack import SMALL


async def serve(port: int) -> None:
    """Serve until told to leave."""
    loop = asyncio.get_running_loop()
    leaving = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, leaving.set)
    judge = Judge(load(DEFAULT))
    server = RouterServer((SMALL,), RouterSettings(port=port, drain_s=10, drain_idle_s=1), loop, judge)
    await server.start()
    print("serving", flush=True)
    await leaving.wait()
    await server.drain()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))
