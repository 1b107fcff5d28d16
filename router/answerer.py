"""Everything one replica needs to answer, built once: candidates, pools, metrics, limits."""

import asyncio
from typing import Final

from cluster.errors import BadRequest, FenzhenError, Unavailable
from cluster.settings import Model
from cluster.settings import Router as RouterSettings
from router.chat_reader import ChatReader
from router.client_connection import ClientConnection
from router.exchange import Exchange
from router.http_request import Request
from router.metrics import RouterMetrics
from router.need import need_of
from router.openai_error import as_http
from router.openai_request import ApiRequest, Route, parse
from router.policy import AUTO, Candidate, Need, Roster
from router.pools import Pools
from router.retries import RetryBudget

# The caller's own patience; ours is in the settings.
DEADLINE: Final = b"x-fenzhen-deadline-s"
MAX_DEADLINE_S: Final = 86400.0


class Answerer:
    """Answers requests to models."""

    def __init__(
        self,
        cards: tuple[Model, ...],
        pools: Pools,
        metrics: RouterMetrics,
        settings: RouterSettings,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self.roster = Roster([Candidate.of(card) for card in cards])
        self.pools = pools
        self.metrics = metrics
        self.settings = settings
        self.loop = loop
        self.retries = RetryBudget(settings.max_in_flight)
        self._chats = ChatReader()

    def answer(self, route: Route, request: Request, id_line: bytes, client: ClientConnection) -> Exchange | None:
        """Start answering one request; None if it was refused unread. `id_line` is the answer's x-request-id line."""
        metrics = self.metrics
        try:
            if metrics.in_flight >= self.settings.max_in_flight:
                raise Unavailable(f"{metrics.in_flight} requests are in flight, as many as one replica takes.", 1)
            read = self._chats.read(request.body) if route == "chat" else None
            if read is not None:
                api_request, need = read
            else:
                api_request, need = _taken_apart(route, request.body)
            asked = request.headers.get(DEADLINE)
            deadline_s = None if asked is None else _deadline_s(asked)
        except FenzhenError as error:
            status = self.refuse(error, id_line, client)
            metrics.of("").answered(status)
            return None
        if need is not None:
            metrics.difficulty.observe(need.difficulty)
        exchange = Exchange(
            self, client, api_request, request.body, need, id_line, _trace_lines(request.headers), deadline_s
        )
        metrics.in_flight += 1
        self.retries.earn()
        exchange.start()
        return exchange

    def finished(self, model: str, status: int) -> None:
        """An exchange is over."""
        self.metrics.in_flight -= 1
        self.metrics.of(model).answered(status)

    def refuse(self, error: FenzhenError, said: bytes, client: ClientConnection) -> int:
        """Answer with an error in OpenAI's shape; gives the status that was sent."""
        status, headers, body = as_http(error)
        client.answer(status, headers + said, body)
        return status


def _taken_apart(route: Route, raw: bytes) -> tuple[ApiRequest, Need | None]:
    """Read a body that is not an ordinary chat. Raises BadRequest."""
    api_request = parse(route, raw)
    # Nobody asks how difficult a question is that is to go to a named model.
    if api_request.model != AUTO or route == "embeddings":
        return api_request, None
    assert api_request.body is not None
    return api_request, need_of(route, api_request.body)


def _trace_lines(headers: dict[bytes, bytes]) -> bytes:
    """The caller's trace context, passed on so that one trace spans the application, us and the engine."""
    parent = headers.get(b"traceparent")
    if parent is None:
        return b""
    state = headers.get(b"tracestate")
    if state is None:
        return b"traceparent: %b\r\n" % parent
    return b"traceparent: %b\r\ntracestate: %b\r\n" % (parent, state)


def _deadline_s(asked: bytes) -> float:
    """The caller's deadline, seconds from now. Raises BadRequest."""
    try:
        deadline_s = float(asked)
    except ValueError:
        deadline_s = 0.0
    if not 0 < deadline_s <= MAX_DEADLINE_S:
        name = DEADLINE.decode()
        raise BadRequest(f"{name} must be a number of seconds above 0 and up to {MAX_DEADLINE_S:g}.", name)
    return deadline_s
