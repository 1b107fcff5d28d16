"""A router in this process in front of stand-in engines in this process, over real sockets."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from cluster.directory import Endpoint, State, Table
from cluster.settings import FolderSource, Model
from cluster.settings import Router as RouterSettings
from router.server import RouterServer
from tests.fakes.engine import FakeEngine, options
from tests.fakes.judges import shipped


def card(name: str, *, size_b: float = 1, max_difficulty: float = 1, **more: object) -> Model:
    """A model's card with what a test does not care about filled in."""
    values: dict[str, object] = {
        "name": name,
        "sources": (FolderSource(kind="folder", path=Path("/nowhere"), sha256="0" * 64),),
        "languages": ("en", "zh"),
        "max_difficulty": max_difficulty,
        "tools": True,
        "context_tokens": 4096,
        "parameters_b": size_b,
        "disk_bytes": 1,
    }
    return Model.model_validate(values | more)


SMALL = card("small", size_b=0.5, max_difficulty=0.5)
LARGE = card("large", size_b=1.5)


@dataclass
class RunningEngine:
    """One stand-in engine that listens."""

    name: str
    fake: FakeEngine
    server: asyncio.Server
    endpoint: Endpoint
    writers: list[asyncio.StreamWriter]

    async def stop(self) -> None:
        """Close the port and every connection, as a killed process would."""
        self.server.close()
        for writer in self.writers:
            writer.transport.abort()
        await asyncio.sleep(0)


@dataclass
class FakeStack:
    """What a test talks to."""

    router: RouterServer
    base_url: str
    port: int
    engines: dict[str, list[RunningEngine]]
    _version: int = 0
    states: dict[str, State] = field(default_factory=dict)

    def publish(self) -> None:
        """Tell the router which engines there are."""
        self._version += 1
        endpoints = tuple(
            replace(engine.endpoint, state=self.states.get(engine.endpoint.endpoint_id, "ready"))
            for engines in self.engines.values()
            for engine in engines
        )
        self.router.update(Table(self._version, endpoints))

    def check_nothing_is_left(self) -> None:
        """Whatever a test did, no request may still be counted once everybody has left."""
        assert self.router.in_flight == 0
        for name in self.engines:
            for slot in self.router._pools.of(name).slots:
                assert slot.in_flight == 0, name
        assert self.router._connections == set()

    @property
    def small(self) -> RunningEngine:
        """The first engine of the small model."""
        return self.engines["small"][0]

    @property
    def large(self) -> RunningEngine:
        """The first engine of the large model."""
        return self.engines["large"][0]


async def start_engine(name: str, number: int, engine_options: str) -> RunningEngine:
    """Start one stand-in on a free port."""
    opts = options(["--port", "0", "--served-model-name", name, *engine_options.split()])
    fake = FakeEngine(opts, asyncio.Semaphore(opts.max_num_seqs))
    writers: list[asyncio.StreamWriter] = []

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        await fake.connected(reader, writer)

    server = await asyncio.start_server(connected, "127.0.0.1", 0, backlog=1024)
    port = server.sockets[0].getsockname()[1]
    endpoint = Endpoint(f"{name}-{number}", name, f"http://127.0.0.1:{port}", "ready", "", 0, None, None, 7)
    return RunningEngine(name, fake, server, endpoint, writers)


@asynccontextmanager
async def fake_stack(
    cards: Sequence[Model] = (SMALL, LARGE),
    engines: Mapping[str, Sequence[str]] | None = None,
    full_at: Mapping[str, float] | None = None,
    **router_settings: object,
) -> AsyncIterator[FakeStack]:
    """Start a router and engines: by default one of each model. `engines` gives each engine's options.

    `full_at`: see `Pools`.
    """
    wanted = engines if engines is not None else {model.name: [""] for model in cards}
    running = {
        name: [await start_engine(name, number, text) for number, text in enumerate(texts)]
        for name, texts in wanted.items()
    }
    settings = RouterSettings.model_validate(
        {"drain_s": 5, "drain_idle_s": 0, "connect_timeout_s": 1} | router_settings
    )
    router = RouterServer(tuple(cards), settings, asyncio.get_running_loop(), shipped(), full_at or {})
    port = await router.start(port=0)
    stack = FakeStack(router, f"http://127.0.0.1:{port}", port, running)
    stack.publish()
    try:
        yield stack
    finally:
        await router.drain()
        stack.check_nothing_is_left()
        for engine in (engine for engines_of_one in running.values() for engine in engines_of_one):
            await engine.stop()
