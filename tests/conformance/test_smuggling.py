"""Requests hidden in requests: what reaches an engine, and whose answer each client gets.

A smuggler wants two parties to see different ends of one request. The engine is never one of the two: it gets a head
that we write, with a length that we counted. So what must hold is that nothing of the client's framing gets through,
that what one party might take for a request is never answered as one, and that answers keep their order.
"""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from cluster.directory import Table
from tests.conformance.readers import read_by_h11
from tests.conformance.wire import ANSWER, Heard, wire
from tests.fakes.engine import Request
from tests.fakes.scripted_engine import ScriptedEngine, Step, scripted_engine
from tests.fakes.stack import fake_stack

SMUGGLED = b"GET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n"
CHAT = b"POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\n"
# What an engine may be sent, whatever the client's head said.
OUR_HEADERS = {"host", "content-type", "content-length", "x-request-id", "traceparent", "tracestate"}


def asking(words: str) -> bytes:
    return json.dumps({"model": "small", "messages": [{"role": "user", "content": words}]}).encode()


def framed(body: bytes, lines: bytes = b"") -> bytes:
    return b"%b%bcontent-length: %d\r\n\r\n%b" % (CHAT, lines, len(body), body)


def in_chunks(body: bytes, size: int, extension: bytes = b"") -> bytes:
    parts = [body[start : start + size] for start in range(0, len(body), size)]
    text = b"".join(b"%x%b\r\n%b\r\n" % (len(part), extension, part) for part in parts)
    return b"%btransfer-encoding: chunked\r\n\r\n%b0\r\nx-trailer: y\r\n\r\n" % (CHAT, text)


def answer_to(request: Request) -> list[Step]:
    """The engine says the question back, so that an answer shows whose it is."""
    text = json.dumps({"said": json.loads(request.body)["messages"][0]["content"]}).encode()
    return [b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(text), text)]


@asynccontextmanager
async def engine_behind_router() -> AsyncIterator[tuple[int, ScriptedEngine]]:
    async with scripted_engine(answer_to) as engine, fake_stack(engines={}) as stack:
        assert engine.endpoint is not None
        stack.router.update(Table(1, (engine.endpoint,)))
        yield stack.port, engine


async def said_to(port: int, *pieces: bytes, quiet_s: float = 0.1) -> Heard:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.writelines(pieces)
        data = b""
        try:
            while True:
                async with asyncio.timeout(quiet_s):
                    part = await reader.read(1 << 20)
                data += part
                if not part:
                    return Heard(data, is_closed=True)
        except TimeoutError:
            return Heard(data, is_closed=False)
    finally:
        writer.close()


def check_what_came(engine: ScriptedEngine, words: list[str]) -> None:
    """These questions and nothing else, each framed by us."""
    came = [request for connection in engine.requests for request in connection]
    assert [json.loads(request.body)["messages"][0]["content"] for request in came] == words
    for request in came:
        assert set(request.headers) <= OUR_HEADERS
        assert request.path == "/v1/chat/completions"
        assert request.headers["content-length"] == str(len(request.body))


@pytest.mark.parametrize(
    "raw",
    [
        framed(asking("one")),
        framed(asking("one"), b"connection: content-length, host, x-request-id\r\n"),
        framed(asking("one"), b"transfer_encoding: chunked\r\ncontent_length: 5\r\nx-transfer-encoding: chunked\r\n"),
        framed(asking("one"), b"te: trailers, chunked\r\ntrailer: content-length\r\nkeep-alive: timeout=9\r\n"),
        framed(asking("one"), b"x-forwarded-host: b\r\nx-http-method-override: PUT\r\nx-original-url: /metrics\r\n"),
        framed(asking("one"), b"connection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AAEAAEAA\r\n"),
        framed(asking("one"), b"expect: 100-continue\r\n"),
        in_chunks(asking("one"), 7),
        in_chunks(asking("one"), 1, b';content-length=3;x="\\"y"'),
    ],
)  # fmt: skip
async def test_nothing_of_the_clients_framing_reaches_an_engine(raw: bytes) -> None:
    async with engine_behind_router() as (port, engine):
        heard = await said_to(port, raw)
    assert [status for status in heard.statuses if status != 100] == [200]
    check_what_came(engine, ["one"])


async def test_a_request_inside_a_body_stays_in_the_body() -> None:
    words = framed(asking("inner")).decode() + SMUGGLED.decode()
    async with engine_behind_router() as (port, engine):
        heard = await said_to(port, framed(asking(words)), in_chunks(asking(words), 11))
    assert heard.statuses[:1] == [200]
    check_what_came(engine, [words, words])


@pytest.mark.parametrize("name", ["x-request-id", "traceparent", "tracestate"])
@pytest.mark.parametrize("value", [b"a\rb: c", b"a\r\n b", b"a\nb: c", b"a\0b"])
async def test_a_header_that_is_passed_on_cannot_carry_another(name: str, value: bytes) -> None:
    async with engine_behind_router() as (port, engine):
        heard = await said_to(port, framed(asking("one"), b"%b: %b\r\n" % (name.encode(), value)))
    assert heard.statuses == [400]
    check_what_came(engine, [])


