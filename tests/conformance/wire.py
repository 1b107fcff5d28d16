"""Our HTTP server with an application that keeps what it is given, and clients that say bytes to it."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from router.client_connection import ClientConnection
from router.http_request import Call, Limits, Request

ANSWER = re.compile(rb"HTTP/1\.1 (\d{3}) [^\r\n]*\r\n")
_SWEEP_S = 0.05
# How long nothing may come before a client believes that nothing will.
_QUIET_S = 0.03


@dataclass
class Keeper:
    """Answers every request with 200 and an empty body, and keeps it."""

    requests: list[Request] = field(default_factory=list)

    def handle(self, request: Request, connection: ClientConnection) -> Call | None:
        self.requests.append(request)
        connection.answer(200, b"", b"")
        return None

    def refuse(self, status: int, message: str, request: Request | None, connection: ClientConnection) -> None:
        connection.answer(status, b"", message.encode())


@dataclass
class Wire:
    """One server."""

    port: int
    keeper: Keeper
    connections: set[ClientConnection]

    async def say(self, *pieces: bytes, wait_s: float = 0.0, timeout_s: float = 2.0) -> "Heard":
        """Send the pieces; read until the server closes or falls silent."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            for piece in pieces:
                writer.write(piece)
                await asyncio.sleep(wait_s)
            data, is_closed = b"", False
            try:
                async with asyncio.timeout(timeout_s):
                    # The first word may take its time; an incomplete request never gets one.
                    while not is_closed:
                        async with asyncio.timeout(_QUIET_S):
                            part = await reader.read(1 << 20)
                        data += part
                        is_closed = not part
            except TimeoutError:
                pass
            except ConnectionResetError:
                is_closed = True
            return Heard(data, is_closed)
        finally:
            writer.close()


@dataclass(frozen=True)
class Heard:
    """What a client heard."""

    data: bytes
    is_closed: bool

    @property
    def statuses(self) -> list[int]:
        """Of all answers, in order. The bodies have none of their own."""
        return [int(status) for status in ANSWER.findall(self.data)]


@asynccontextmanager
async def wire(
    max_header_bytes: int = 32_768,
    max_body_bytes: int = 1 << 20,
    client_timeout_s: float = 30,
    keep_alive_s: float = 30,
) -> AsyncIterator[Wire]:
    """Serve on a free port."""
    loop = asyncio.get_running_loop()
    limits = Limits(max_header_bytes, max_body_bytes, client_timeout_s, keep_alive_s)
    keeper = Keeper()
    connections: set[ClientConnection] = set()
    server = await loop.create_server(
        lambda: ClientConnection(keeper, limits, connections, loop), "127.0.0.1", 0, backlog=1024
    )

    async def sweep() -> None:
        while True:
            await asyncio.sleep(_SWEEP_S)
            for connection in list(connections):
                connection.sweep(loop.time())

    sweeping = asyncio.create_task(sweep())
    try:
        yield Wire(server.sockets[0].getsockname()[1], keeper, connections)
    finally:
        sweeping.cancel()
        server.close()
        for connection in list(connections):
            connection.abort()
        await asyncio.sleep(0)
