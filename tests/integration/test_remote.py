"""Servers that run already, watched over real sockets while they come and go."""

import asyncio
import gc
import resource
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from cluster.clock import MonotonicClock
from cluster.directory import Endpoint, State
from cluster.directory_holder import DirectoryHolder
from cluster.errors import OurFault, Unavailable
from cluster.settings import ExternalPool
from cluster.traffic import Adapter, Traffic
from registry.digests import folder_sha256
from serving import remote
from serving.remote import MAX_LOOKS_PER_S, PERIOD_S, RemoteReplica, Watch, look_once
from tests.fakes.engine import FakeEngine, Request, options
from tests.fakes.scripted_engine import CLOSE, RESET, Script, Step, scripted_engine

WELL = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"
# Two periods, and what a busy machine takes.
NOTICED_S = 2 * PERIOD_S + 3


class Ledger(DirectoryHolder):
    """A directory that counts its calls and can be out of reach."""

    def __init__(self) -> None:
        super().__init__(MonotonicClock(), settle_s=0.0)
        self.reports: list[int] = []
        self.states: list[State] = []
        self.is_out_of_reach = False

    async def report(self, *endpoints: Endpoint) -> None:
        self.reports.append(len(endpoints))
        if self.is_out_of_reach:
            raise Unavailable("no directory")
        self.states.extend(endpoint.state for endpoint in endpoints)
        await super().report(*endpoints)

    async def row(self, base_url: str) -> Endpoint | None:
        """The server as routers see it now."""
        table = await self.read(-1, 0)
        return next((row for row in table.endpoints if row.base_url == base_url), None)

    async def until(self, base_url: str, state: State, within_s: float = NOTICED_S) -> Endpoint:
        """Wait until a server is in this state."""
        row = None
        try:
            async with asyncio.timeout(within_s):
                while (row := await self.row(base_url)) is None or row.state != state:
                    await asyncio.sleep(0.02)
        except TimeoutError:
            pytest.fail(f"not {state} within {within_s} s: {row}")
        return row


class Servers:
    """Stand-in servers in this process, on ports that stay theirs."""

    def __init__(self) -> None:
        self.looks = 0
        self._writers: dict[int, list[asyncio.StreamWriter]] = {}
        self._servers: dict[int, asyncio.Server] = {}

    async def start(self, port: int = 0, model: str = "small", *words: str) -> int:
        """Listen; gives the port."""
        fake = FakeEngine(options(["--port", "0", "--served-model-name", model, *words]), asyncio.Semaphore(1))
        writers: list[asyncio.StreamWriter] = []

        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self.looks += 1
            writers.append(writer)
            await fake.connected(reader, writer)

        server = await asyncio.start_server(connected, "127.0.0.1", port, backlog=1024)
        port = server.sockets[0].getsockname()[1]
        self._servers[port], self._writers[port] = server, writers
        return port

    async def kill(self, port: int) -> None:
        """As a killed process leaves it."""
        self._servers.pop(port).close()
        for writer in self._writers.pop(port):
            writer.transport.abort()
        await asyncio.sleep(0)

    async def kill_all(self) -> None:
        for port in list(self._servers):
            await self.kill(port)


@pytest.fixture
async def servers() -> AsyncIterator[Servers]:
    started = Servers()
    yield started
    await started.kill_all()


def url(port: int) -> str:
    return f"http://127.0.0.1:{port}"


def pool(*ports: int, **more: object) -> ExternalPool:
    values: dict[str, object] = {"model": "small", "endpoints": [url(port) for port in ports]}
    return ExternalPool.model_validate(values | more)


@asynccontextmanager
async def watching(directory: Ledger, *pools: ExternalPool) -> AsyncIterator[asyncio.Task[None]]:
    """A watch that is stopped as its replica stops it."""
    task = asyncio.create_task(Watch(pools, directory).run())
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait({task})


# ---- coming and going ----------------------------------------------------------------------------------------------


async def test_a_server_is_ready_at_its_first_good_answer(servers: Servers) -> None:
    directory, port = Ledger(), await servers.start()
    async with watching(directory, pool(port)):
        row = await directory.until(url(port), "ready", within_s=PERIOD_S)
    assert row == Endpoint(f"small@127.0.0.1:{port}", "small", url(port), "ready", "answers", 0, None, None, 1)
    assert row.is_external
    assert set(directory.states) == {"ready"}


