"""One replica's listener: accepts, watches the clock, drains. Lives on one event loop."""

import asyncio
import math
import socket
from collections.abc import Mapping
from types import MappingProxyType

from cluster.directory import Table
from cluster.settings import Model
from cluster.settings import Router as RouterSettings
from router.answerer import Answerer
from router.client_connection import ClientConnection
from router.estimate import Judge
from router.http_request import Limits
from router.ingress import Desk, Ingress
from router.keeping import Keeping
from router.listener import others_listen, refuse_silently, waiting_in
from router.metrics import RouterMetrics
from router.overheard import Listening
from router.pools import Pools
from router.watching import Watching

# Time-outs are configured in whole seconds: looking twice a second keeps them within half a second at no cost.
SWEEP_S = 0.5
# With thousands of connections a look at all of them would hold everybody up for milliseconds: a part at a time.
_SWEEP_PARTS = 25
_MIN_SWEPT = 100
_BACKLOG = 2048
# Connections end by themselves and nobody is told of the last one; a look this often costs nothing.
_DRAIN_LOOK_S = 0.05
# For the rest of handshakes that have begun. Whoever comes new and is dealt to us meanwhile waits a second.
_HANDSHAKE_S = 0.05
# However many connections wait, they are accepted within it, or the loop hangs.
_ACCEPT_TIMEOUT_S = 2.0


class RouterServer:
    """The router's own HTTP server: build it, `start` it, `drain` it, all on the loop that it was given."""

    def __init__(
        self,
        cards: tuple[Model, ...],
        settings: RouterSettings,
        loop: asyncio.AbstractEventLoop,
        judge: Judge,
        full_at: Mapping[str, float] = MappingProxyType({}),
        watching: Watching | None = None,
    ) -> None:
        """`full_at`: see `Pools`; `watching`: see `Answerer`."""
        self._settings = settings
        self._loop = loop
        self._pools = Pools([card.name for card in cards], full_at)
        metrics = RouterMetrics(tuple(card.name for card in cards))
        self._answerer = Answerer(cards, self._pools, metrics, settings, loop, judge, watching)
        self._ingress = Ingress(self._answerer, self)
        self._limits = Limits(
            max_header_bytes=settings.max_header_bytes,
            max_body_bytes=settings.max_body_bytes,
            client_timeout_s=settings.client_timeout_s,
            keep_alive_s=settings.keep_alive_s,
        )
        self._connections: set[ClientConnection] = set()
        self._server: asyncio.Server | None = None
        self._sweeping: asyncio.TimerHandle | None = None
        self._unswept: list[ClientConnection] = []
        self._swept_at_once = _MIN_SWEPT
        self.is_draining = False

    async def start(self, host: str | None = None, port: int | None = None) -> int:
        """Listen, by default where the settings say; gives the port. `port` 0 takes a free one. Raises OSError."""
        self._server = await self._loop.create_server(
            self._new_connection,
            self._settings.host if host is None else host,
            self._settings.port if port is None else port,
            # Replicas on one host share the port; the kernel spreads connections over them.
            reuse_port=True,
            backlog=_BACKLOG,
        )
        self._sweeping = self._loop.call_later(SWEEP_S, self._sweep)
        listener: socket.socket = self._server.sockets[0]
        bound: int = listener.getsockname()[1]
        return bound

    def update(self, table: Table) -> None:
        """Take over a new table of endpoints, and the traffic in it; one without any leaves that as it is."""
        self._pools.update(table)
        if table.traffic is not None:
            self._answerer.direct(table.traffic)

    @property
    def pools(self) -> Pools:
        """The pools of all models; their state belongs to the loop that this server was given."""
        return self._pools

    @property
    def metrics(self) -> RouterMetrics:
        """What is counted here."""
        return self._answerer.metrics

    def listen_in(self, listening: Listening) -> None:
        """Keep a share of the chats, to learn from them. Before `start`."""
        self._answerer.listening = listening

    def take_feedback(self, keeping: Keeping, desk: Desk) -> None:
        """Keep a share of the chats, and take what people say of them. Before `start`."""
        self._answerer.keeping = keeping
        self._ingress.feedback = desk

    def use(self, judge: Judge) -> None:
        """Judge with another one from the next request on. On the loop that this server was given."""
        self._answerer.use(judge)

    def have(self, judges: Mapping[str, Judge]) -> None:
        """The judges of versions of `auto` that are loaded now, by path. On the loop that this server was given."""
        self._answerer.have(judges)

    @property
    def in_flight(self) -> int:
        """Requests being answered now."""
        return self._answerer.metrics.in_flight

    @property
    def is_serving(self) -> bool:
        """Whether it listens."""
        return self._server is not None and self._server.is_serving()

    async def drain(self) -> None:
        """Stop listening, answer what is in flight with `connection: close`, then leave; at most `drain_s`."""
        self.is_draining = True
        until_s = self._loop.time() + self._settings.drain_s
        self._ask_to_leave()
        await self._stop_listening()
        # Again at each look: what was idle may speak, and a connection that was accepted last may appear only now.
        while self._ask_to_leave() and (left_s := until_s - self._loop.time()) > 0:
            await asyncio.sleep(min(left_s, _DRAIN_LOOK_S))
        for connection in list(self._connections):
            connection.abort()
        if self._sweeping is not None:
            self._sweeping.cancel()
        self._pools.close()
        # Connections that were broken off are told in the loop's next turn, and then let go of their engines.
        await asyncio.sleep(0)

    async def _stop_listening(self) -> None:
        """Close the port; while others share it, so that no connection is lost that the kernel has dealt to us."""
        server = self._server
        if server is None or not server.is_serving():
            return
        listeners: list[socket.socket] = list(server.sockets)
        # Where nobody else takes them, new connections should be refused at once and not after a second's silence.
        is_quiet = others_listen(listeners) and all(refuse_silently(listener) for listener in listeners)
        if is_quiet:
            await asyncio.sleep(_HANDSHAKE_S)
        until_s = self._loop.time() + _ACCEPT_TIMEOUT_S
        while any(waiting_in(listener) for listener in listeners) and self._loop.time() < until_s:
            # The loop accepts as it turns.
            await asyncio.sleep(0)
        server.close()

    def _new_connection(self) -> ClientConnection:
        connection = ClientConnection(self._ingress, self._limits, self._connections, self._loop)
        connection.is_draining = self.is_draining
        return connection

    def _ask_to_leave(self) -> bool:
        """Whether any connection is still there."""
        idle_s = min(self._settings.drain_idle_s, self._settings.drain_s)
        for connection in list(self._connections):
            connection.drain(idle_s)
        return bool(self._connections)

    def _sweep(self) -> None:
        # First, so that a fault in one sweep does not end all time-outs for good.
        self._sweeping = self._loop.call_later(SWEEP_S / _SWEEP_PARTS if self._unswept else SWEEP_S, self._sweep)
        now_s = self._loop.time()
        if not self._unswept:
            self._answerer.sweep(now_s)
            self._unswept = list(self._connections)
            self._swept_at_once = max(_MIN_SWEPT, math.ceil(len(self._unswept) / _SWEEP_PARTS))
        part = self._unswept[-self._swept_at_once :]
        del self._unswept[-self._swept_at_once :]
        for connection in part:
            # It may have closed since the round began.
            if connection in self._connections:
                connection.sweep(now_s)
