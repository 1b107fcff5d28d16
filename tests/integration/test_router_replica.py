"""The replica that Ray Serve wraps, without Ray."""

import asyncio
import gc
import resource
import socket
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager

import httpx
import pytest

from cluster.clock import MonotonicClock
from cluster.directory import Directory, Endpoint, Table
from cluster.directory_holder import DirectoryHolder
from cluster.errors import OurFault, Unavailable
from cluster.outcomes import Batch
from cluster.settings import Router as RouterSettings
from cluster.traffic import Traffic
from router.deployment import RouterReplica
from tests.fakes.stack import LARGE, SMALL, RunningEngine, start_engine
from tests.integration.test_router_http import until

HI = {"model": "small", "messages": [{"role": "user", "content": "hi"}]}
STOP: Callable[[RouterReplica], Awaitable[None]] = RouterReplica.__del__


class BrokenDirectory:
    """Cannot be reached, or raises what nobody expects."""

    def __init__(self, error: Exception) -> None:
        self.error = error
        self.reads = 0

    async def report(self, *endpoints: Endpoint) -> None:
        raise self.error

    async def forget(self, *endpoint_ids: str) -> None:
        raise self.error

    async def read(self, known_version: int, timeout_s: float) -> Table:
        self.reads += 1
        raise self.error

    async def direct(self, traffic: Traffic) -> None:
        raise self.error

    async def tell(self, batch: Batch) -> None:
        raise self.error

    async def fetch(self) -> tuple[Batch, ...]:
        raise self.error