async def test_a_killed_server_is_noticed_within_two_periods_and_again_when_it_is_back(servers: Servers) -> None:
    directory, port, other = Ledger(), await servers.start(), await servers.start()
    async with watching(directory, pool(port, other)):
        await directory.until(url(port), "ready")
        await servers.kill(port)
        down = await directory.until(url(port), "restarting")
        assert down.detail == "refuses connections: nothing listens there"
        await servers.start(port)
        back = await directory.until(url(port), "ready")
        assert (back.restarts, back.endpoint_id) == (down.restarts + 1, down.endpoint_id)
        neighbour = await directory.row(url(other))
        assert neighbour is not None
        assert (neighbour.state, neighbour.restarts) == ("ready", 0)


async def test_one_late_answer_is_no_death(servers: Servers) -> None:
    late = iter([0.0, 0.0, 1.0, *[0.0] * 100])

    def script(request: Request) -> list[Step]:
        return [next(late) if request.path == "/health" else 0.0, WELL]

    async with scripted_engine(script) as engine:
        assert engine.endpoint is not None
        address, directory = engine.endpoint.base_url, Ledger()
        slow = ExternalPool(model="small", endpoints=(address,), health_timeout_s=0.3)
        async with watching(directory, slow):
            await directory.until(address, "ready")
            async with asyncio.timeout(10):
                while len(engine.requests) < 7:
                    await asyncio.sleep(0.05)
        assert set(directory.states) == {"ready"}


async def test_a_new_watch_does_not_unsettle_what_the_old_one_has_reported(servers: Servers) -> None:
    directory, port = Ledger(), await servers.start()
    old = Endpoint(f"small@127.0.0.1:{port}", "small", url(port), "ready", "answers", 0, None, None, 1)
    await directory.report(old)
    before = await directory.read(-1, 0)
    async with watching(directory, pool(port)):
        await asyncio.sleep(1.5 * PERIOD_S)
        assert await directory.read(-1, 0) == before


async def test_servers_that_hang_do_not_keep_the_others_from_being_looked_at(
    servers: Servers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote, "_OPEN_LOOKS", 20)
    async with scripted_engine(lambda request: [60.0]) as hung:
        assert hung.endpoint is not None
        # One server under many addresses, all of which are this machine.
        port = hung.endpoint.base_url.rpartition(":")[2]
        names = [f"http://{name}:{port}" for name in ("127.0.0.1", "localhost")]
        pools = [
            ExternalPool(model=f"hung{number}", endpoints=tuple(names), health_timeout_s=0.3) for number in range(20)
        ]
        well, directory = await servers.start(), Ledger()
        async with watching(directory, *pools, pool(well)):
            await directory.until(url(well), "ready")
            for name in names:
                row = await directory.until(name, "restarting")
                assert row.detail == "does not answer within 0.3 s"
            await servers.kill(well)
            await directory.until(url(well), "restarting", within_s=NOTICED_S + 2)


# ---- what is wrong with it -----------------------------------------------------------------------------------------


def says(*steps: Step) -> Script:
    return lambda request: list(steps)


