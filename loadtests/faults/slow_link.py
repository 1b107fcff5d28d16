"""A line that can be made slow while it is in use: a relay on the loopback address, in a process of its own.

    python -m loadtests.faults.slow_link --to HOST:PORT [--listen PORT]

It says `{"port": 9301, "pid": 4711}` on its standard output, takes orders from its standard input as JSON lines such as
`{"delay_s": 0.2}`, answers each with the delay in force, and ends when its input ends. `fenzhen loadtest link` runs the
same in the foreground, where orders come over the socket of `control_path`.

What somebody has ordered holds until he orders otherwise or goes away, so that nothing stays slow because of a test
that was killed. The delays of several add up.
"""

import argparse
import asyncio
import contextlib
import json
import os
import resource
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Final

import uvloop
from pydantic import Field, ValidationError

from cluster.closed import Closed
from cluster.errors import UserError
from loadtests.faults.control_path import control_path, made_folder
from loadtests.faults.fault import MAX_DELAY_S
from loadtests.faults.relay import LOOPBACK, Relay, address_of

_LONGEST_ORDER_BYTES: Final = 4096
# Whoever goes away has no more than one answer to read.
_CLOSE_TIMEOUT_S: Final = 2.0


class Order(Closed):
    """How slow the line shall be, as far as the one who says so is concerned."""

    delay_s: float = Field(ge=0, le=MAX_DELAY_S)


class SlowLink:
    """A relay and those who give it orders."""

    def __init__(self, relay: Relay) -> None:
        self._relay = relay
        self._ordered: dict[object, float] = {}

    async def obey(self, orders: asyncio.StreamReader, answer: Callable[[bytes], object]) -> None:
        """Take orders until they end; then what was ordered is taken back."""
        who = object()
        try:
            while line := await orders.readline():
                answer(json.dumps(self._take(who, line)).encode() + b"\n")
        except (ValueError, ConnectionError):
            # A line without an end, or somebody who was killed: he is gone either way.
            return
        finally:
            self._set(who, 0.0)

    def _take(self, who: object, line: bytes) -> dict[str, object]:
        try:
            self._set(who, Order.model_validate_json(line).delay_s)
        except ValidationError as error:
            return {"error": f"an order is like {{'delay_s': 0.2}}, up to {MAX_DELAY_S:g}: {error.errors()[0]['msg']}"}
        return {"delay_s": self._relay.delay_s}

    def _set(self, who: object, delay_s: float) -> None:
        self._ordered.pop(who, None)
        if delay_s > 0:
            self._ordered[who] = delay_s
        # Summed anew: differences of floats would leave a trace of a delay.
        self._relay.delay_s = sum(self._ordered.values())


@contextlib.asynccontextmanager
async def relaying(host: str, port: int, listen: int) -> AsyncIterator[tuple[Relay, int]]:
    """A relay to this server and the port that it listens on. Raises UserError."""
    _raise_open_files()
    try:
        relay = Relay(await address_of(host, port))
    except OSError as error:
        raise UserError(f"{host} has no address: {error.strerror}") from error
    try:
        found = await relay.listen(listen)
    except OSError as error:
        raise UserError(f"port {listen} of {LOOPBACK} cannot be used: {error.strerror}") from error
    try:
        yield relay, found
    finally:
        await relay.close()


@contextlib.asynccontextmanager
async def controlled(link: SlowLink, port: int) -> AsyncIterator[None]:
    """Take orders from others of this user meanwhile. Raises UserError."""
    made_folder()
    path = control_path(port)
    obeying: set[asyncio.Task[None]] = set()

    async def obey(orders: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        obeying.add(task)
        try:
            await link.obey(orders, writer.write)
        finally:
            obeying.discard(task)
            writer.close()

    # The port is ours, so whoever left this socket is gone.
    path.unlink(missing_ok=True)
    server = await asyncio.start_unix_server(obey, path, limit=_LONGEST_ORDER_BYTES)
    try:
        path.chmod(0o600)
        yield
    finally:
        path.unlink(missing_ok=True)
        server.close()
        for task in tuple(obeying):
            task.cancel()
        if obeying:
            await asyncio.wait(obeying, timeout=_CLOSE_TIMEOUT_S)


def server_of(text: str) -> tuple[str, int]:
    """Read HOST:PORT; an IPv6 address in brackets. Raises UserError."""
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal() or not 1 <= int(port) <= 65535:
        raise UserError(f"{text!r} is no server; write HOST:PORT")
    return host.removeprefix("[").removesuffix("]"), int(port)


async def serve(host: str, port: int, listen: int) -> None:
    """Relay, and obey the standard input until it ends."""
    async with relaying(host, port, listen) as (relay, found):
        orders = asyncio.StreamReader(limit=_LONGEST_ORDER_BYTES)
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(orders), sys.stdin.buffer
        )
        print(json.dumps({"port": found, "pid": os.getpid()}), flush=True)
        await SlowLink(relay).obey(orders, _say)
        transport.close()


def _say(line: bytes) -> None:
    sys.stdout.buffer.write(line)
    sys.stdout.buffer.flush()


def _raise_open_files() -> None:
    """Each connection is two files."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def main(words: Sequence[str] | None = None) -> None:
    """Run one."""
    parser = argparse.ArgumentParser(prog="python -m loadtests.faults.slow_link")
    parser.add_argument("--to", required=True, metavar="HOST:PORT", help="the server")
    parser.add_argument("--listen", type=int, default=0, metavar="PORT", help="on 127.0.0.1 [default: a free one]")
    options = parser.parse_args(words)
    try:
        host, port = server_of(options.to)
        uvloop.run(serve(host, port, options.listen))
    except UserError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
