"""An engine that says exactly what it is told, byte for byte, however wrong."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from cluster.directory import Endpoint
from tests.fakes.engine import Request, read_request

# One connection's answers: bytes are sent, a number is waited in seconds, CLOSE and RESET end the connection.
CLOSE = "close"
RESET = "reset"
Step = bytes | float | str
Script = Callable[[Request], list[Step]]


@dataclass
class ScriptedEngine:
    """What it was asked, by connection, and where it listens."""

    script: Script
    endpoint: Endpoint | None = None
    requests: list[list[Request]] = field(default_factory=list)
    writers: list[asyncio.StreamWriter] = field(default_factory=list)

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer requests on one connection until it is closed."""
        seen: list[Request] = []
        self.requests.append(seen)
        self.writers.append(writer)
        try:
            while True:
                seen.append(await read_request(reader))
                for step in self.script(seen[-1]):
                    if isinstance(step, bytes):
                        writer.write(step)
                        await writer.drain()
                    elif isinstance(step, float | int):
                        await asyncio.sleep(step)
                    elif step == RESET:
                        writer.transport.abort()
                        return
                    else:
                        return
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def scripted_engine(script: Script, name: str = "small") -> AsyncIterator[ScriptedEngine]:
    """Listen on a free port."""
    engine = ScriptedEngine(script)
    server = await asyncio.start_server(engine.connected, "127.0.0.1", 0, backlog=1024)
    port = server.sockets[0].getsockname()[1]
    engine.endpoint = Endpoint(f"{name}-scripted", name, f"http://127.0.0.1:{port}", "ready", "", 0, None, None, 7)
    try:
        yield engine
    finally:
        server.close()
        for writer in engine.writers:
            writer.transport.abort()
        await asyncio.sleep(0)
