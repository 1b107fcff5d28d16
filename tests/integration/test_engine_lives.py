"""An `Engine` with its real guard and the stand-in engine: it comes back from everything, and leaves nothing."""

import asyncio
import os
import signal
import sys
import threading
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import httpx
import psutil
import pytest
import uvloop

from cluster.clock import MonotonicClock
from cluster.directory import Endpoint, Table
from cluster.directory_holder import DirectoryHolder
from cluster.errors import OurFault, Unavailable
from cluster.traffic import Adapter, Traffic
from registry.digests import folder_sha256
from serving.engine import Engine, Plan
from serving.engine_args import Command
from serving.health import Limits
from serving.processes import session_members


class Ledger(DirectoryHolder):
    """A directory that keeps every report; `out_of_reach` makes it fail."""

    def __init__(self) -> None:
        super().__init__(MonotonicClock(), settle_s=0.0)
        self.reports: list[Endpoint] = []
        self.forgotten: list[str] = []
        self.out_of_reach = False
        self.traffic: Traffic | None = None

    async def report(self, *endpoints: Endpoint) -> None:
        if self.out_of_reach:
            raise Unavailable("no directory")
        self.reports.extend(endpoints)

    async def forget(self, *endpoint_ids: str) -> None:
        if self.out_of_reach:
            raise Unavailable("no directory")
        self.forgotten.extend(endpoint_ids)

    async def read(self, known_version: int, timeout_s: float) -> Table:
        return Table(len(self.reports), tuple(self.reports[-1:]), self.traffic)


def plan(tmp_path: Path, *options: str, unresponsive_s: float = 30, ready_timeout_s: float = 30) -> Plan:
    def command(port: int) -> Command:
        words = (sys.executable, "-m", "tests.fakes.engine", f"--port={port}", "--served-model-name=small", *options)
        return Command(words, os.environ)

    return Plan(
        endpoint_id="small-1",
        model="small",
        host="127.0.0.1",
        command=command,
        log_path=tmp_path / "engine.log",
        limits=Limits(ready_timeout_s, unresponsive_s),
        drain_s=10,
        grace_s=1,
    )


@asynccontextmanager
async def alive(plan: Plan, ledger: Ledger) -> AsyncIterator[Engine]:
    """A supervised engine, stopped at the end; whatever the test did, no process may be left."""
    engine = Engine(plan, ledger, chance=lambda: 0.0)
    supervision = asyncio.create_task(engine.run())
    try:
        yield engine
        await engine.stop()
    finally:
        supervision.cancel()
        await asyncio.wait({supervision})
    assert not [pid for pid in {report.pid for report in ledger.reports} if pid and session_members(pid)]


async def until(condition: Callable[[], bool], within_s: float = 20) -> None:
    async with asyncio.timeout(within_s):
        while True:
            if condition():
                return
            await asyncio.sleep(0.02)


def engine_pid(endpoint: Endpoint) -> int:
    (child,) = psutil.Process(endpoint.pid).children()
    return child.pid


async def ready_again(engine: Engine, restarts: int) -> None:
    await until(lambda: engine.endpoint.restarts == restarts and engine.endpoint.state == "ready")


async def test_an_engine_is_reported_as_it_starts_serves_and_ends(tmp_path: Path) -> None:
    ledger = Ledger()
    async with alive(plan(tmp_path), ledger) as engine:
        await engine.wait_ready(1)
        async with httpx.AsyncClient() as client:
            assert (await client.get(f"{engine.endpoint.base_url}/health")).status_code == 200
        await until(lambda: ledger.reports[-1].state == "ready")
    states = list(dict.fromkeys(report.state for report in ledger.reports))
    assert states == ["starting", "ready", "draining"]
    assert ledger.forgotten == ["small-1"]
    last = ledger.reports[-1]
    assert (last.endpoint_id, last.model, last.restarts) == ("small-1", "small", 0)


