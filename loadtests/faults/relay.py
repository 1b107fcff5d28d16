"""A TCP relay: what one side sends reaches the other untouched and in order, the client's bytes later if asked."""

import asyncio
import socket
import struct
from typing import Final

from loadtests.faults.delay_line import DelayLine

LOOPBACK: Final = "127.0.0.1"
_BACKLOG: Final = 4096
# A kernel gives up connecting after minutes.
_CONNECT_TIMEOUT_S: Final = 10.0
_WRITE_BUFFER_BYTES: Final = 256 * 1024
# Closing with this option set sends a reset, as the side that broke did.
_RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)

Address = tuple[socket.AddressFamily, str, int]
"""Family, IP address, port."""


class Relay:
    """Listens on the loopback address and passes each connection on to one server."""

    def __init__(self, server: Address) -> None:
        self.server = server
        self.delay_s = 0.0
        """Added to what clients send; answers are not delayed, so that a round trip takes this much longer."""
        self.connections: set[_Pair] = set()
        self._connecting: set[asyncio.Task[None]] = set()
        self._listener: asyncio.Server | None = None

    async def listen(self, port: int) -> int:
        """Begin, on this port or with 0 on a free one, which is returned."""
        loop = asyncio.get_running_loop()
        self._listener = await loop.create_server(lambda: _Client(self, loop), LOOPBACK, port, backlog=_BACKLOG)
        found: int = self._listener.sockets[0].getsockname()[1]
        return found

    async def close(self) -> None:
        """Stop listening and reset what is open."""
        if self._listener is not None:
            self._listener.close()
        for task in tuple(self._connecting):
            task.cancel()
        for pair in tuple(self.connections):
            pair.reset()
        await asyncio.gather(*self._connecting, return_exceptions=True)

    def connect(self, pair: "_Pair", loop: asyncio.AbstractEventLoop) -> None:
        """Begin to reach the server for a client that has come."""
        task = loop.create_task(self._connect(pair, loop))
        self._connecting.add(task)
        task.add_done_callback(self._connecting.discard)

    async def _connect(self, pair: "_Pair", loop: asyncio.AbstractEventLoop) -> None:
        family, host, port = self.server
        try:
            async with asyncio.timeout(_CONNECT_TIMEOUT_S):
                await loop.create_connection(lambda: _Side(pair, is_client=False), host, port, family=family)
        except (OSError, TimeoutError):
            pair.reset()


class _Pair:
    """A client's connection and the one to the server, made for it."""

    def __init__(self, relay: Relay, loop: asyncio.AbstractEventLoop) -> None:
        self._relay = relay
        self.client: _Side | None = None
        self.server: _Side | None = None
        self._line = DelayLine(loop, lambda: relay.delay_s, self._to_server, self._fill)
        self._early: list[bytes | None] = []
        self._is_over = False
        relay.connections.add(self)

    @property
    def held_bytes(self) -> int:
        """What waits for its delay."""
        return self._line.held_bytes

    def has_client(self, side: "_Side") -> None:
        """A client has come."""
        self.client = side

    def hold_until_connected(self) -> None:
        """Read the client no further before the server is there."""
        if self.client is not None and self.server is None:
            self.client.hold("server")

    def has_server(self, side: "_Side") -> None:
        """The server is there; if the client has gone meanwhile, nobody needs it."""
        self.server = side
        if self._is_over or self.client is None:
            side.close_with_reset()
            return
        early, self._early = self._early, []
        for piece in early:
            self._to_server(piece)
        self.client.release("server")

    def take(self, piece: bytes | None, *, is_client: bool) -> None:
        """One side has sent this; None: it will send nothing more."""
        if is_client:
            self._line.put(piece)
        elif self.client is not None:
            self.client.send(piece)
            self._close_if_both_ended()

    def hold_sender(self, hold: bool, *, is_client: bool) -> None:
        """One side does not take what is written to it fast enough, or does again: its sender waits."""
        sender = self.server if is_client else self.client
        if sender is not None:
            (sender.hold if hold else sender.release)("buffer")

    def lost(self, error: Exception | None) -> None:
        """One side is gone. If not both had ended in order, the other is broken off as well."""
        if not self._is_over and (error is not None or not self._have_both_ended()):
            self.reset()
        self._over()

    def reset(self) -> None:
        """Break off both sides."""
        self._over()
        for side in (self.client, self.server):
            if side is not None:
                side.close_with_reset()

    def _to_server(self, piece: bytes | None) -> None:
        if self.server is None:
            # What came with the connection itself: one read at most.
            self._early.append(piece)
        else:
            self.server.send(piece)
            self._close_if_both_ended()

    def _fill(self, is_full: bool) -> None:
        if self.client is not None:
            (self.client.hold if is_full else self.client.release)("line")

    def _have_both_ended(self) -> bool:
        return all(side is not None and side.has_been_ended for side in (self.client, self.server))

    def _close_if_both_ended(self) -> None:
        if self._have_both_ended():
            self._over()
            for side in (self.client, self.server):
                assert side is not None
                side.close()

    def _over(self) -> None:
        self._is_over = True
        self._line.drop()
        self._relay.connections.discard(self)


