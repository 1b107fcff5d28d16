"""The life of a connection: pipelines, ends, half-closes, questions before the body, clients slow on purpose."""

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from email.utils import parsedate_to_datetime

import pytest

from tests.conformance.wire import Heard, Wire, wire
from tests.fakes.stack import FakeStack, fake_stack

GET = b"GET /healthz HTTP/1.1\r\nhost: a\r\n\r\n"
LAST = b"GET /healthz HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n"
CHAT = json.dumps({"model": "small", "messages": [{"role": "user", "content": "one two"}]}).encode()
POST = b"POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\ncontent-length: %d\r\n\r\n%b" % (len(CHAT), CHAT)


@asynccontextmanager
async def client_of(port: int) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        async with asyncio.timeout(20):
            yield reader, writer
    finally:
        writer.close()


async def said_whole(stack: FakeStack, raw: bytes) -> bytes:
    """All that comes until the server closes."""
    async with client_of(stack.port) as (reader, writer):
        writer.write(raw)
        return await reader.read()


# ---- pipelines -----------------------------------------------------------------------------------------------------


async def test_a_thousand_requests_in_one_write_are_answered_in_their_order() -> None:
    line = b"GET /v1/models/%d HTTP/1.1\r\nhost: a\r\nx-request-id: %d\r\n\r\n"
    raw = b"".join(line % (number, number) for number in range(1000))
    async with fake_stack() as stack:
        answer = await said_whole(stack, raw + LAST)
    assert [int(number) for number in re.findall(rb"x-request-id: (\d+)\r\n", answer)] == list(range(1000))
    assert answer.count(b"HTTP/1.1 ") == 1001


async def test_a_thousand_offers_to_upgrade_in_one_write_are_a_thousand_requests() -> None:
    offer = b"GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n"
    async with wire() as server:
        heard = await server.say(offer * 1000)
    assert heard.statuses == [200] * 1000


async def test_an_offer_to_upgrade_does_not_hide_the_wish_to_close() -> None:
    lines = b"connection: close\r\nconnection: upgrade\r\nupgrade: h2c\r\n"
    async with wire() as server:
        heard = await server.say(b"GET / HTTP/1.1\r\nhost: a\r\n%b\r\n" % lines + GET)
    assert heard.statuses == [200]
    assert heard.is_closed


async def test_slow_and_quick_answers_of_a_pipeline_keep_their_order() -> None:
    async with fake_stack(engines={"small": ["--token-delay-s 0.02"], "large": [""]}) as stack:
        answer = await said_whole(stack, (POST + GET + POST + b"GET /nowhere HTTP/1.1\r\nhost: a\r\n\r\n") * 3 + LAST)
    kinds = [re.match(rb"(\d+)", part) for part in answer.split(b"HTTP/1.1 ")[1:]]
    assert [int(kind[1]) for kind in kinds if kind] == [200, 200, 200, 404] * 3 + [200]
    bodies = [part.split(b"\r\n\r\n", 1)[1] for part in answer.split(b"HTTP/1.1 ")[1:]]
    assert [b"small says" in body for body in bodies] == [True, False, True, False] * 3 + [False]


# ---- methods, targets, ends ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [b"/healthz", b"/readyz", b"/v1/models", b"/v1/models/small", b"/v1/models/none"])
async def test_head_says_what_get_says_without_the_body(path: bytes) -> None:
    async with fake_stack() as stack:
        get = await said_whole(stack, b"GET %b HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n" % path)
        head = await said_whole(stack, b"HEAD %b HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n" % path)

    def without_what_changes(answer: bytes) -> bytes:
        return re.sub(rb"(date|x-request-id): [^\r]*\r\n", b"", answer)

    lines, body = get.split(b"\r\n\r\n", 1)
    assert b"content-length: %d\r\n" % len(body) in lines
    assert without_what_changes(head) == without_what_changes(lines + b"\r\n\r\n")


@pytest.mark.parametrize("method", [b"OPTIONS", b"PUT", b"DELETE", b"TRACE", b"PATCH"])
async def test_other_methods_are_told_which_are_allowed_and_end_no_connection(method: bytes) -> None:
    raw = b"%b /v1/chat/completions HTTP/1.1\r\nhost: a\r\ncookie: secret\r\n\r\n" % method
    async with fake_stack() as stack:
        answer = await said_whole(stack, raw + LAST)
    assert answer.startswith(b"HTTP/1.1 405 ")
    assert b"allow: POST\r\n" in answer
    assert b"secret" not in answer
    assert answer.count(b"HTTP/1.1 ") == 2