@pytest.mark.parametrize(
    ("script", "words"),
    [
        (says(b"HTTP/1.1 404 Not Found\r\ncontent-length: 2\r\n\r\nno"), "says 404 on /health: set health_path of its"),
        (says(b"HTTP/1.1 401 Unauthorized\r\n\r\n", CLOSE), "says 401 on /health: it wants a key"),
        (says(b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n"), "says 503 on /health"),
        (says(b"SSH-2.0-OpenSSH_9.2\r\n"), "answers something that is not HTTP"),
        (says(CLOSE), "closes the connection without an answer"),
        (says(RESET), "closes the connection without an answer"),
        (says(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf", RESET), "closes the connection without an answer"),
        (says(b"HTTP/1.1 200 OK\r\ncontent-le", CLOSE), "closes the connection without an answer"),
        (says(b"HTTP/1.1 200 OK\r\ncontent-length: 99999999\r\n\r\n", b"x" * 2_000_000), "answers without end"),
        (says(b"HTTP/1.1 200 OK\r\ncontent-le", 60.0), "does not answer within 0.5 s"),
        (says(b"HTTP/1.1 103 Early Hints\r\n\r\n", 60.0), "does not answer within 0.5 s"),
    ],
)
async def test_what_is_wrong_is_said(script: Script, words: str) -> None:
    async with scripted_engine(script) as engine:
        assert engine.endpoint is not None
        wanted = ExternalPool(model="small", endpoints=(engine.endpoint.base_url,), health_timeout_s=0.5)
        troubles = await look_once([wanted])
    assert list(troubles) == [f"small@{engine.endpoint.base_url.removeprefix('http://')}"]
    assert next(iter(troubles.values())).startswith(words)


async def test_a_server_of_another_model_is_not_ready_and_the_detail_names_what_it_has(servers: Servers) -> None:
    port = await servers.start(model="/srv/models/qwen")
    (words,) = (await look_once([pool(port)])).values()
    assert words == "has no model small, but /srv/models/qwen; vLLM's option is --served-model-name"


async def test_a_server_that_wants_a_key_for_all_but_its_health_is_not_ready() -> None:
    def script(request: Request) -> list[Step]:
        return [WELL if request.path == "/health" else b"HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\n\r\n"]

    async with scripted_engine(script) as engine:
        assert engine.endpoint is not None
        (words,) = (await look_once([ExternalPool(model="small", endpoints=(engine.endpoint.base_url,))])).values()
    assert words == "says 401 on /v1/models: it wants a key, and the router sends none"


@pytest.mark.parametrize(
    "answer",
    [
        WELL,
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        b'HTTP/1.1 200 OK\r\ncontent-length: 11\r\n\r\n{"data":[]}',
        b'HTTP/1.1 200 OK\r\ncontent-length: 12\r\n\r\n{"data":[1]}',
    ],
)
async def test_a_server_that_cannot_say_which_models_it_has_is_believed(answer: bytes) -> None:
    async with scripted_engine(says(answer, CLOSE)) as engine:
        assert engine.endpoint is not None
        assert await look_once([ExternalPool(model="small", endpoints=(engine.endpoint.base_url,))]) == {}


async def test_a_server_without_health_can_be_asked_for_its_models() -> None:
    asked: list[str] = []

    def script(request: Request) -> list[Step]:
        asked.append(request.path)
        return [b'HTTP/1.1 200 OK\r\ncontent-length: 24\r\n\r\n{"data":[{"id":"small"}]}']

    async with scripted_engine(script) as engine:
        assert engine.endpoint is not None
        wanted = ExternalPool(model="small", endpoints=(engine.endpoint.base_url,), health_path="/v1/models")
        assert await look_once([wanted]) == {}
    assert asked == ["/v1/models"]


# ---- the directory -------------------------------------------------------------------------------------------------


async def test_leases_are_renewed_every_second_and_signed_off_at_the_end(servers: Servers) -> None:
    directory, port = Ledger(), await servers.start()
    async with watching(directory, pool(port)):
        await directory.until(url(port), "ready")
        before = await directory.read(-1, 0)
        said = len(directory.reports)
        await asyncio.sleep(2.5)
        assert len(directory.reports) - said in (2, 3)
        assert await directory.read(-1, 0) == before
    assert (await directory.read(-1, 0)).endpoints == ()


async def test_a_directory_out_of_reach_is_told_as_soon_as_it_is_back(servers: Servers) -> None:
    directory, port = Ledger(), await servers.start()
    directory.is_out_of_reach = True
    async with watching(directory, pool(port)) as task:
        await asyncio.sleep(1.5)
        assert not task.done()
        assert len(directory.reports) >= 2
        directory.is_out_of_reach = False
        await directory.until(url(port), "ready")
        directory.is_out_of_reach = True


async def test_a_thousand_servers_are_found_in_seconds_and_looked_at_without_hurry(
    servers: Servers, monkeypatch: pytest.MonkeyPatch
) -> None:
    files, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(files, min(hard, 4096)), hard))
    try:
        ports = [await servers.start(model=f"m{number // 10}") for number in range(1000)]
        pools = [pool(*ports[first : first + 10], model=f"m{first // 10}") for first in range(0, 1000, 10)]
        directory = Ledger()
        async with watching(directory, *pools):
            async with asyncio.timeout(20):
                while sum(row.state == "ready" for row in (await directory.read(-1, 0)).endpoints) < 1000:
                    await asyncio.sleep(0.1)
            table = await directory.read(-1, 0)
            looks, said = servers.looks, len(directory.reports)
            await asyncio.sleep(3)
            assert servers.looks - looks < 3 * MAX_LOOKS_PER_S * 1.5
            assert len(directory.reports) - said <= 4
            assert await directory.read(table.version, 0) == table
        assert (await directory.read(-1, 0)).endpoints == ()
        # Found in batches, not one by one: every change sends the whole table to every router.
        assert len([count for count in directory.reports if 0 < count < 1000]) < 200
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (files, hard))


# ---- as Ray Serve holds it -----------------------------------------------------------------------------------------

STOP: Callable[[RemoteReplica], Awaitable[None]] = RemoteReplica.__del__


@pytest.fixture
def _no_second_stop(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    # Ray Serve awaits it; Python, freeing the object, would call it again and await nothing.
    monkeypatch.delattr(RemoteReplica, "__del__")
    yield
    gc.collect()


@pytest.mark.usefixtures("_no_second_stop")
async def test_a_replica_is_there_at_once_is_well_while_it_watches_and_signs_off(servers: Servers) -> None:
    directory, port = Ledger(), await servers.start()
    replica = RemoteReplica.__new__(RemoteReplica)
    await replica.__init__((pool(port),), directory)  # type: ignore[misc]
    await replica.check_health()
    await directory.until(url(port), "ready")
    await STOP(replica)
    assert (await directory.read(-1, 0)).endpoints == ()


class BrokenDirectory(Ledger):
    """Raises what nobody expects."""

    async def report(self, *endpoints: Endpoint) -> None:
        raise ValueError("nonsense")


@pytest.mark.usefixtures("_no_second_stop")
async def test_a_replica_that_no_longer_watches_asks_to_be_replaced(servers: Servers) -> None:
    port = await servers.start()
    replica = RemoteReplica.__new__(RemoteReplica)
    await replica.__init__((pool(port),), BrokenDirectory())  # type: ignore[misc]
    async with asyncio.timeout(5):
        await asyncio.wait({replica._watching})
    with pytest.raises(OurFault, match="the watch of servers that run already has ended: ExceptionGroup"):
        await replica.check_health()
    await STOP(replica)


async def test_a_server_that_allows_it_loads_adapters_and_again_when_it_comes_back(
    servers: Servers, tmp_path: Path
) -> None:
    folder = tmp_path / "adapter"
    folder.mkdir()
    (folder / "adapter_config.json").write_text('{"r": 8}')
    port, plain = await servers.start(0, "small", "--enable-lora"), await servers.start()
    names = ("hotline@1-00000001",)
    ids = tuple(f"small@127.0.0.1:{each}" for each in (port, plain))
    ledger = Ledger()
    await ledger.direct(Traffic(1, (), (Adapter(names[0], "small", str(folder), folder_sha256(folder), ids),)))
    async with watching(ledger, pool(port, plain, max_adapters=4)):
        await until_adapters(ledger, port, names)
        async with asyncio.timeout(NOTICED_S):
            while (row := await ledger.row(url(plain))) is None or not row.adapter_faults:
                await asyncio.sleep(0.02)
        assert row.max_adapters == 4
        assert "--enable-lora" in row.adapter_faults[0][1]
        await servers.kill(port)
        await ledger.until(url(port), "restarting")
        await until_adapters(ledger, port, ())
        await servers.start(port, "small", "--enable-lora")
        await until_adapters(ledger, port, names)


async def until_adapters(ledger: Ledger, port: int, names: tuple[str, ...]) -> None:
    async with asyncio.timeout(NOTICED_S):
        while (row := await ledger.row(url(port))) is None or row.adapters != names:
            await asyncio.sleep(0.02)
