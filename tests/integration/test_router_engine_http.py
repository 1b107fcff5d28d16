"""What engines may say on the wire, rightly and wrongly, and what a caller must see of it."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace

import httpx
import pytest

from cluster.directory import Table
from tests.fakes.engine import Request
from tests.fakes.scripted_engine import CLOSE, RESET, Script, ScriptedEngine, Step, scripted_engine
from tests.fakes.stack import FakeStack, fake_stack
from tests.integration.test_router_http import post, said_to, until
from tests.integration.test_router_lives import LAST

OK = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}"
CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
BODY = {"model": "small", "messages": [{"role": "user", "content": "hi"}]}


@asynccontextmanager
async def stack_of(script: Script) -> AsyncIterator[tuple[FakeStack, ScriptedEngine]]:
    async with scripted_engine(script) as engine, fake_stack(engines={}) as stack:
        assert engine.endpoint is not None
        stack.router.update(Table(1, (engine.endpoint,)))
        yield stack, engine


async def answers(stack: FakeStack, count: int = 1) -> list[httpx.Response]:
    async with httpx.AsyncClient(base_url=stack.base_url, timeout=5) as client:
        return [await client.post("/v1/chat/completions", json=BODY) for _ in range(count)]


def always(*steps: Step) -> Script:
    return lambda request: list(steps)


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}",
        CHUNKED + b"2\r\n{}\r\n0\r\n\r\n",
        b"HTTP/1.1 204 None\r\n\r\n",
    ],
)
async def test_one_connection_carries_many_requests_one_after_the_other(head: bytes) -> None:
    async with stack_of(always(head)) as (stack, engine):
        seen = await answers(stack, 5)
    assert {answer.status_code for answer in seen} <= {200, 204}
    assert [len(requests) for requests in engine.requests] == [5]


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{}",
        b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\n{}",
    ],
)
@pytest.mark.parametrize("closes", [True, False])
async def test_a_connection_that_the_engine_will_close_is_not_used_again(answer: bytes, closes: bool) -> None:
    async with stack_of(always(answer, *([CLOSE] if closes else []))) as (stack, engine):
        seen = await answers(stack, 3)
        await until(lambda: all(writer.transport.is_closing() for writer in engine.writers), 2)
    assert [response.content for response in seen] == [b"{}"] * 3
    assert [len(requests) for requests in engine.requests] == [1, 1, 1]


async def test_an_answer_may_come_in_any_pieces() -> None:
    whole = CHUNKED + b"1\r\n{\r\n1\r\n}\r\n0\r\n\r\n"
    steps: list[Step] = []
    for byte in whole:
        steps += [bytes([byte]), 0.001]
    async with stack_of(always(*steps)) as (stack, engine):
        seen = await answers(stack, 2)
    assert [response.content for response in seen] == [b"{}", b"{}"]
    assert len(engine.requests) == 1


async def test_interim_answers_are_not_passed_on() -> None:
    interim = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n"
    async with stack_of(always(interim, 0.01, interim + OK)) as (stack, engine):
        seen = await answers(stack, 2)
    assert [(response.status_code, response.content) for response in seen] == [(200, b"{}")] * 2
    assert "link" not in seen[0].headers
    assert len(engine.requests) == 1


@pytest.mark.parametrize("head", [b"HTTP/1.1 200 OK\r\n\r\n", b"HTTP/1.0 200 OK\r\n\r\n"])
async def test_an_answer_without_a_length_ends_with_its_connection(head: bytes) -> None:
    async with stack_of(always(head + b"one ", 0.02, b"two", CLOSE)) as (stack, engine):
        seen = await answers(stack, 2)
    assert [response.content for response in seen] == [b"one two"] * 2
    assert seen[0].headers["transfer-encoding"] == "chunked"
    assert [len(requests) for requests in engine.requests] == [1, 1]


@pytest.mark.parametrize(
    "said", [b"", b"HTTP/1.1 200", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\ncontent-length: 2"]
)
async def test_a_head_that_is_cut_off_is_no_answer(said: bytes) -> None:
    async with stack_of(always(said, CLOSE)) as (stack, _):
        (answer,) = await answers(stack)
    assert answer.status_code == 503
    assert "closed the connection" in answer.json()["error"]["message"]


@pytest.mark.parametrize("said", [b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{", CHUNKED + b"1\r\n{\r\n"])
async def test_a_body_that_is_cut_off_is_never_shown_as_whole(said: bytes) -> None:
    async with stack_of(always(said, 0.05, RESET)) as (stack, _):
        with pytest.raises(httpx.RemoteProtocolError):
            await answers(stack)


async def test_an_answer_that_promises_a_body_and_breaks_before_it_costs_a_retry() -> None:
    turns: Iterator[list[Step]] = iter([[b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n", 0.02, RESET]])
    async with stack_of(lambda request: next(turns, [OK])) as (stack, _), fake_stack() as other:
        small = other.small.endpoint
        first = stack.router._pools.of("small").slots[0].endpoint
        stack.router.update(Table(2, (first, small)))
        (answer,) = await answers(stack)
    assert answer.status_code == 200


@pytest.mark.parametrize(
    "extra", [b"H", b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil", b"garbage\r\n\r\n", b"\0"]
)
@pytest.mark.parametrize("wait_s", [0.0, 0.02])
async def test_what_an_engine_sends_after_its_answer_reaches_nobody(extra: bytes, wait_s: float) -> None:
    steps = (OK, wait_s, extra) if wait_s else (OK + extra,)
    async with stack_of(always(*steps)) as (stack, engine):
        async with httpx.AsyncClient(base_url=stack.base_url, timeout=5) as client:
            for _ in range(2):
                answer = await client.post("/v1/chat/completions", json=BODY)
                assert (answer.status_code, answer.content) == (200, b"{}")
                await asyncio.sleep(0.05)
    assert [len(requests) for requests in engine.requests] == [1, 1]


async def test_trailers_of_one_answer_do_not_become_headers_of_the_next() -> None:
    trailed = CHUNKED + b"2\r\n{}\r\n0\r\nx-secret: of-another\r\n\r\n"
    turns: Iterator[list[Step]] = iter([[trailed], [CHUNKED + b"2\r\n{}\r\n0\r\n\r\n"]])
    async with stack_of(lambda request: next(turns)) as (stack, engine):
        seen = await answers(stack, 2)
    assert len(engine.requests) == 1
    assert [response.content for response in seen] == [b"{}", b"{}"]
    assert all("x-secret" not in response.headers for response in seen)


@pytest.mark.parametrize("status", [299, 429, 499, 520, 599])
async def test_a_status_without_a_name_is_passed_on(status: int) -> None:
    async with stack_of(always(b"HTTP/1.1 %d Odd\r\ncontent-length: 2\r\n\r\n{}" % status)) as (stack, _):
        (answer,) = await answers(stack)
    assert (answer.status_code, answer.content) == (status, b"{}")


@pytest.mark.parametrize("status", [204, 304])
async def test_an_answer_that_has_no_body_by_definition_gets_no_end_of_one(status: int) -> None:
    async with stack_of(always(b"HTTP/1.1 %d None\r\n\r\n" % status)) as (stack, _):
        raw = await said_to(stack, post() + LAST)
    first, _, rest = raw.partition(b"\r\n\r\n")
    assert first.startswith(b"HTTP/1.1 %d" % status)
    assert b"transfer-encoding" not in first
    assert rest.startswith(b"HTTP/1.1 200 OK")


async def test_an_engine_that_answers_before_it_took_the_request_is_not_given_another_on_that_connection() -> None:
    async def early(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        opened.append(writer)
        await reader.readuntil(b"\r\n\r\n")
        writer.write(OK)
        await asyncio.sleep(30)

    opened: list[asyncio.StreamWriter] = []
    big = BODY | {"messages": [{"role": "user", "content": "x" * 4_000_000}]}
    async with scripted_engine(always(OK)) as engine, fake_stack(engines={}) as stack:
        server = await asyncio.start_server(early, "127.0.0.1", 0)
        assert engine.endpoint is not None
        port = server.sockets[0].getsockname()[1]
        stack.router.update(Table(1, (replace(engine.endpoint, base_url=f"http://127.0.0.1:{port}"),)))
        async with httpx.AsyncClient(base_url=stack.base_url, timeout=3) as client:
            for _ in range(2):
                answer = await client.post("/v1/chat/completions", json=big)
                assert (answer.status_code, answer.content) == (200, b"{}")
        server.close()
        assert len(opened) == 2
        for writer in opened:
            writer.transport.abort()
    await asyncio.sleep(0)


async def test_a_retry_on_another_model_gets_a_body_with_its_own_name() -> None:
    hard = {"model": "auto", "messages": [{"role": "user", "content": "Prove step by step that 2 is prime."}]}
    asked: list[str] = []

    def refuse(request: Request) -> list[Step]:
        asked.append(json.loads(request.body)["model"])
        return [b"HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n"]

    async with scripted_engine(refuse, "large") as engine, fake_stack() as stack:
        assert engine.endpoint is not None
        stack.router.update(Table(9, (engine.endpoint, stack.small.endpoint)))
        async with httpx.AsyncClient(base_url=stack.base_url, timeout=5) as client:
            answer = await client.post("/v1/chat/completions", json=hard)
    assert asked == ["large"]
    assert (answer.status_code, answer.json()["model"]) == (200, "small")


async def test_a_connection_to_an_endpoint_that_has_gone_is_closed_after_its_answer() -> None:
    async with stack_of(always(0.2, OK)) as (stack, engine):
        waiting = asyncio.create_task(answers(stack))
        await until(lambda: stack.router.in_flight == 1 and len(engine.requests) == 1, 2)
        stack.router.update(Table(2, ()))
        (answer,) = await waiting
        assert answer.status_code == 200
        await until(lambda: engine.writers[0].transport.is_closing(), 1)


async def test_a_used_connection_that_breaks_is_retried_once_for_free_and_then_counted() -> None:
    """Every idle connection dies at once, as when an engine is killed: each costs nothing, the last try decides."""
    turns: Iterator[list[Step]] = iter([[OK]])
    async with stack_of(lambda request: next(turns, [RESET])) as (stack, _):
        first, second = await answers(stack, 2)
        assert first.status_code == 200
        assert second.status_code == 503
        assert "connection" in second.json()["error"]["message"]