@pytest.fixture(autouse=True)
def _no_second_stop(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    # Ray Serve awaits it; Python, freeing the object, would call it again and await nothing.
    monkeypatch.delattr(RouterReplica, "__del__")
    yield
    gc.collect()


@pytest.fixture
def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@asynccontextmanager
async def replica_on(port: int, directory: Directory) -> AsyncIterator[RouterReplica]:
    settings = RouterSettings(port=port, drain_s=2)
    # As Ray Serve does: the constructor is awaited.
    replica = RouterReplica.__new__(RouterReplica)
    await replica.__init__((SMALL, LARGE), settings, directory)  # type: ignore[misc]
    try:
        yield replica
    finally:
        await STOP(replica)
        await until(lambda: not replica._thread.is_alive(), 2)
        assert replica._loop.is_closed()


@asynccontextmanager
async def engine_in(directory: Directory) -> AsyncIterator[RunningEngine]:
    engine = await start_engine("small", 0, "")
    await directory.report(engine.endpoint)
    try:
        yield engine
    finally:
        await engine.stop()


async def test_a_replica_serves_the_table_is_healthy_and_drains(free_port: int) -> None:
    directory = DirectoryHolder(MonotonicClock(), settle_s=0)
    async with replica_on(free_port, directory) as replica, httpx.AsyncClient(timeout=5) as client:
        await replica.check_health()
        url = f"http://127.0.0.1:{free_port}"
        assert (await client.post(f"{url}/v1/chat/completions", json=HI)).status_code == 503
        async with engine_in(directory) as engine:
            await until(lambda: replica._server._pools.of("small").is_ready(replica._loop.time()), 2)
            answer = await client.post(f"{url}/v1/chat/completions", json=HI)
            assert (answer.status_code, answer.json()["model"]) == (200, "small")
            await directory.forget(engine.endpoint.endpoint_id)
            await until(lambda: not replica._server._pools.of("small").is_ready(replica._loop.time()), 2)
            assert (await client.post(f"{url}/v1/chat/completions", json=HI)).status_code == 503
        await replica.check_health()
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", free_port)) != 0


async def test_two_replicas_share_one_port_and_one_may_leave(free_port: int) -> None:
    directory = DirectoryHolder(MonotonicClock(), settle_s=0)
    async with AsyncExitStack() as exits, httpx.AsyncClient(timeout=5) as client:
        await exits.enter_async_context(engine_in(directory))
        first = await exits.enter_async_context(replica_on(free_port, directory))
        async with replica_on(free_port, directory) as second:
            for replica in (first, second):
                await until(
                    lambda replica=replica: replica._server._pools.of("small").is_ready(replica._loop.time()), 2
                )
            assert await _answered(free_port, 40) == {200}
            assert all(_counted(replica) > 0 for replica in (first, second))
        assert await _answered(free_port, 10) == {200}
        assert (await client.get(f"http://127.0.0.1:{free_port}/readyz")).status_code == 200


async def test_a_directory_out_of_reach_leaves_the_replica_healthy_and_a_broken_one_does_not(free_port: int) -> None:
    gone = BrokenDirectory(Unavailable("no directory"))
    async with replica_on(free_port, gone) as replica:
        await until(lambda: gone.reads > 0, 2)
        await replica.check_health()
    async with replica_on(free_port, BrokenDirectory(ValueError("nonsense"))) as replica:
        await until(lambda: replica._following.done(), 2)
        with pytest.raises(OurFault, match="no longer follows"):
            await replica.check_health()
        assert isinstance(replica._following.exception(), ValueError)


async def test_a_replica_whose_server_is_gone_is_not_healthy(free_port: int) -> None:
    async with replica_on(free_port, DirectoryHolder(MonotonicClock())) as replica:
        assert replica._server._server is not None
        replica._loop.call_soon_threadsafe(replica._server._server.close)
        await until(lambda: not replica._server.is_serving, 2)
        with pytest.raises(OurFault, match="has stopped"):
            await replica.check_health()


async def test_a_port_that_another_program_holds_is_an_error_and_leaves_no_thread(free_port: int) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", free_port))
        other.listen()
        with pytest.raises(OSError, match="in use"):
            async with replica_on(free_port, DirectoryHolder(MonotonicClock())):
                pass
    await until(lambda: all(thread.name != "router-http" for thread in threading.enumerate()), 2)


async def _answered(port: int, count: int) -> set[int]:
    """The statuses of `count` requests, each on a connection of its own, which the kernel gives to either replica."""
    seen = set()
    for _ in range(count):
        # Reading certificates anew for each would take longer than an engine's lease on a busy machine.
        async with httpx.AsyncClient(timeout=5, verify=False) as client:
            seen.add((await client.post(f"http://127.0.0.1:{port}/v1/chat/completions", json=HI)).status_code)
    return seen


def _counted(replica: RouterReplica) -> float:
    page = replica._server._answerer.metrics.page().decode()
    lines = [
        line for line in page.splitlines() if line.startswith('fenzhen_requests_total{model="small",status="200"}')
    ]
    return float(lines[0].split()[-1]) if lines else 0.0


class LateDirectory(DirectoryHolder):
    """Answers its first reader only when it is told to."""

    def __init__(self) -> None:
        super().__init__(MonotonicClock(), settle_s=0)
        self.may_answer = asyncio.Event()

    async def read(self, known_version: int, timeout_s: float) -> Table:
        await self.may_answer.wait()
        return await super().read(known_version, timeout_s)


async def test_a_replica_listens_only_when_it_knows_the_engines(free_port: int) -> None:
    """In an update the old one leaves when the new one listens: it must be able to answer its first request."""
    directory = LateDirectory()
    async with engine_in(directory):
        starting = asyncio.ensure_future(_entered(free_port, directory))
        await asyncio.sleep(0.3)
        with socket.socket() as probe:
            assert probe.connect_ex(("127.0.0.1", free_port)) != 0
        directory.may_answer.set()
        assert await asyncio.wait_for(starting, 5) == {200}


async def test_a_replica_whose_http_loop_hangs_is_not_healthy(free_port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("router.deployment._BEAT_TIMEOUT_S", 0.2)
    async with replica_on(free_port, DirectoryHolder(MonotonicClock())) as replica:
        await replica.check_health()
        is_over = threading.Event()
        replica._loop.call_soon_threadsafe(is_over.wait, 5)
        with pytest.raises(OurFault, match=r"has not turned for 0\.2 s"):
            await replica.check_health()
        is_over.set()
        await replica.check_health()


async def test_a_replica_tells_its_own_load(free_port: int) -> None:
    directory = DirectoryHolder(MonotonicClock(), settle_s=0)
    async with replica_on(free_port, directory) as replica:
        await asyncio.sleep(0.2)
        quiet = await replica.record_autoscaling_stats()
        assert quiet["in_flight"] == 0
        assert quiet["busy_ratio"] < 0.2
        is_over = threading.Event()

        def burn() -> None:
            while not is_over.is_set():
                sum(range(10_000))

        replica._loop.call_soon_threadsafe(burn)
        await asyncio.sleep(0.5)
        busy = await replica.record_autoscaling_stats()
        is_over.set()
    assert busy["busy_ratio"] > quiet["busy_ratio"] + 0.2


async def _entered(port: int, directory: Directory) -> set[int]:
    async with replica_on(port, directory):
        return await _answered(port, 1)


async def test_a_replica_may_open_as_many_connections_as_the_system_allows(free_port: int) -> None:
    soft, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 512), most))
    try:
        async with replica_on(free_port, DirectoryHolder(MonotonicClock())):
            assert resource.getrlimit(resource.RLIMIT_NOFILE) == (most, most)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, most))