class _Side(asyncio.Protocol):
    """One of the two connections of a pair."""

    def __init__(self, pair: _Pair, *, is_client: bool) -> None:
        self._pair = pair
        self._is_client = is_client
        self._transport: asyncio.Transport | None = None
        self._holds: set[str] = set()
        self.has_been_ended = False
        """Whether the other side's end has been passed on to this one."""

    # uvloop's transports are no instances of asyncio's, which an assertion here would want.
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Called by the event loop."""
        self._transport = transport
        transport.set_write_buffer_limits(_WRITE_BUFFER_BYTES)
        (self._pair.has_client if self._is_client else self._pair.has_server)(self)

    def data_received(self, data: bytes) -> None:
        """Called by the event loop."""
        self._pair.take(data, is_client=self._is_client)

    def eof_received(self) -> bool:
        """Called by the event loop. The other direction may still be in use."""
        self._pair.take(None, is_client=self._is_client)
        return True

    def pause_writing(self) -> None:
        """Called by the event loop."""
        self._pair.hold_sender(True, is_client=self._is_client)

    def resume_writing(self) -> None:
        """Called by the event loop."""
        self._pair.hold_sender(False, is_client=self._is_client)

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the event loop."""
        self._pair.lost(exc)

    def send(self, piece: bytes | None) -> None:
        """Pass on what the other side has sent."""
        if self._transport is None or self._transport.is_closing():
            return
        if piece is not None:
            self._transport.write(piece)
        elif not self.has_been_ended:
            self.has_been_ended = True
            self._transport.write_eof()

    def hold(self, reason: str) -> None:
        """Read nothing more until this reason and all others are gone."""
        if not self._holds and self._transport is not None and not self._transport.is_closing():
            self._transport.pause_reading()
        self._holds.add(reason)

    def release(self, reason: str) -> None:
        """The reason is gone."""
        was_held = bool(self._holds)
        self._holds.discard(reason)
        if was_held and not self._holds and self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()

    def close(self) -> None:
        """Send what is left, then close."""
        if self._transport is not None:
            self._transport.close()

    def close_with_reset(self) -> None:
        """Break off."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
            self._transport.abort()


class _Client(_Side):
    """The side that a client has opened: a pair begins."""

    def __init__(self, relay: Relay, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(_Pair(relay, loop), is_client=True)
        self._relay, self._loop = relay, loop

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Called by the event loop."""
        super().connection_made(transport)
        self._relay.connect(self._pair, self._loop)
        # uvloop begins to read after this call, whatever was said in it.
        self._loop.call_soon(self._pair.hold_until_connected)


async def address_of(host: str, port: int) -> Address:
    """Where to connect; the name is looked up once and not for each connection. Raises OSError."""
    rows = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    family, _, _, _, place = rows[0]
    return family, str(place[0]), port
