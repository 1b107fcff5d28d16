"""The loader against a stand-in engine over real sockets."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from cluster.clock import MonotonicClock
from cluster.directory import Table
from cluster.directory_holder import DirectoryHolder
from cluster.errors import Unavailable
from cluster.traffic import Adapter, Traffic
from registry.digests import folder_sha256
from serving.adapters import Adapters, follow
from tests.fakes.engine import FakeEngine, options


class Server:
    """A stand-in engine that can go away and come back with nothing loaded."""

    def __init__(self, *words: str) -> None:
        self._words = ["--port", "0", "--served-model-name", "small", *words]
        self._writers: list[asyncio.StreamWriter] = []
        self.url = ""

    async def start(self, port: int = 0) -> None:
        self.fake = FakeEngine(options(self._words), asyncio.Semaphore(4))

        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self._writers.append(writer)
            await self.fake.connected(reader, writer)

        self._server = await asyncio.start_server(connected, "127.0.0.1", port)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def kill(self) -> None:
        self._server.close()
        for writer in self._writers:
            writer.transport.abort()
        await asyncio.sleep(0)

    async def restart(self) -> None:
        await self.kill()
        await self.start(int(self.url.rpartition(":")[2]))


@asynccontextmanager
async def server(*words: str) -> AsyncIterator[Server]:
    started = Server("--enable-lora", *words)
    await started.start()
    try:
        yield started
    finally:
        await started.kill()


class Clock:
    """Runs with the real one, and can be set ahead."""

    def __init__(self) -> None:
        self.ahead_s = 0.0

    def __call__(self) -> float:
        return asyncio.get_running_loop().time() + self.ahead_s


class Loader:
    """The adapters of `small-1`, with a count of what was told."""

    def __init__(self) -> None:
        self.told = 0
        self.clock = Clock()
        self.adapters = Adapters("small-1", self._tell, linger_s=0.2, monotonic=self.clock, chance=lambda: 0.0)

    def _tell(self) -> None:
        self.told += 1

    def want(self, *adapters: Adapter) -> None:
        self.adapters.want(Traffic(1, (), adapters))

    async def until(self, condition: Callable[[], bool], within_s: float = 5.0) -> None:
        try:
            async with asyncio.timeout(within_s):
                while not condition():
                    await asyncio.sleep(0.01)
        except TimeoutError:
            pytest.fail(f"loaded {self.adapters.loaded}, faults {self.adapters.faults}")

    async def until_loaded(self, *names: str) -> None:
        await self.until(lambda: self.adapters.loaded == names)


@contextmanager
def running(loader: Loader, base_url: str) -> Iterator[asyncio.Task[None]]:
    task = asyncio.create_task(loader.adapters.run(base_url))
    try:
        yield task
    finally:
        task.cancel()


def adapter(tmp_path: Path, name: str = "hotline@1-00000001", rank: int = 8) -> Adapter:
    folder = tmp_path / name
    folder.mkdir()
    (folder / "adapter_config.json").write_text(json.dumps({"r": rank, "of": name}))
    return Adapter(name, "small", str(folder), folder_sha256(folder), ("small-1", "small-2"))


async def test_a_wanted_adapter_is_checked_loaded_warmed_and_told(tmp_path: Path) -> None:
    loader, wanted = Loader(), adapter(tmp_path)
    async with server() as engine:
        with running(loader, engine.url):
            loader.want(wanted)
            await loader.until_loaded(wanted.served_name)
        assert engine.fake.adapters == {wanted.served_name: wanted.folder}
        assert engine.fake.asked == [wanted.served_name]
        assert loader.told >= 2
        assert loader.adapters.faults == ()


async def test_an_adapter_for_other_engines_is_not_loaded(tmp_path: Path) -> None:
    loader, ours = Loader(), adapter(tmp_path)
    other = replace(adapter(tmp_path, "hotline@2-00000002"), endpoint_ids=("small-2",))
    async with server() as engine:
        with running(loader, engine.url):
            loader.want(other, ours)
            await loader.until_loaded(ours.served_name)
        assert list(engine.fake.adapters) == [ours.served_name]


async def test_other_contents_than_were_registered_are_not_loaded(tmp_path: Path) -> None:
    loader, wanted = Loader(), adapter(tmp_path)
    async with server() as engine:
        (Path(wanted.folder) / "more.txt").write_text("somebody was here")
        with running(loader, engine.url):
            loader.want(wanted)
            await loader.until(lambda: bool(loader.adapters.faults))
            ((name, words),) = loader.adapters.faults
            assert name == wanted.served_name
            assert "is not what was registered" in words
            assert engine.fake.adapters == {}
            # Mended, it is loaded without being asked for again.
            (Path(wanted.folder) / "more.txt").unlink()
            loader.clock.ahead_s = 60
            loader.want(wanted, adapter(tmp_path, "other@1-00000009"))
            await loader.until(lambda: wanted.served_name in loader.adapters.loaded)
            assert loader.adapters.faults == ()


@pytest.mark.parametrize(
    ("rank", "exists", "words"),
    [
        (64, True, "Call to add_lora method failed: LoRA rank 64 is greater than max_lora_rank 16."),
        (8, False, "cannot be read here: No such file or directory"),
    ],
)
async def test_a_fault_is_told_in_the_engine_s_words(tmp_path: Path, rank: int, exists: bool, words: str) -> None:
    loader, wanted = Loader(), adapter(tmp_path, rank=rank)
    if not exists:
        wanted = replace(wanted, folder=str(tmp_path / "nowhere"))
    async with server() as engine:
        with running(loader, engine.url):
            loader.want(wanted)
            await loader.until(lambda: bool(loader.adapters.faults))
            ((_, told),) = loader.adapters.faults
    assert words in told


async def test_a_server_that_cannot_load_says_how_it_could(tmp_path: Path) -> None:
    loader = Loader()
    plain = Server()
    await plain.start()
    with running(loader, plain.url):
        loader.want(adapter(tmp_path))
        await loader.until(lambda: bool(loader.adapters.faults))
    await plain.kill()
    assert "--enable-lora" in loader.adapters.faults[0][1]


async def test_one_that_fails_is_tried_again_but_not_at_full_speed(tmp_path: Path) -> None:
    loader, wanted = Loader(), adapter(tmp_path, rank=64)
    tries = 0

    class Counted(FakeEngine):
        async def load(self, asked: dict[str, object]) -> bytes:
            nonlocal tries
            tries += 1
            return await super().load(asked)

    async with server() as engine:
        engine.fake.__class__ = Counted
        with running(loader, engine.url):
            loader.want(wanted)
            # Waits of at least 0.5, 1 and 2 s.
            await asyncio.sleep(2.0)
    assert tries in (2, 3)


async def test_what_is_no_longer_wanted_stays_a_moment_and_then_goes(tmp_path: Path) -> None:
    loader, before, after = Loader(), adapter(tmp_path), adapter(tmp_path, "hotline@2-00000002")
    async with server() as engine:
        with running(loader, engine.url):
            loader.want(before)
            await loader.until_loaded(before.served_name)
            loader.want(after)
            await loader.until_loaded(before.served_name, after.served_name)
            await loader.until_loaded(after.served_name)
        assert list(engine.fake.adapters) == [after.served_name]


async def test_one_that_is_wanted_again_in_time_is_not_loaded_again(tmp_path: Path) -> None:
    loader, wanted = Loader(), adapter(tmp_path)
    async with server() as engine:
        with running(loader, engine.url):
            loader.want(wanted)
            await loader.until_loaded(wanted.served_name)
            loader.want()
            await asyncio.sleep(0.1)
            loader.want(wanted)
            await asyncio.sleep(0.3)
            assert loader.adapters.loaded == (wanted.served_name,)
        assert engine.fake.asked == [wanted.served_name]


async def test_nothing_is_taken_away_before_anybody_has_said_what_is_wanted(tmp_path: Path) -> None:
    loader, wanted = Loader(), adapter(tmp_path)
    async with server() as engine:
        engine.fake.adapters = {
            "hotline@7-0000000a": "/from/before",
            "somebody-elses": "/theirs",
            wanted.served_name: wanted.folder,
        }
        with running(loader, engine.url):
            await asyncio.sleep(0.4)
            assert len(engine.fake.adapters) == 3
            loader.clock.ahead_s = 10
            loader.want(wanted)
            await loader.until_loaded(wanted.served_name)
            loader.clock.ahead_s = 20
            await loader.until(lambda: len(engine.fake.adapters) == 2, within_s=8)
        # One of ours that nobody wants is gone; what others have loaded is none of our business.
        assert set(engine.fake.adapters) == {"somebody-elses", wanted.served_name}


async def test_a_server_that_was_started_again_unnoticed_gets_its_adapters_again(tmp_path: Path) -> None:
    loader, wanted = Loader(), adapter(tmp_path)
    async with server() as engine:
        with running(loader, engine.url):
            loader.want(wanted)
            await loader.until_loaded(wanted.served_name)
            await engine.restart()
            assert engine.fake.adapters == {}
            loader.clock.ahead_s = 10
            loader.want(replace(wanted, endpoint_ids=("small-1",)))
            await loader.until(lambda: engine.fake.asked == [wanted.served_name])
            await loader.until_loaded(wanted.served_name)


async def test_the_next_life_begins_with_nothing_and_loads_all_again(tmp_path: Path) -> None:
    loader, wanted = Loader(), adapter(tmp_path)
    async with server() as engine:
        with running(loader, engine.url) as life:
            loader.want(wanted)
            await loader.until_loaded(wanted.served_name)
            life.cancel()
            await asyncio.wait({life})
        assert loader.adapters.loaded == ()
        await engine.restart()
        with running(loader, engine.url):
            await loader.until_loaded(wanted.served_name)


async def test_a_load_that_hangs_can_be_given_up_at_once(tmp_path: Path) -> None:
    loader = Loader()
    async with server("--adapter-delay-s=60") as engine:
        with running(loader, engine.url) as life:
            loader.want(adapter(tmp_path))
            await asyncio.sleep(0.2)
            life.cancel()
            async with asyncio.timeout(1):
                await asyncio.wait({life})
    assert loader.adapters.loaded == ()


async def test_requests_go_on_while_an_adapter_loads(tmp_path: Path) -> None:
    loader = Loader()
    async with server("--adapter-delay-s=0.5") as engine:
        with running(loader, engine.url):
            loader.want(adapter(tmp_path))
            async with httpx.AsyncClient() as client:
                async with asyncio.timeout(0.4):
                    assert (await client.get(f"{engine.url}/health")).status_code == 200
            assert loader.adapters.loaded == ()


async def test_engines_follow_the_traffic_and_a_directory_out_of_reach_changes_nothing(tmp_path: Path) -> None:
    class Directory(DirectoryHolder):
        is_out_of_reach = True
        reads = 0

        async def read(self, known_version: int, timeout_s: float) -> Table:
            self.reads += 1
            if self.is_out_of_reach:
                self.is_out_of_reach = False
                raise Unavailable("no directory")
            return await super().read(known_version, timeout_s)

    directory, taken = Directory(MonotonicClock(), settle_s=0.0), list[Traffic]()
    first, second = Traffic(1, (), (adapter(tmp_path),)), Traffic(2, (), ())
    task = asyncio.create_task(follow(directory, taken.append))
    try:
        async with asyncio.timeout(5):
            await directory.direct(first)
            while not taken:
                await asyncio.sleep(0.01)
            await directory.direct(second)
            while len(taken) < 2:
                await asyncio.sleep(0.01)
        assert taken == [first, second]
        reads = directory.reads
        await asyncio.sleep(0.3)
        assert directory.reads <= reads + 1
    finally:
        task.cancel()