async def test_an_engine_that_is_killed_comes_back_under_the_same_name(tmp_path: Path) -> None:
    ledger = Ledger()
    async with alive(plan(tmp_path, "--spawn-child"), ledger) as engine:
        await engine.wait_ready(1)
        first = engine.endpoint
        os.kill(engine_pid(first), signal.SIGKILL)
        await until(lambda: engine.endpoint.state == "restarting")
        assert first.pid is not None
        assert session_members(first.pid) == ()
        await ready_again(engine, restarts=1)
        assert engine.endpoint.endpoint_id == first.endpoint_id
        assert engine.endpoint.pid != first.pid
    assert any("was killed by SIGKILL" in report.detail for report in ledger.reports)


async def test_an_engine_whose_guard_is_killed_comes_back_and_nothing_of_the_old_one_is_left(tmp_path: Path) -> None:
    async with alive(plan(tmp_path, "--spawn-child"), Ledger()) as engine:
        await engine.wait_ready(1)
        first = engine.endpoint.pid
        assert first is not None
        os.kill(first, signal.SIGKILL)
        await ready_again(engine, restarts=1)
        assert session_members(first) == ()


async def test_an_engine_that_hangs_is_killed_and_comes_back(tmp_path: Path) -> None:
    hanging = plan(tmp_path, "--hang-after-s=1", "--spawn-child", unresponsive_s=1)
    ledger = Ledger()
    async with alive(hanging, ledger) as engine:
        await engine.wait_ready(1)
        await until(lambda: engine.endpoint.restarts == 1)
    assert any("has not answered on /health for 1 s" in report.detail for report in ledger.reports)


async def test_an_engine_that_says_it_is_broken_is_started_again(tmp_path: Path) -> None:
    ledger = Ledger()
    async with alive(plan(tmp_path, "--sick-after-s=1"), ledger) as engine:
        await engine.wait_ready(1)
        await until(lambda: engine.endpoint.restarts == 1)
    assert any("reports on /health that it is broken" in report.detail for report in ledger.reports)


async def test_a_start_that_takes_too_long_counts_as_a_death(tmp_path: Path) -> None:
    async with alive(plan(tmp_path, "--start-delay-s=60", ready_timeout_s=0.5), Ledger()) as engine:
        with pytest.raises(OurFault, match=r"small does not start: was not ready after"):
            await engine.wait_ready(1)


async def test_several_failed_starts_are_told_in_the_engine_s_own_words(tmp_path: Path) -> None:
    async with alive(plan(tmp_path, "--die-after-s=0", "--start-delay-s=0.3"), Ledger()) as engine:
        with pytest.raises(OurFault, match=r"ended with status 3: RuntimeError: told to die"):
            await engine.wait_ready(2)
        assert engine.endpoint.restarts >= 1


async def test_a_stop_waits_for_the_request_in_flight(tmp_path: Path) -> None:
    async with alive(plan(tmp_path, "--token-delay-s=0.5"), Ledger()) as engine:
        await engine.wait_ready(1)
        question = {"model": "small", "messages": [{"role": "user", "content": "a b c d e f"}]}
        async with httpx.AsyncClient(timeout=20) as client, asyncio.TaskGroup() as tasks:
            url = f"{engine.endpoint.base_url}/v1/chat/completions"
            asked = tasks.create_task(client.post(url, json=question))
            await asyncio.sleep(0.3)
            await engine.stop()
            assert asked.done()
        assert asked.result().json()["choices"][0]["message"]["content"] == "small says: a b c d e f"


async def test_a_stop_during_the_wait_before_a_restart_is_immediate(tmp_path: Path) -> None:
    async with alive(plan(tmp_path, "--die-after-s=0"), Ledger()) as engine:
        await until(lambda: engine.failures >= 2 and engine.endpoint.state == "restarting")
        async with asyncio.timeout(4):
            await engine.stop()


