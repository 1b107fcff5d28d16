"""Servers as processes on one port, one after another told to leave, under clients that never rest."""

import asyncio
import signal
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.e2e.conftest import free_port

ROOT = Path(__file__).parents[2]
ROUNDS = 4
FRESH = b"GET /healthz HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n"
KEPT = b"GET /healthz HTTP/1.1\r\nhost: a\r\n\r\n"
Process = asyncio.subprocess.Process

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the kernel offers no way to leave quietly")


class Clients:
    """What they saw: `answered`, or how a request was lost."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.seen: Counter[str] = Counter()
        self.is_over = False

    async def ask_on_fresh_connections(self) -> None:
        while not self.is_over:
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
                writer.write(FRESH)
                answer = await reader.read()
                writer.transport.abort()
            except OSError as error:
                self.seen[f"fresh: {error!r}"] += 1
                continue
            self.seen["answered" if answer.endswith(b'"ok"}') else f"fresh: {answer!r}"] += 1

    async def ask_on_a_kept_connection(self, think_s: float) -> None:
        """As a well-behaved client does: it keeps its connection until it is told that it ends."""
        while not self.is_over:
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
            is_kept = True
            while is_kept and not self.is_over:
                try:
                    writer.write(KEPT)
                    answer = await reader.readuntil(b'"ok"}')
                except (OSError, asyncio.IncompleteReadError) as error:
                    self.seen[f"kept: {error!r}"] += 1
                    break
                self.seen["answered"] += 1
                is_kept = b"connection: close" not in answer
                await asyncio.sleep(think_s)
            writer.transport.abort()


async def started(port: int) -> Process:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.fakes.router_process", str(port), stdout=asyncio.subprocess.PIPE, cwd=ROOT
    )
    assert process.stdout is not None
    assert await asyncio.wait_for(process.stdout.readline(), 30) == b"serving\n"
    return process


async def left(process: Process) -> int:
    process.send_signal(signal.SIGTERM)
    return await asyncio.wait_for(process.wait(), 20)


@asynccontextmanager
async def two_on(port: int) -> AsyncIterator[list[Process]]:
    """Two servers; the list may be changed, and whoever is in it in the end is told to leave."""
    processes = [await started(port), await started(port)]
    try:
        yield processes
    finally:
        for process in processes:
            assert await left(process) == 0


async def test_servers_that_are_replaced_one_by_one_lose_no_request() -> None:
    port = free_port()
    clients = Clients(port)
    async with two_on(port) as servers, asyncio.TaskGroup() as group:
        for _ in range(24):
            group.create_task(clients.ask_on_fresh_connections())
        for number in range(24):
            group.create_task(clients.ask_on_a_kept_connection(think_s=0.01 * (number % 6)))
        for _ in range(ROUNDS):
            servers.append(await started(port))
            assert await left(servers.pop(0)) == 0
        clients.is_over = True
    assert set(clients.seen) == {"answered"}
    assert clients.seen["answered"] > 1000


async def test_the_last_one_on_a_port_leaves_at_once_and_new_connections_are_refused_at_once() -> None:
    port = free_port()
    server = await started(port)
    began_s = time.monotonic()
    assert await left(server) == 0
    # Far below its drain time of 10 s; a process takes a while to end on a busy machine.
    assert time.monotonic() - began_s < 4
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", port)
