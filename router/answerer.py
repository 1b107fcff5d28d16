"""Everything one replica needs to answer, built once: candidates, pools, metrics, limits."""

import asyncio
from collections.abc import Mapping
from typing import Final

from cluster.errors import BadRequest, FenzhenError, Unavailable
from cluster.settings import Model
from cluster.settings import Router as RouterSettings
from cluster.traffic import Traffic
from router.chat_reader import ChatReader
from router.client_connection import ClientConnection
from router.conversations import Conversations
from router.estimate import Judge
from router.exchange import Exchange
from router.http_request import Client, Request
from router.keeping import Keeping
from router.metrics import RouterMetrics
from router.need import need_of
from router.openai_error import as_http
from router.openai_request import ApiRequest, Route, parse
from router.overheard import Listening
from router.policy import AUTO, UPRIGHT, Choice, Leaning, Need, Roster, candidates_of
from router.pools import Pools
from router.pressure import Pressure
from router.retries import RetryBudget
from router.watching import Watching
from router.ways import Ways

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
        judge: Judge,
        watching: Watching | None = None,
    ) -> None:
        """`watching`: who wants to know what becomes of requests to names with versions."""
        self.roster = Roster(candidates_of(cards))
        self.pools = pools
        self.metrics = metrics
        self.settings = settings
        self.loop = loop
        self.retries = RetryBudget(settings.max_in_flight)
        chat = [one.name for one in self.roster.chat]
        self.pressure = Pressure(
            # One model alone has nobody to turn to.
            chat if len(chat) > 1 else (), from_ratio=settings.relief_from_ratio, max_relief=settings.max_relief,
        )  # fmt: skip
        metrics.gauges = self.pressure.gauges
        self.conversations = Conversations(loop.time())
        self._chats = ChatReader(judge)
        self._ways = Ways(pools, self._chats, metrics.sides, watching)
        self.ways: Ways | None = None
        """Names with versions; None until somebody directs traffic."""
        self.listening: Listening | None = None
        """Who keeps a share of the chats to learn from; mostly nobody."""
        self.keeping: Keeping | None = None
        """Who keeps a share of the chats for feedback; mostly nobody."""

    def answer(self, route: Route, request: Request, id_line: bytes, client: ClientConnection) -> Exchange | None:
        """Start answering one request; None if it was refused unread. `id_line` is the answer's x-request-id line."""
        metrics = self.metrics
        told: Client = client
        try:
            if metrics.in_flight >= self.settings.max_in_flight:
                raise Unavailable(f"{metrics.in_flight} requests are in flight, as many as one replica takes.", 1)
            read = self._chats.read(request.body) if route == "chat" else None
            if read is not None:
                api_request, need = read
            else:
                api_request, need = _taken_apart(route, request.body, self._chats.judge)
            asked = request.headers.get(DEADLINE)
            deadline_s = None if asked is None else _deadline_s(asked)
            way = None
            if self.ways is not None:
                way, need, told = self.ways.begin(request, api_request, need, client)
        except FenzhenError as error:
            status = self.refuse(error, id_line, client)
            metrics.of("").answered(status)
            return None
        if need is not None:
            metrics.difficulty.observe(need.difficulty)
            if self.listening is not None:
                told = self.listening.client_for(request, api_request, need, told)
        if self.keeping is not None:
            told = self.keeping.client_for(request, api_request, id_line, told)
        exchange = Exchange(
            self, told, api_request, request.body, need, id_line, _trace_lines(request.headers), deadline_s, way
        )
        metrics.in_flight += 1
        self.retries.earn()
        exchange.start()
        return exchange

    def use(self, judge: Judge) -> None:
        """Judge with another one from the next request on, unless a version of `auto` has its own."""
        self._ways.use(judge)

    def have(self, judges: Mapping[str, Judge]) -> None:
        """The judges of versions of `auto` that are loaded now, by path."""
        self._ways.have(judges)

    def direct(self, traffic: Traffic) -> None:
        """Put splits in force, if they are a later decision than those before."""
        if self._ways.direct(traffic):
            self.ways = self._ways
            self.roster = self._ways.roster(self.roster)
            self.metrics.know(self.roster.versions_of)

    def leaning(self, need: Need | None) -> Leaning:
        """What weighs in the choice for this need besides its question."""
        relief = self.pressure.relief
        earlier = None if need is None else self.conversations.earlier(need.before)
        if earlier is None and not relief:
            return UPRIGHT
        return Leaning(relief, earlier, self.settings.switch_up_margin, self.settings.switch_down_margin)

    def answered(self, choice: Choice, need: Need) -> None:
        """The model that `auto` chose has begun a good answer."""
        model, metrics = choice.model, self.metrics
        if choice.relieved:
            pair = (choice.relieved, model)
            metrics.relieved[pair] = metrics.relieved.get(pair, 0) + 1
        if need.here is None:
            return
        earlier = self.conversations.earlier(need.before)
        if earlier is not None and earlier != model:
            metrics.switched[earlier, model] = metrics.switched.get((earlier, model), 0) + 1
        self.conversations.remember(need.here, model)

    def sweep(self, now_s: float) -> None:
        """Look at the pools and at what is old; several times a second."""
        self.pools.sweep(now_s)
        self.pressure.look(self.pools.seen(now_s), now_s)
        self.conversations.sweep(now_s)

    def finished(self, model: str, status: int) -> None:
        """An exchange is over."""
        self.metrics.in_flight -= 1
        self.metrics.of(model).answered(status)

    def refuse(self, error: FenzhenError, said: bytes, client: Client) -> int:
        """Answer with an error in OpenAI's shape; gives the status that was sent."""
        status, headers, body = as_http(error)
        client.answer(status, headers + said, body)
        return status


def _taken_apart(route: Route, raw: bytes, judge: Judge) -> tuple[ApiRequest, Need | None]:
    """Read a body that is not an ordinary chat. Raises BadRequest."""
    api_request = parse(route, raw)
    # Nobody asks how difficult a question is that is to go to a named model.
    if api_request.model != AUTO or route == "embeddings":
        return api_request, None
    assert api_request.body is not None
    return api_request, need_of(route, api_request.body, judge)


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
