"""One request's way: choose, send, relay. Callbacks only; a task exists just while a new connection is opened.

Until the first byte of an answer has been passed on, a broken engine costs a retry: another endpoint of the model, or
for `auto` another model. After that the break is told inside the stream, or by closing the connection.
"""

import asyncio
import functools
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, TypeVarTuple

import orjson

from cluster.errors import FenzhenError, OurFault, TimedOut, Unavailable
from router.client_connection import ClientConnection
from router.engine_connection import EngineConnection
from router.engine_request import body_for, head_for
from router.openai_request import ApiRequest
from router.policy import AUTO, Choice, Need, NobodyReady, Task, decide
from router.pools import Slot

if TYPE_CHECKING:
    from router.answerer import Answerer

MAX_ATTEMPTS: Final = 3
# Our own failures of an engine, to be tried elsewhere; other statuses are the engine's answer to the caller.
_ENGINE_FAILED: Final = frozenset({500, 502, 503, 504})

_log = logging.getLogger(__name__)
_Args = TypeVarTuple("_Args")


def _ends_in_an_answer(act: "Callable[[Exchange, *_Args], None]") -> "Callable[[Exchange, *_Args], None]":
    """Make a fault of ours in a callback the end of its exchange: nobody above could tell the client."""

    @functools.wraps(act)
    def guarded(self: "Exchange", *args: *_Args) -> None:
        try:
            act(self, *args)
        except Exception:
            _log.exception("a request failed, by a fault of ours (%s)", self._id_line.strip().decode("ascii"))
            self._give_up()

    return guarded


