"""A proxy for one engine that passes bytes on, and does wrong when it is told to."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

Fault = Callable[[int, bytes], bytes | None]
"""What becomes of the bytes that an engine sends, given how many reads there were before; None: cut the connection."""


class FaultyProxy:
    """Each client connection has one of its own to the engine."""

    def __init__(self, engine: int, fault: Fault, twice: int) -> None:
        self._engine = engine
        self._fault = fault
        self._twice = twice
        self._reads = 0
        self._requests = 0
        self.relays: set[asyncio.Task[None]] = set()

    async def relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection until it ends."""
        task = asyncio.current_task()
        assert task is not None
        self.relays.add(task)
        engine_reader, engine_writer = await asyncio.open_connection("127.0.0.1", self._engine)
        backward = asyncio.create_task(self._back(engine_reader, writer))
        with suppress(ConnectionError):
            while data := await reader.read(65536):
                number, self._requests = self._requests, self._requests + 1
                if number == self._twice:
                    await self._ask_once_more(data)
                engine_writer.write(data)
        engine_writer.close()
        await backward

    async def _back(self, engine_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while data := await engine_reader.read(65536):
                number, self._reads = self._reads, self._reads + 1
                told = self._fault(number, data)
                if told is None:
                    break
                writer.write(told)
        writer.close()

    async def _ask_once_more(self, data: bytes) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._engine)
        writer.write(data)
        await reader.read(1)
        writer.close()


@asynccontextmanager
async def faulty_proxy(engine: int, fault: Fault, twice: int = -1) -> AsyncIterator[int]:
    """Serve on a free port. The request with the number `twice` goes to the engine one time too many."""
    proxy = FaultyProxy(engine, fault, twice)
    server = await asyncio.start_server(proxy.relay, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]
    # Its clients have gone: each relay sees that and ends.
    async with asyncio.timeout(5):
        await asyncio.gather(*proxy.relays)