async def test_adapters_follow_when_the_engine_is_ready_and_again_when_it_comes_back(tmp_path: Path) -> None:
    folder = tmp_path / "adapter"
    folder.mkdir()
    (folder / "adapter_config.json").write_text('{"r": 8}')
    name, ledger = "hotline@1-00000001", Ledger()
    ledger.traffic = Traffic(1, (), (Adapter(name, "small", str(folder), folder_sha256(folder), ("small-1",)),))
    async with alive(replace(plan(tmp_path, "--enable-lora"), max_adapters=2), ledger) as engine:
        await engine.wait_ready(1)
        await until(lambda: engine.endpoint.adapters == (name,))
        question = {"model": name, "messages": [{"role": "user", "content": "a"}]}
        async with httpx.AsyncClient() as client:
            answer = await client.post(f"{engine.endpoint.base_url}/v1/chat/completions", json=question)
        assert answer.status_code == 200
        os.kill(engine_pid(engine.endpoint), signal.SIGKILL)
        await until(lambda: engine.endpoint.state == "restarting")
        assert engine.endpoint.adapters == ()
        await ready_again(engine, restarts=1)
        await until(lambda: engine.endpoint.adapters == (name,))
    told = [(report.state, report.adapters, report.max_adapters) for report in ledger.reports]
    assert ("ready", (name,), 2) in told
    # An engine that is ready serves at once; adapters are told when they are there.
    assert told.index(("ready", (), 2)) < told.index(("ready", (name,), 2))


async def test_a_load_that_hangs_keeps_no_engine_from_being_ready_or_from_ending(tmp_path: Path) -> None:
    folder = tmp_path / "adapter"
    folder.mkdir()
    ledger = Ledger()
    ledger.traffic = Traffic(
        1, (), (Adapter("a@1-00000001", "small", str(folder), folder_sha256(folder), ("small-1",)),)
    )
    hanging = plan(tmp_path, "--enable-lora", "--adapter-delay-s=60", unresponsive_s=2)
    async with alive(replace(hanging, max_adapters=2), ledger) as engine:
        await engine.wait_ready(1)
        await asyncio.sleep(3)
        assert (engine.endpoint.state, engine.endpoint.restarts) == ("ready", 0)
        async with asyncio.timeout(6):
            await engine.stop()


async def test_a_directory_out_of_reach_keeps_no_engine_from_serving_or_from_ending(tmp_path: Path) -> None:
    ledger = Ledger()
    ledger.out_of_reach = True
    async with alive(plan(tmp_path), ledger) as engine:
        await engine.wait_ready(1)
        ledger.out_of_reach = False
        await until(lambda: bool(ledger.reports) and ledger.reports[-1].state == "ready", within_s=5)
        ledger.out_of_reach = True
        async with asyncio.timeout(20):
            await engine.stop()
        assert ledger.forgotten == []


async def test_a_supervision_that_breaks_is_told_to_whoever_waits(tmp_path: Path) -> None:
    def broken(port: int) -> Command:
        raise ZeroDivisionError("no command today")

    engine = Engine(replace(plan(tmp_path), command=broken), Ledger())
    supervision = asyncio.create_task(engine.run())
    with pytest.raises(OurFault, match="supervision of small-1 failed: ZeroDivisionError"):
        await engine.wait_ready(1)
    with pytest.raises(OurFault):
        await supervision


async def test_a_supervision_that_is_cancelled_kills_its_engine(tmp_path: Path) -> None:
    engine = Engine(plan(tmp_path, "--spawn-child", "--ignore-sigterm"), Ledger())
    supervision = asyncio.create_task(engine.run())
    await engine.wait_ready(1)
    pid = engine.endpoint.pid
    assert pid is not None
    supervision.cancel()
    with pytest.raises(asyncio.CancelledError):
        await supervision
    assert session_members(pid) == ()


@pytest.mark.parametrize("runner", [asyncio.run, uvloop.run])
def test_an_engine_is_supervised_from_a_loop_outside_the_main_thread(
    tmp_path: Path, runner: Callable[[Coroutine[None, None, None]], None]
) -> None:
    restarted: list[int] = []

    async def work() -> None:
        async with alive(plan(tmp_path), Ledger()) as engine:
            await engine.wait_ready(1)
            os.kill(engine_pid(engine.endpoint), signal.SIGKILL)
            await ready_again(engine, restarts=1)
            restarted.append(engine.endpoint.restarts)

    thread = threading.Thread(target=runner, args=(work(),))
    thread.start()
    thread.join(timeout=60)
    assert restarted == [1]
