"""Splits as they reach replicas: through the directory, at a running replica and at one that starts."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from cluster.clock import MonotonicClock
from cluster.directory_holder import DirectoryHolder
from cluster.outcomes import Batch
from cluster.traffic import Adapter, Side, Split, Traffic
from router.judge_file import save
from tests.fakes.judges import weights
from tests.fakes.scripted_engine import scripted_engine
from tests.fakes.version_stack import BASE, SECOND, Wills
from tests.integration.test_router_http import until
from tests.integration.test_router_replica import _no_second_stop, free_port, replica_on

__all__ = ["_no_second_stop", "free_port"]

# The bound. What is measured here is far less; see the assertion's message where it is not.
BOUND_S = 2.0


def traffic(generation: int, ratio: float) -> Traffic:
    adapter = Adapter(SECOND.served_name, "small", "/nowhere", "0" * 64, ("small-0",))
    return Traffic(generation, (Split("hotline", BASE, SECOND, ratio, 0.0, "r1"),), (adapter,))


async def version_of(port: int, user: str = "somebody", model: str = "hotline") -> str:
    # A connection of its own: the kernel gives it to either replica.
    async with httpx.AsyncClient(timeout=5, verify=False) as client:
        body = {"model": model, "messages": [{"role": "user", "content": "hi"}], "user": user}
        answer = await client.post(f"http://127.0.0.1:{port}/v1/chat/completions", json=body)
        assert answer.status_code == 200, answer.text
        version: str = answer.headers["x-fenzhen-version"]
        return version


@asynccontextmanager
async def engine_with_adapter(directory: DirectoryHolder) -> AsyncIterator[None]:
    async with scripted_engine(Wills().script) as engine:
        assert engine.endpoint is not None
        endpoint = replace(engine.endpoint, endpoint_id="small-0", adapters=(SECOND.served_name,))

        async def report() -> None:
            while True:
                await directory.report(endpoint)
                await asyncio.sleep(1)

        reporting = asyncio.create_task(report())
        try:
            yield
        finally:
            reporting.cancel()


async def test_two_replicas_follow_each_split_within_the_bound_and_draw_the_same(free_port: int) -> None:
    directory = DirectoryHolder(MonotonicClock(), settle_s=0)
    async with AsyncExitStack() as exits:
        await exits.enter_async_context(engine_with_adapter(directory))
        replicas = [await exits.enter_async_context(replica_on(free_port, directory)) for _ in range(2)]
        for generation, ratio in enumerate((0.0, 0.25, 0.5, 1.0, 0.0), start=1):
            began_s = time.monotonic()
            await directory.direct(traffic(generation, ratio))
            await until(
                lambda generation=generation: all(
                    each._server._answerer._ways.splits.generation == generation for each in replicas
                ),
                BOUND_S,
            )
            took_s = time.monotonic() - began_s
            assert took_s < BOUND_S, f"{took_s:.3f} s"
            for user in range(6):
                assert len({await version_of(free_port, f"user {user}") for _ in range(4)}) == 1
        # An older decision, and a directory that was born again and has heard of none, change nothing.
        await directory.direct(traffic(2, 1.0))
        reborn = DirectoryHolder(MonotonicClock(), settle_s=0)
        for each in replicas:
            each._loop.call_soon_threadsafe(each._server.update, replace(await directory.read(-1, 0), traffic=None))
        assert (await reborn.read(-1, 0)).traffic is None
        assert {await version_of(free_port) for _ in range(6)} == {"0"}


async def test_a_replica_that_starts_acts_by_the_splits_from_its_first_request_on(
    free_port: int, tmp_path: Path
) -> None:
    path = tmp_path / "new.judge"
    save(weights(1), path)
    directory = DirectoryHolder(MonotonicClock(), settle_s=0)
    async with engine_with_adapter(directory):
        judged = Split("auto", Side(1, "", "", judge=str(path)))
        await directory.direct(replace(traffic(7, 1.0), splits=(*traffic(7, 1.0).splits, judged)))
        async with replica_on(free_port, directory) as replica:
            assert await version_of(free_port) == "2"
            assert replica._server._answerer._ways.not_ready(replica._loop.time()) == []
            async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{free_port}", timeout=5) as client:
                body = {"model": "auto", "messages": [{"role": "user", "content": "hi"}]}
                answer = await client.post("/v1/chat/completions", json=body)
                ready = (await client.get("/readyz")).json()
            assert answer.headers["x-fenzhen-judge-version"] == "1"
            assert ready["traffic"] == {"generation": 7, "not_ready": []}
            await replica.check_health()


async def test_a_replica_tells_what_became_of_requests_and_which_decision_it_acts_by(free_port: int) -> None:
    directory = DirectoryHolder(MonotonicClock(), settle_s=0)
    async with engine_with_adapter(directory):
        await directory.direct(traffic(3, 0.5))
        async with replica_on(free_port, directory):
            versions = [await version_of(free_port, f"user {number}") for number in range(20)]
            told: list[Batch] = []
            async with asyncio.timeout(5):
                while sum(len(batch.outcomes) for batch in told) < 20:
                    told += await directory.fetch()
                    await asyncio.sleep(0.1)
    outcomes = [outcome for batch in told for outcome in batch.outcomes]
    assert {batch.generation for batch in told} == {3}
    assert {batch.replica for batch in told if batch.replica} == {told[0].replica}
    assert sorted(str(outcome.version) for outcome in outcomes) == sorted(versions)
    assert all(outcome.is_canary is (outcome.version == 2) for outcome in outcomes)
    assert {outcome.fault for outcome in outcomes} == {""}
    demand = sum(count for batch in told for name, count in batch.demand if name == SECOND.served_name)
    assert demand == versions.count("2")


@pytest.mark.parametrize("ratio", [1.0])
async def test_a_damaged_judge_keeps_no_replica_from_serving(free_port: int, tmp_path: Path, ratio: float) -> None:
    path = tmp_path / "damaged.judge"
    path.write_bytes(b"nothing")
    directory = DirectoryHolder(MonotonicClock(), settle_s=0)
    async with engine_with_adapter(directory):
        split = Split("auto", Side(0, "", ""), Side(1, "", "", judge=str(path)), ratio, 0.0, "r1")
        await directory.direct(Traffic(1, (split,), ()))
        async with replica_on(free_port, directory) as replica:
            async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{free_port}", timeout=5) as client:
                body = {"model": "auto", "messages": [{"role": "user", "content": "hi"}]}
                answer = await client.post("/v1/chat/completions", json=body)
                ready = await client.get("/readyz")
            assert (answer.status_code, answer.headers["x-fenzhen-judge-version"]) == (200, "0")
            assert ready.status_code == 200
            assert ready.json()["traffic"]["not_ready"] == ["auto version 1: its judge is not loaded"]
            await replica.check_health()