class Exchange:
    """One request between one client and the engine that answers it."""

    __slots__ = (
        "_api_request", "_answerer", "_attempts", "_body", "_client", "_connecting", "_connection", "_ends_with_event",
        "_first_byte_s", "_head", "_id_line", "_is_over", "_is_paused", "_last_byte_s", "_need", "_raw", "_slot",
        "_started_s", "_status", "_trace_lines", "_tried", "_why_lost", "model", "reason",
    )  # fmt: skip

    def __init__(
        self,
        answerer: "Answerer",
        client: ClientConnection,
        api_request: ApiRequest,
        raw: bytes,
        need: Need,
        id_line: bytes,
        trace_lines: bytes,
    ) -> None:
        self._answerer = answerer
        self._client = client
        self._api_request = api_request
        self._raw = raw
        self._need = need
        self._id_line = id_line
        self._trace_lines = trace_lines
        self._started_s = answerer.loop.time()
        self._last_byte_s = self._started_s
        self._first_byte_s: float | None = None
        self._attempts = 0
        self._tried: list[Slot] = []
        self._slot: Slot | None = None
        self._connection: EngineConnection | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._head: tuple[bytes, int | None] | None = None
        self._status = 0
        self._body = b""
        self._why_lost = ""
        self._is_over = False
        self._is_paused = False
        self._ends_with_event = True
        self.model = ""
        self.reason = ""

    @_ends_in_an_answer
    def start(self) -> None:
        """Choose and send, or refuse."""
        self._try()

    # ---- from the engine -------------------------------------------------------------------------------------------

    @_ends_in_an_answer
    def engine_head(self, status: int, headers: bytes, content_length: int | None) -> None:
        if status in _ENGINE_FAILED:
            connection = self._connection
            assert connection is not None
            connection.abort()
            # The engine is there and says so; a question that it cannot bear must not take the whole pool away.
            self._try_elsewhere(f"its engine answered {status}", is_engine_down=False)
            return
        self._status = status
        self._head = (headers, content_length)

    @_ends_in_an_answer
    def engine_body(self, parts: list[bytes]) -> None:
        now_s = self._answerer.loop.time()
        if self._first_byte_s is None:
            self._begin()
            self._first_byte_s = now_s
        self._last_byte_s = now_s
        self._ends_with_event = parts[-1].endswith(b"\n\n")
        self._client.relay(parts)

    @_ends_in_an_answer
    def engine_done(self) -> None:
        now_s = self._answerer.loop.time()
        slot, connection = self._slot, self._connection
        assert slot is not None
        assert connection is not None
        slot.succeeded()
        if self._is_paused:
            connection.resume()
        slot.give_back(connection, now_s)
        if self._first_byte_s is None:
            self._begin()
            self._first_byte_s = now_s
        self._answerer.metrics.took(self.model, now_s - self._started_s, self._first_byte_s - self._started_s)
        self._close(self._status)
        self._client.end()

    @_ends_in_an_answer
    def engine_lost(self, why: str) -> None:
        connection = self._connection
        if self._first_byte_s is None:
            if connection is not None and not connection.is_fresh and self._head is None:
                # The engine closed an idle connection just as we used it: nothing is wrong with it.
                self._release_slot()
                self._attempts -= 1
                self._try()
            else:
                self._try_elsewhere(f"its engine {why}", is_engine_down=True)
            return
        if self._slot is not None:
            self._slot.failed(self._answerer.loop.time())
        self._break_off(f"The engine of {self.model} {why} in the middle of the answer.")

    # ---- from the client -------------------------------------------------------------------------------------------

    @_ends_in_an_answer
    def client_gone(self) -> None:
        if self._is_over:
            return
        self._answerer.metrics.client_hung_up(self.model)
        self._drop_engine()
        self._close(499)

    @_ends_in_an_answer
    def client_is_slow(self) -> None:
        self._is_paused = True
        if self._connection is not None:
            self._connection.pause()

    @_ends_in_an_answer
    def client_is_ready(self) -> None:
        self._is_paused = False
        self._last_byte_s = self._answerer.loop.time()
        if self._connection is not None:
            self._connection.resume()

    # ---- time ------------------------------------------------------------------------------------------------------

    @_ends_in_an_answer
    def sweep(self, now_s: float) -> None:
        limits = self._answerer.settings
        if self._first_byte_s is None:
            if now_s - self._started_s > limits.first_byte_timeout_s:
                self._drop_engine()
                self._refuse(
                    TimedOut(f"{self.model} did not begin its answer within {limits.first_byte_timeout_s:g} s.", 5)
                )
        elif not self._is_paused and now_s - self._last_byte_s > limits.stall_timeout_s:
            self._drop_engine()
            self._break_off(f"{self.model} fell silent for {limits.stall_timeout_s:g} s in the middle of its answer.")

    # ---- inside ----------------------------------------------------------------------------------------------------

    def _try(self) -> None:
        """Make one attempt."""
        try:
            self._choose_and_send()
        except FenzhenError as error:
            self._refuse(error)

    def _choose_and_send(self) -> None:
        self._attempts += 1
        now_s = self._answerer.loop.time()
        choice = self._choose(now_s)
        name = choice.model.name
        pools = self._answerer.pools
        slot = pools.pick(name, now_s, self._tried)
        if name != self.model:
            self.model, self.reason = name, choice.reason
            self._body = body_for(name, self._api_request, self._raw)
        if slot is None:
            why = self._why_lost or pools.state(name)
            raise Unavailable(f"The model {name} cannot answer now ({why}).", pools.retry_after_s(name, now_s))
        self._slot = slot
        slot.in_flight += 1
        connection = slot.idle_connection(now_s)
        if connection is not None:
            self._send(connection)
        else:
            self._connecting = self._answerer.loop.create_task(self._connect(slot))

    def _choose(self, now_s: float) -> Choice:
        pools = self._answerer.pools
        task: Task = "embed" if self._api_request.route == "embeddings" else "chat"
        try:
            return decide(
                self._api_request.model,
                task,
                self._need,
                self._answerer.cards,
                self._answerer.chat_cards,
                lambda name: pools.pick(name, now_s, self._tried) is not None,
            )
        except NobodyReady as error:
            why = f"{error} ({self._why_lost})" if self._why_lost else str(error)
            raise Unavailable(why, min(pools.retry_after_s(name, now_s) for name in error.models)) from None

    async def _connect(self, slot: Slot) -> None:
        try:
            connection = await slot.connect(self._answerer.settings.connect_timeout_s)
        except Exception as error:
            self._connecting = None
            self._not_connected(error)
        else:
            self._connecting = None
            self._connected(connection)

    @_ends_in_an_answer
    def _connected(self, connection: EngineConnection) -> None:
        self._send(connection)

    @_ends_in_an_answer
    def _not_connected(self, error: Exception) -> None:
        if not isinstance(error, OSError):  # A TimeoutError is one, too.
            raise error
        self._try_elsewhere("its engine takes no connection", is_engine_down=True)

    def _send(self, connection: EngineConnection) -> None:
        slot = self._slot
        assert slot is not None
        self._connection = connection
        lines = self._id_line + self._trace_lines
        head = head_for(self._api_request.route, slot.host, slot.port, lines, len(self._body))
        connection.send(self, head, self._body)
        if self._is_paused:
            connection.pause()

    def _begin(self) -> None:
        assert self._head is not None
        headers, content_length = self._head
        self._answerer.metrics.chosen(self.model, "auto" if self._api_request.model == AUTO else "caller")
        self._client.begin(self._status, headers + self.said(), content_length)

    def said(self) -> bytes:
        """The header lines that say which model answers and why."""
        if not self.model:
            return self._id_line
        return b"%bx-fenzhen-model: %b\r\nx-fenzhen-difficulty: %.3f\r\nx-fenzhen-reason: %b\r\n" % (
            self._id_line,
            self.model.encode("ascii"),
            self._need.difficulty,
            self.reason.encode("ascii", "replace"),
        )

    def _try_elsewhere(self, why: str, is_engine_down: bool) -> None:
        now_s = self._answerer.loop.time()
        slot = self._slot
        self._release_slot()
        self._answerer.metrics.engine_failed(self.model)
        self._why_lost = why
        if slot is not None:
            self._tried.append(slot)
            if is_engine_down:
                slot.failed(now_s)
        if self._attempts >= MAX_ATTEMPTS:
            self._refuse(
                Unavailable(
                    f"The model {self.model} cannot answer now ({why}).",
                    self._answerer.pools.retry_after_s(self.model, now_s),
                )
            )
            return
        self._try()

    def _refuse(self, error: FenzhenError) -> None:
        status = self._answerer.refuse(error, self.said(), self._client)
        self._close(status)

    def _give_up(self) -> None:
        """After a fault of ours: free everything, and tell the client if nothing has been sent yet."""
        self._drop_engine()
        if self._is_over:
            self._client.abort()
        elif self._first_byte_s is None:
            self._refuse(OurFault("The router failed on this request."))
        else:
            self._close(500)
            self._client.abort()

    def _break_off(self, why: str) -> None:
        """Tell the client, in the middle of an answer, that there will be no more of it."""
        self._answerer.metrics.engine_failed(self.model)
        self._close(self._status)
        if self._api_request.is_stream and self._ends_with_event:
            error = {"error": {"message": why, "type": "engine_failed", "param": None, "code": 503}}
            self._client.relay([b"data: %b\n\n" % orjson.dumps(error)])
            self._client.end()
        else:
            self._client.abort()

    def _drop_engine(self) -> None:
        if self._connecting is not None:
            self._connecting.cancel()
            self._connecting = None
        if self._connection is not None:
            self._connection.abort()

    def _release_slot(self) -> None:
        if self._slot is not None:
            self._slot.in_flight -= 1
            self._slot = None
        self._connection = None
        self._head = None

    def _close(self, status: int) -> None:
        self._is_over = True
        self._release_slot()
        self._answerer.finished(self.model, status)