@pytest.mark.parametrize(
    "first",
    [
        # CL.TE, TE.CL, TE.TE, CL.CL and CL.0, each as it is tried on fronts that let one of the two decide.
        b"content-length: %d\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n" % (5 + len(SMUGGLED)),
        b"transfer-encoding: chunked\r\ncontent-length: 4\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(SMUGGLED), SMUGGLED),
        b"transfer-encoding: chunked\r\ntransfer-encoding: identity\r\n\r\n0\r\n\r\n",
        b"transfer-encoding: xchunked\r\n\r\n0\r\n\r\n",
        b"content-length: 0\r\ncontent-length: %d\r\n\r\n" % len(SMUGGLED),
        b"content-length: 0, %d\r\n\r\n" % len(SMUGGLED),
        b"transfer-encoding: chunked\r\n\r\n0\r\ncontent-length: %d\r\n\r\n" % len(SMUGGLED),
        b"transfer-encoding: chunked\r\n\r\n0;\n%b\r\n\r\n" % SMUGGLED,
        b"transfer-encoding: chunked\r\n\r\n1;\r\n\r\n0\r\n\r\n",
        b"x: y\rtransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    ],
)
async def test_a_known_attack_ends_the_connection_and_what_it_hides_is_never_a_request(first: bytes) -> None:
    poisoned = CHAT + first + SMUGGLED + framed(asking("victim"))
    async with engine_behind_router() as (port, engine):
        heard = await said_to(port, framed(asking("before")) + poisoned, quiet_s=0.3)
    assert [status // 100 for status in heard.statuses] == [2, 4]
    assert heard.is_closed
    check_what_came(engine, ["before"])


async def test_a_body_that_an_old_front_would_leave_unread_is_read() -> None:
    """CL.0: many servers answer an unknown address without reading the body, and take it for the next request."""
    hidden = framed(asking("hidden"))
    heads = (b"POST /nowhere", b"GET /healthz", b"GET /v1/chat/completions", b"HEAD /healthz", b"OPTIONS /metrics")
    async with engine_behind_router() as (port, engine):
        for head in heads:
            raw = b"%b HTTP/1.1\r\nhost: a\r\ncontent-length: %d\r\n\r\n%b" % (head, len(hidden), hidden)
            heard = await said_to(port, raw)
            assert len(heard.statuses) == 1
    check_what_came(engine, [])


async def test_each_of_many_clients_gets_the_answers_to_its_own_requests_in_their_order() -> None:
    async def client(port: int, number: int) -> list[str]:
        words = [f"{number}-{turn}" for turn in range(20)]
        heard = await said_to(port, b"".join(framed(asking(word)) for word in words), quiet_s=1)
        return [said.decode() for said in re.findall(rb'"said": "([^"]*)"', heard.data)]

    async with engine_behind_router() as (port, engine):
        answers = await asyncio.gather(*(client(port, number) for number in range(10)))
    assert answers == [[f"{number}-{turn}" for turn in range(20)] for number in range(10)]
    assert len([request for connection in engine.requests for request in connection]) == 200


# ---- every byte in every place -------------------------------------------------------------------------------------

PLACES = (
    b"%bTransfer-Encoding: chunked",
    b"Transfer%bEncoding: chunked",
    b"Transfer-Encoding%b: chunked",
    b"Transfer-Encoding:%bchunked",
    b"Transfer-Encoding:%b chunked",
    b"Transfer-Encoding: %bchunked",
    b"Transfer-Encoding: chun%bked",
    b"Transfer-Encoding: chunked%b",
    b"x: y%bTransfer-Encoding: chunked",
    b"x: y\r%bTransfer-Encoding: chunked",
    b"x: y%b\nTransfer-Encoding: chunked",
)


@pytest.mark.parametrize("place", PLACES, ids=[place.decode().encode("unicode_escape").decode() for place in PLACES])
async def test_a_byte_in_or_around_a_coding_never_changes_what_a_request_is(place: bytes) -> None:
    """A coding beside a length is refused, or is no coding: then the length rules, for us and for others alike."""
    hidden = b"0\r\n\r\n" + SMUGGLED
    async with wire() as server:
        for byte in range(256):
            line = place % bytes([byte])
            raw = b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: %d\r\n%b\r\n\r\n%b" % (len(hidden), line, hidden)
            server.keeper.requests.clear()
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(raw)
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 2)
            writer.close()
            (status,) = ANSWER.findall(head)
            if status == b"200":
                assert [request.body for request in server.keeper.requests] == [hidden], line
                others = [body for _, _, body in read_by_h11(raw)]
                assert others in ([hidden], []), line
            else:
                assert status in (b"400", b"501"), line
                assert server.keeper.requests == [], line
