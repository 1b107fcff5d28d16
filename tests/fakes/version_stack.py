"""A router in this process in front of engines that carry several versions, each with a will of its own."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import httpx

from cluster.clock import MonotonicClock
from cluster.directory import Endpoint, Table
from cluster.outcomes import Fault
from cluster.settings import Router as RouterSettings
from cluster.traffic import Adapter, Side, Split, Traffic
from router.http_request import Client, Request
from router.openai_request import ApiRequest
from router.policy import Need
from router.server import RouterServer
from router.splits import Drawn
from router.watched import Watched
from router.watching import Watching
from tests.fakes.engine import Request as EngineRequest
from tests.fakes.judges import shipped
from tests.fakes.scripted_engine import ScriptedEngine, Step, scripted_engine
from tests.fakes.stack import LARGE, SMALL

Answer = Callable[[dict[str, Any]], list[Step]]

BASE = Side(0, "small", "small")
FIRST = Side(1, "small", "hotline@1-aaaaaaaa")
SECOND = Side(2, "small", "hotline@2-bbbbbbbb")


def whole(status: int, body: dict[str, Any]) -> bytes:
    """One answer with its length."""
    raw = json.dumps(body).encode()
    head = b"HTTP/1.1 %d Told\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
    return head % (status, len(raw)) + raw


def says_its_name(asked: dict[str, Any]) -> list[Step]:
    """A good answer, with all that the engine was asked."""
    message = {"role": "assistant", "content": json.dumps(asked)}
    return [whole(200, {"object": "chat.completion", "model": asked["model"], "choices": [{"message": message}]})]


def refuses(status: int) -> Answer:
    """An error in vLLM's shape."""
    return lambda asked: [whole(status, {"error": {"message": "told to", "type": "x", "param": None, "code": status}})]


@dataclass
class Wills:
    """How each version answers, by its served name; by itself well."""

    by_name: dict[str, Answer] = field(default_factory=dict)
    asked: list[dict[str, Any]] = field(default_factory=list)

    def script(self, request: EngineRequest) -> list[Step]:
        """What an engine does."""
        asked = json.loads(request.body)
        self.asked.append(asked)
        return self.by_name.get(asked["model"], says_its_name)(asked)


class WatchedLog(Watched):
    """Writes down what it hears, and passes on what is for the client."""

    def __init__(self, client: Client, log: list[str]) -> None:
        self._client = client
        self._log = log

    def __del__(self) -> None:
        pass

    def chosen(self, drawn: Drawn, model: str) -> None:
        said = f"{drawn.split.name} {drawn.side.version} {'canary' if drawn.is_canary else 'stable'}"
        if not self._log or self._log[-1] != said:
            self._log.append(said)

    def failed(self, fault: Fault) -> None:
        if self._log[-1] != fault:
            self._log.append(fault)

    def gone(self) -> None:
        self._log.append("gone")

    def answer(self, status: int, headers: bytes, body: bytes) -> None:
        self._log.append(str(status))
        self._client.answer(status, headers, body)

    def begin(self, status: int, headers: bytes, content_length: int | None) -> None:
        self._log.append(str(status))
        self._client.begin(status, headers, content_length)

    def relay(self, parts: Sequence[bytes]) -> None:
        self._client.relay(parts)

    def end(self) -> None:
        self._client.end()

    def abort(self) -> None:
        self._log.append("abort")
        self._client.abort()


class WatchingLog(Watching):
    """Watches every request, and keeps for each a list of what it heard."""

    def __init__(self) -> None:
        super().__init__(MonotonicClock(), {}, 0.0)
        self.heard: list[list[str]] = []
        self.demand: Counter[str] = Counter()

    def client_for(self, request: Request, api_request: ApiRequest, need: Need | None, client: Client) -> Watched:
        log: list[str] = []
        self.heard.append(log)
        return WatchedLog(client, log)

    def wanted(self, served_name: str) -> None:
        self.demand[served_name] += 1


@dataclass
class VersionStack:
    """What a test talks to."""

    router: RouterServer
    port: int
    wills: Wills
    watching: WatchingLog
    client: httpx.AsyncClient
    engines: list[ScriptedEngine]
    endpoints: list[Endpoint]
    traffic: Traffic | None = None
    _version: int = 0

    def carry(self, *adapters: str, engine: int | None = None) -> None:
        """Engines report these adapters from now on: one of them, or all."""
        for place, endpoint in enumerate(self.endpoints):
            if engine in (None, place) and endpoint.model == "small":
                self.endpoints[place] = replace(endpoint, adapters=adapters)
        self.publish()

    def direct(self, *splits: Split) -> None:
        """Put splits in force."""
        sides = [side for split in splits for side in (split.stable, split.canary) if side is not None]
        names = {side.served_name: side.pool for side in sides if side.served_name != side.pool}
        adapters = tuple(Adapter(name, base, "/nowhere", "0" * 64, ()) for name, base in names.items())
        self.traffic = Traffic(1 if self.traffic is None else self.traffic.generation + 1, splits, adapters)
        self.publish()

    def publish(self) -> None:
        """Tell the router."""
        self._version += 1
        self.router.update(Table(self._version, tuple(self.endpoints), self.traffic))

    async def ask(
        self, words: str = "hi", model: str = "hotline", *, headers: dict[str, str] | None = None, **more: Any
    ) -> httpx.Response:
        """One chat."""
        body = {"model": model, "messages": [{"role": "user", "content": words}], **more}
        return await self.client.post("/v1/chat/completions", json=body, headers=headers)

    async def served(self, words: str = "hi", model: str = "hotline", **more: Any) -> str:
        """Who answered, in the engine's words."""
        answer = await self.ask(words, model, **more)
        assert answer.status_code == 200, answer.text
        name: str = answer.json()["model"]
        return name


@asynccontextmanager
async def version_stack(engines: int = 1, **router_settings: object) -> AsyncIterator[VersionStack]:
    """Start engines of the small model, one of the large one, and a router; nothing is directed yet."""
    settings = RouterSettings.model_validate(
        {"drain_s": 5, "drain_idle_s": 0, "connect_timeout_s": 1} | router_settings
    )
    loop = asyncio.get_running_loop()
    wills, watching = Wills(), WatchingLog()
    async with AsyncExitStack() as exits:
        running = [await exits.enter_async_context(scripted_engine(wills.script)) for _ in range(engines)]
        running.append(await exits.enter_async_context(scripted_engine(wills.script, "large")))
        endpoints = []
        for place, engine in enumerate(running):
            assert engine.endpoint is not None
            endpoints.append(replace(engine.endpoint, endpoint_id=f"{engine.endpoint.model}-{place}"))
        router = RouterServer((SMALL, LARGE), settings, loop, shipped(), watching=watching)
        port = await router.start(port=0)
        url = f"http://127.0.0.1:{port}"
        try:
            async with httpx.AsyncClient(base_url=url, timeout=10) as client:
                stack = VersionStack(router, port, wills, watching, client, running, endpoints)
                stack.publish()
                yield stack
        finally:
            await router.drain()
        assert router.in_flight == 0
        for name in ("small", "large"):
            pool = router.pools.of(name)
            assert pool.in_flight == 0
            assert all(slot.in_flight == 0 for slot in pool.slots)
