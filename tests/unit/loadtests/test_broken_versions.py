"""The parts of the bench of broken versions that need no engine."""

import asyncio
import time

import httpx

from loadtests.rollout_bench.broken import Broken, table
from loadtests.rollout_bench.crowd import Crowd
from loadtests.rollout_bench.faulty_server import app
from tests.fakes.engine import FakeEngine, options


async def engine() -> tuple[asyncio.Server, str]:
    fake = FakeEngine(options(["--port", "0", "--served-model-name", "small"]), asyncio.Semaphore(8))
    server = await asyncio.start_server(fake.connected, "127.0.0.1", 0)
    return server, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def test_a_faulty_server_answers_as_its_engine_until_it_is_told_to_fail() -> None:
    server, url = await engine()
    faulty = app("behind")
    body = {"model": "behind", "messages": [{"role": "user", "content": "hi"}]}
    transport = httpx.ASGITransport(app=faulty)
    async with (
        faulty.router.lifespan_context(faulty),
        httpx.AsyncClient(transport=transport, base_url="http://x") as client,
    ):
        assert (await client.get("/v1/models")).json()["data"][0]["id"] == "behind"
        await client.post("/behave", json={"engine": url, "as_model": "small"})
        answer = await client.post("/v1/chat/completions", json=body)
        assert answer.json()["choices"][0]["message"]["content"] == "small says: hi"
        await client.post("/behave", json={"delay_s": 0.2})
        begun_s = time.monotonic()
        await client.post("/v1/chat/completions", json=body)
        assert time.monotonic() - begun_s >= 0.2
        await client.post("/behave", json={"delay_s": 0, "error_ratio": 1.0})
        assert (await client.post("/v1/chat/completions", json=body)).status_code == 500
    server.close()


async def test_a_crowd_counts_every_request_and_what_became_of_it() -> None:
    server, url = await engine()
    crowd = Crowd(url, "small", 3)
    crowd.__enter__()
    try:
        async with asyncio.timeout(5):
            while len(crowd.since(0)) < 8:
                await asyncio.sleep(0.02)
    finally:
        # Elsewhere: the engine, on this loop, still owes it answers.
        await asyncio.to_thread(crowd.__exit__)
    asked = crowd.since(0)
    assert {each.status for each in asked} == {200}
    assert all(each.said.startswith("small says:") for each in asked)
    assert crowd.since(time.time()) == []
    server.close()


def test_what_is_not_answered_counts_as_lost() -> None:
    with Crowd("http://127.0.0.1:9", "small", 1) as crowd:
        ends_s = time.monotonic() + 5
        while not crowd.since(0) and time.monotonic() < ends_s:
            time.sleep(0.02)
    assert {each.status for each in crowd.since(0)} == {0}


def test_the_table_says_loudly_what_was_not_rolled_back() -> None:
    slow = Broken("slow", False, 12.3, 0.5, 0.25, 0, 1, 80, "")
    lines = table([slow]).splitlines()
    assert lines[1].split() == ["slow", "NO", "12.3", "s", "0.50", "s", "25.0%", "0", "1", "80"]
