"""One request's way: choose, send, relay. Callbacks only; a task exists just while a new connection is opened.

Until the first byte of an answer has been passed on, a broken engine costs a retry: another endpoint of the model, or
for `auto` another model. After that the break is told inside the stream, or by closing the connection. Where names have
versions, a `Way` says whose endpoints are asked.
"""

import asyncio
import functools
import logging
from typing import TYPE_CHECKING, Final

import orjson

from cluster.errors import FenzhenError, OurFault, TimedOut, Unavailable
from router.affinity import home_of
from router.engine_connection import EngineConnection
from router.engine_request import body_for, head_for
from router.http_request import Client
from router.openai_request import ApiRequest
from router.policy import AUTO, Choice, Need, NobodyReady, Task, decide
from router.pools import Pool
from router.slot import Slot
from router.way import Aim, Way

if TYPE_CHECKING:
    from router.answerer import Answerer

MAX_ATTEMPTS: Final = 3
# Our own failures of an engine, to be tried elsewhere; other statuses are the engine's answer to the caller.
_ENGINE_FAILED: Final = frozenset({500, 502, 503, 504})
_OK: Final = 200

_log = logging.getLogger(__name__)


class Exchange:
    """One request between one client and the engine that answers it."""

    __slots__ = (
        "_aim", "_answerer", "_api_request", "_attempts", "_body", "_choice", "_client", "_connecting", "_connection",
        "_deadline_s", "_ends_with_event", "_first_byte_s", "_head", "_id_line", "_is_auto", "_is_over", "_is_paused",
        "_is_stream", "_key", "_last_byte_s", "_need", "_pool", "_raw", "_slot", "_started_s", "_status",
        "_trace_lines", "_tried", "_way", "_why_lost", "model", "reason",
    )  # fmt: skip

    def __init__(
        self,
        answerer: "Answerer",
        client: Client,
        api_request: ApiRequest,
        raw: bytes,
        need: Need | None,
        id_line: bytes,
        trace_lines: bytes,
        deadline_s: float | None,
        way: Way | None,
    ) -> None:
        """`need` is None where the caller named the model, `way` where no name has versions; `deadline_s` from now."""
        self._answerer = answerer
        self._client = client
        self._api_request: ApiRequest | None = api_request
        """What may have to be sent again; None from the first byte of the answer on, to hold no long texts."""
        self._raw = raw
        self._is_stream = api_request.is_stream
        self._is_auto = api_request.model == AUTO
        self._need = need
        self._id_line = id_line
        self._trace_lines = trace_lines
        self._started_s = self._last_byte_s = answerer.loop.time()
        self._deadline_s = deadline_s
        self._first_byte_s: float | None = None
        self._attempts = 0
        self._way = way
        self._aim: Aim | None = None
        self._choice: Choice | None = None
        self._tried: list[Slot] = []
        self._key: int | None = None
        self._pool: Pool | None = None
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

    def start(self) -> None:
        """Choose and send, or refuse."""
        try:
            self._try()
        except Exception:
            _log.exception("a request failed, by a fault of ours")
            self._give_up()

    # ---- from the engine -------------------------------------------------------------------------------------------

    def engine_answer(self, status: int, headers: bytes, body: bytes) -> None:
        if status != _OK and self._must_go_on(status):
            self.engine_head(status, headers, len(body))
            return
        now_s = self._answerer.loop.time()
        self._status = status
        self._count_choice()
        self._engine_is_well(now_s, now_s)
        self._close(status)
        self._client.answer(status, headers + self.said(), body)

    def engine_head(self, status: int, headers: bytes, content_length: int | None) -> None:
        if status != _OK and self._must_go_on(status):
            assert self._connection is not None
            assert self._pool is not None
            assert self._slot is not None
            self._connection.abort()
            way, now_s = self._way, self._answerer.loop.time()
            if way is not None and way.gives_up(status):
                self._release_slot()
                way.failed("error")
                self._fall_back(now_s)
                return
            if status in _ENGINE_FAILED and (way is None or not way.spares_endpoint):
                # The engine is there and says so; a question that it cannot bear must not take the whole pool away.
                self._pool.answered_badly(self._slot, now_s)
            self._try_elsewhere(f"its engine answered {status}", is_engine_down=False)
            return
        self._status = status
        self._head = (headers, content_length)

    def engine_body(self, parts: list[bytes]) -> None:
        now_s = self._last_byte_s = self._answerer.loop.time()
        if self._first_byte_s is None:
            self._begin()
            self._first_byte_s = now_s
        self._ends_with_event = parts[-1].endswith(b"\n\n")
        self._client.relay(parts)

    def engine_done(self) -> None:
        now_s = self._answerer.loop.time()
        if self._first_byte_s is None:
            self._begin()
            self._first_byte_s = now_s
        self._engine_is_well(now_s, self._first_byte_s)
        self._close(self._status)
        self._client.end()

    def engine_lost(self, why: str) -> None:
        connection = self._connection
        if self._first_byte_s is None:
            if connection is not None and not connection.is_fresh and not connection.has_spoken:
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

    def at_fault(self) -> None:
        self._give_up()

    # ---- from the client -------------------------------------------------------------------------------------------

    def client_gone(self) -> None:
        if self._is_over:
            return
        if self.model:
            self._answerer.metrics.of(self.model).hang_ups += 1
        if self._way is not None:
            self._way.gone()
        self._drop_engine()
        self._close(499)

    def client_is_slow(self) -> None:
        self._is_paused = True
        if self._connection is not None:
            self._connection.pause()

    def client_is_ready(self) -> None:
        self._is_paused = False
        self._last_byte_s = self._answerer.loop.time()
        if self._connection is not None:
            self._connection.resume()

    # ---- time ------------------------------------------------------------------------------------------------------

    def sweep(self, now_s: float) -> None:
        try:
            self._look_at_clock(now_s)
        except Exception:
            _log.exception("a request failed, by a fault of ours")
            self._give_up()

    def _look_at_clock(self, now_s: float) -> None:
        limits = self._answerer.settings
        waited_s = now_s - self._started_s
        is_late = self._deadline_s is not None and waited_s > self._deadline_s
        if self._first_byte_s is None:
            if is_late:
                self._drop_engine()
                self._refuse(TimedOut(f"{self._who} did not answer within the {self._deadline_s:g} s asked for.", 5))
            elif waited_s > limits.first_byte_timeout_s and not self._has_begun_again(now_s):
                self._drop_engine()
                self._refuse(
                    TimedOut(f"{self._who} did not begin its answer within {limits.first_byte_timeout_s:g} s.", 5)
                )
        elif is_late:
            self._drop_engine()
            self._has_timed_out()
            self._break_off(f"{self.model} was not done within the {self._deadline_s:g} s asked for.")
        elif not self._is_paused and now_s - self._last_byte_s > limits.stall_timeout_s:
            self._drop_engine()
            self._has_timed_out()
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
        api_request = self._api_request
        assert api_request is not None
        choice = self._choice = self._choose(api_request, now_s)
        name = choice.model
        if self._way is None:
            pool = self._answerer.pools.of(name)
            if name != self.model:
                self.model, self.reason = name, choice.reason
                self._body = body_for(name, api_request, self._raw)
        else:
            pool = self._aim_at(choice, self._way, api_request)
        if pool.has_choice and self._key is None:
            self._key = api_request.home if api_request.body is None else home_of(api_request.body)
        slot = pool.pick(now_s, self._tried, self._key)
        if slot is None:
            if self._way is not None:
                if self._fall_back(now_s):
                    return
                raise self._way.nobody(now_s, self._why_lost)
            why = self._why_lost or pool.state
            raise Unavailable(f"The model {name} cannot answer now ({why}).", pool.retry_after_s(now_s))
        if self._way is not None:
            self._way.chosen()
        self._pool, self._slot = pool, slot
        pool.take(slot)
        connection = slot.idle_connection(now_s)
        if connection is not None:
            self._send(connection)
        else:
            self._connecting = self._answerer.loop.create_task(self._connect(slot))

    def _aim_at(self, choice: Choice, way: Way, api_request: ApiRequest) -> Pool:
        """The endpoints of the side that was drawn, and the body as they get it."""
        self.model, self.reason = choice.model, choice.reason
        aim = way.aim(choice.model)
        if aim is not self._aim:
            if self._aim is not None and self._aim.name == aim.name:
                # Endpoints on which another version has failed may serve this one well.
                self._tried = []
            self._aim = aim
            self._body = way.body(api_request, self._raw)
        return aim.pool

    def _fall_back(self, now_s: float) -> bool:
        """From a canary that cannot answer to stable, if that is possible, with all attempts."""
        if self._way is None or not self._way.falls_back(now_s):
            return False
        self._attempts, self._tried = 0, []
        self._try()
        return True

    def _choose(self, api_request: ApiRequest, now_s: float) -> Choice:
        answerer, tried, way = self._answerer, self._tried, self._way
        task: Task = "embed" if api_request.route == "embeddings" else "chat"
        try:
            return decide(
                api_request.model,
                task,
                self._need,
                answerer.roster,
                (lambda name: answerer.pools.of(name).is_ready(now_s, tried))
                if way is None
                else (lambda name: way.is_ready(name, now_s, tried)),
                answerer.leaning(self._need),
            )
        except NobodyReady as error:
            why = f"{error} ({self._why_lost})" if self._why_lost else str(error)
            waits_s = [answerer.pools.of(name).retry_after_s(now_s) for name in error.models]
            raise Unavailable(why, min(waits_s)) from None

    async def _connect(self, slot: Slot) -> None:
        try:
            try:
                connection = await slot.connect(self._answerer.settings.connect_timeout_s)
            except OSError:  # A TimeoutError is one, too.
                self._connecting = None
                self._try_elsewhere("its engine takes no connection", is_engine_down=True)
            else:
                self._connecting = None
                self._send(connection)
        except Exception:
            _log.exception("a request failed, by a fault of ours")
            self._connecting = None
            self._give_up()

    def _send(self, connection: EngineConnection) -> None:
        slot, api_request = self._slot, self._api_request
        assert slot is not None
        assert api_request is not None
        self._connection = connection
        lines = self._id_line + self._trace_lines
        head = head_for(api_request.route, slot.address, lines, len(self._body))
        connection.send(self, head, self._body)
        if self._is_paused:
            connection.pause()

    def _begin(self) -> None:
        assert self._head is not None
        headers, content_length = self._head
        # There is no way back now, and thousands of slow streams must not hold their questions.
        self._api_request = None
        self._raw = self._body = b""
        self._count_choice()
        self._client.begin(self._status, headers + self.said(), content_length)

    def _count_choice(self) -> None:
        tally = self._answerer.metrics.of(self.model)
        if self._is_auto:
            tally.by_auto += 1
            if self._status == 200 and self._need is not None and self._choice is not None:
                self._answerer.answered(self._choice, self._need)
        else:
            tally.by_caller += 1

    def _engine_is_well(self, now_s: float, first_byte_s: float) -> None:
        """It has answered to the end: its connection may carry the next request."""
        slot, connection = self._slot, self._connection
        assert slot is not None
        assert connection is not None
        slot.succeeded()
        if self._is_paused:
            connection.resume()
        slot.give_back(connection, now_s)
        tally = self._answerer.metrics.of(self.model)
        tally.duration.observe(now_s - self._started_s)
        tally.first_byte.observe(first_byte_s - self._started_s)

    def said(self) -> bytes:
        """The header lines that say which model answers and why."""
        if not self.model:
            return self._id_line
        lines = _lines_of(self.model, self.reason)
        if self._way is not None:
            lines += self._way.lines
        if self._need is None:
            return self._id_line + lines
        return b"%b%bx-fenzhen-difficulty: %.3f\r\n" % (self._id_line, lines, self._need.difficulty)

    @property
    def _who(self) -> str:
        return self.model or "the router"

    def _try_elsewhere(self, why: str, is_engine_down: bool) -> None:
        answerer = self._answerer
        now_s = answerer.loop.time()
        slot, tally = self._slot, answerer.metrics.of(self.model)
        self._release_slot()
        tally.engine_failures += 1
        self._why_lost = why
        if slot is not None:
            self._tried.append(slot)
            if is_engine_down:
                slot.failed(now_s)
        if self._way is not None:
            self._way.failed("error")
        if self._attempts >= MAX_ATTEMPTS or not answerer.retries.spend():
            if self._fall_back(now_s):
                return
            assert self._pool is not None
            retry_after_s = self._pool.retry_after_s(now_s)
            self._refuse(Unavailable(f"The model {self.model} cannot answer now ({why}).", retry_after_s))
            return
        tally.retries += 1
        self._try()

    def _must_go_on(self, status: int) -> bool:
        """Whether an answer is not the caller's yet: somebody else may have a better one."""
        return status in _ENGINE_FAILED or (self._way is not None and self._way.is_refusal(status))

    def _has_begun_again(self, now_s: float) -> bool:
        """Whether stable has taken over in time from a canary that does not begin its answer."""
        way = self._way
        if way is None:
            return False
        if way.began_s is not None:
            return now_s - way.began_s <= self._answerer.settings.first_byte_timeout_s
        if not way.may_fall_back:
            return False
        self._drop_engine()
        self._release_slot()
        way.failed("timeout")
        return self._fall_back(now_s)

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

    def _has_timed_out(self) -> None:
        """Whoever watches hears that it took too long, and was not broken by its engine."""
        if self._way is not None:
            self._way.failed("timeout")

    def _break_off(self, why: str) -> None:
        """Tell the client, in the middle of an answer, that there will be no more of it."""
        self._answerer.metrics.of(self.model).engine_failures += 1
        self._close(self._status)
        if self._is_stream and self._ends_with_event:
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
        if self._slot is not None and self._pool is not None:
            self._pool.release(self._slot)
            self._slot = None
        self._connection = None
        self._head = None

    def _close(self, status: int) -> None:
        self._is_over = True
        self._release_slot()
        self._answerer.finished(self.model, status)


# Few models and few reasons make the same lines again and again.
@functools.lru_cache(maxsize=4096)
def _lines_of(model: str, reason: str) -> bytes:
    return b"x-fenzhen-model: %b\r\nx-fenzhen-reason: %b\r\n" % (
        model.encode("ascii"), reason.encode("ascii", "replace"),
    )  # fmt: skip