async def test_every_answer_tells_the_date() -> None:
    async with fake_stack() as stack:
        answer = await said_whole(stack, POST + GET + b"nonsense\r\n\r\n")
    dates = re.findall(rb"\r\ndate: ([^\r]*)\r\n", answer)
    assert len(dates) == len(re.findall(rb"HTTP/1\.1 \d", answer)) == 3
    assert abs(parsedate_to_datetime(dates[-1].decode()).timestamp() - time.time()) < 3


@pytest.mark.parametrize(
    ("version", "line", "is_kept"),
    [
        (b"1.1", b"", True),
        (b"1.1", b"connection: keep-alive\r\n", True),
        (b"1.1", b"connection: close\r\n", False),
        (b"1.1", b"connection: x, CLOSE\r\n", False),
        (b"1.1", b"connection: x\r\nconnection: close\r\n", False),
        (b"1.0", b"", False),
        (b"1.0", b"connection: keep-alive\r\n", True),
        (b"1.0", b"connection: close\r\n", False),
    ],
)
async def test_a_connection_is_kept_when_its_client_wants_it(version: bytes, line: bytes, is_kept: bool) -> None:
    async with wire() as server:
        heard = await server.say(b"GET / HTTP/%b\r\nhost: a\r\n%b\r\n" % (version, line))
    assert heard.statuses == [200]
    assert heard.is_closed is not is_kept
    assert (b"connection: close\r\n" in heard.data) is not is_kept
    assert (b"connection: keep-alive\r\n" in heard.data) is (is_kept and version == b"1.0")


async def test_what_a_client_sends_behind_its_last_request_does_not_cost_it_the_answer() -> None:
    """Old clients send an empty line behind a body. A reset for it would overtake the answer."""
    async with wire() as server:
        for _ in range(20):
            heard = await server.say(b"POST / HTTP/1.0\r\ncontent-length: 3\r\n\r\nabc", b"\r\n", wait_s=0.005)
            assert heard.statuses == [200]
            assert heard.is_closed
    assert server.connections == set()


# ---- half-closed clients -------------------------------------------------------------------------------------------


async def test_a_client_that_has_said_all_still_hears_what_was_answered_at_once() -> None:
    async with wire() as server, client_of(server.port) as (reader, writer):
        writer.write(GET)
        writer.write_eof()
        assert Heard(await reader.read(), is_closed=True).statuses == [200]


async def test_a_client_that_closes_its_side_stops_the_generation_as_one_that_left() -> None:
    """The two look the same from here, and an engine that works for nobody costs more than a rare half-close."""
    async with fake_stack(engines={"small": ["--first-token-delay-s 30"], "large": [""]}) as stack:
        async with client_of(stack.port) as (reader, writer):
            writer.write(POST)
            while stack.small.fake.running == 0:
                await asyncio.sleep(0.01)
            writer.write_eof()
            assert await reader.read() == b""
            while stack.small.fake.running:
                await asyncio.sleep(0.01)


# ---- questions before the body -------------------------------------------------------------------------------------


async def test_a_body_that_would_be_refused_is_not_asked_for() -> None:
    async with wire(max_body_bytes=1000) as server:
        heard = await server.say(b"POST / HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 1001\r\n\r\n")
    assert heard.statuses == [413]
    assert heard.is_closed


async def test_a_question_in_any_case_and_before_chunks_is_answered_once() -> None:
    head = b"POST / HTTP/1.1\r\nhost: a\r\nExpect: 100-Continue\r\ntransfer-encoding: chunked\r\n\r\n"
    async with wire() as server:
        heard = await server.say(head, b"3\r\nabc\r\n0\r\n\r\n", wait_s=0.02)
    assert heard.statuses == [100, 200]
    assert heard.data.startswith(b"HTTP/1.1 100 Continue\r\n\r\n")


async def test_a_question_in_a_pipeline_does_not_stand_in_the_middle_of_an_answer() -> None:
    asked = POST.replace(b"host: a", b"host: a\r\nexpect: 100-continue")
    async with fake_stack(engines={"small": ["--token-delay-s 0.02"], "large": [""]}) as stack:
        answer = await said_whole(stack, POST + asked + LAST)
    assert re.findall(rb"HTTP/1\.1 (\d+)", answer) == [b"200", b"200", b"200"]


# ---- clients that are slow on purpose ------------------------------------------------------------------------------


async def heard_by(reader: asyncio.StreamReader) -> bytes:
    """All that comes until the end; who sends into a connection just closed may find it reset."""
    data = b""
    try:
        while part := await reader.read(65536):
            data += part
    except ConnectionResetError:
        pass
    return data


async def trickle(server: Wire, first: bytes, piece: bytes, gap_s: float) -> tuple[Heard, float]:
    """Send a piece again and again until the server has had enough; what it said, and after how long."""
    async with client_of(server.port) as (reader, writer):
        began_s = time.monotonic()
        writer.write(first)
        hearing = asyncio.create_task(heard_by(reader))
        while not hearing.done():
            writer.write(piece)
            await asyncio.wait((hearing,), timeout=gap_s)
        return Heard(hearing.result(), is_closed=True), time.monotonic() - began_s


@pytest.mark.parametrize(
    ("first", "piece"),
    [
        (b"", b"G"),
        (b"GET / HTTP/1.1\r\nhost: a\r\nx: ", b"y"),
        (b"GET / HTTP/1.1\r\nhost: a\r\n", b"x: y\r\n"),
        (b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1000\r\n\r\n", b"a"),
        (b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n", b"1\r\na\r\n"),
        (b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n1;x", b"x"),
        (b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n0\r\n", b"x: y\r\n"),
        (b"POST / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: h2c\r\ncontent-length: 1000\r\n\r\n", b"a"),
        (b"POST / HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 1000\r\n\r\n", b"a"),
    ],
    ids=["method", "header", "headers", "body", "chunks", "extension", "trailers", "upgrade", "expect"],
)
async def test_a_request_that_trickles_in_has_one_time_limit_however_steadily(first: bytes, piece: bytes) -> None:
    async with wire(client_timeout_s=0.6) as server:
        heard, took_s = await trickle(server, first, piece, gap_s=0.1)
    # One letter that begins no method is wrong at once.
    assert heard.statuses[-1] == (400 if piece == b"G" else 408)
    assert took_s < 1.5
    assert server.keeper.requests == []


async def test_empty_lines_keep_no_connection_open() -> None:
    async with wire(keep_alive_s=0.5) as server:
        heard, took_s = await trickle(server, GET, b"\r\n", gap_s=0.1)
    assert heard.statuses == [200]
    assert 0.4 < took_s < 1.5


async def test_a_connection_that_says_nothing_is_closed_without_a_word() -> None:
    async with wire(keep_alive_s=0.3) as server, client_of(server.port) as (reader, _):
        assert await reader.read() == b""


async def test_hundreds_of_slow_clients_keep_nobody_else_waiting_and_are_all_left() -> None:
    async with wire(client_timeout_s=1.5, keep_alive_s=1.5) as server:
        slow = [await asyncio.open_connection("127.0.0.1", server.port) for _ in range(400)]
        for number, (_, writer) in enumerate(slow):
            writer.write((b"", b"GET / HTTP/1.1\r\nx: y", POST[:-5])[number % 3])
        heard = await server.say(GET)
        assert heard.statuses == [200]
        async with asyncio.timeout(10):
            answers = [await heard_by(reader) for reader, _ in slow]
        for _, writer in slow:
            writer.close()
    assert [answer[:12] for answer in answers[:3]] == [b"", b"HTTP/1.1 408", b"HTTP/1.1 408"]
    assert all(answers[number][:12] == answers[number % 3][:12] for number in range(400))


async def test_a_client_that_refuses_to_read_a_refusal_is_left_too() -> None:
    async with wire(client_timeout_s=0.3) as server, client_of(server.port) as (_, writer):
        writer.write(b"nonsense\r\n\r\n")
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        while not server.connections:
            await asyncio.sleep(0.01)
        async with asyncio.timeout(6):
            while server.connections:
                await asyncio.sleep(0.05)
