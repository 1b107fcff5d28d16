"""The router's HTTP/1.1, byte by byte over raw sockets: framing, limits, slow and rude clients."""

import asyncio
import json
import re
import time

import httptools
import pytest

from tests.fakes.stack import FakeStack, fake_stack

BODY = json.dumps({"model": "small", "messages": [{"role": "user", "content": "one two"}]}).encode()
STATUS_LINE = re.compile(rb"HTTP/1\.1 \d{3} ")
GET = b"GET /healthz HTTP/1.1\r\nhost: a\r\n\r\n"


def post(extra: bytes = b"", body: bytes = BODY) -> bytes:
    return b"POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\n%bcontent-length: %d\r\n\r\n%b" % (extra, len(body), body)


async def said_to(stack: FakeStack, *pieces: bytes, wait_s: float = 0.0, read_s: float = 1.0) -> bytes:
    """Send the pieces and read until the router closes, or for `read_s`."""
    reader, writer = await asyncio.open_connection("127.0.0.1", stack.port)
    try:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(wait_s)
        answer = b""
        try:
            async with asyncio.timeout(read_s):
                while data := await reader.read(65536):
                    answer += data
        except (TimeoutError, ConnectionResetError):
            pass
        return answer
    finally:
        writer.close()


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/2.0\r\nhost: a\r\n\r\n", 505),
        (b"GET / HTTP/1.1\nhost: a\n\n", 400),
        (b"GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nhost : a\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nhost: a\r\n folded: b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nhost: a\r\nx: " + b"y" * 40_000 + b"\r\n\r\n", 431),
        (b"GET /" + b"y" * 40_000 + b" HTTP/1.1\r\nhost: a\r\n\r\n", 431),
        # Ambiguous framing is how requests are smuggled past a front: none of it may be guessed at.
        (b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\ncontent-length: 4\r\n\r\nabcd", 400),
        (b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: +3\r\n\r\nabc", 400),
        (b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 99999999999999999999\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked, identity\r\n\r\n0\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: xchunked\r\n\r\n0\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n", 400),
        (b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n", 400),
    ],
)
async def test_a_malformed_or_ambiguous_request_is_refused_and_the_connection_closed(raw: bytes, status: int) -> None:
    async with fake_stack() as stack:
        answer = await said_to(stack, raw)
    assert answer.startswith(b"HTTP/1.1 %d " % status)
    assert b"connection: close\r\n" in answer
    assert len(STATUS_LINE.findall(answer)) == 1
    assert b'"error"' in answer


async def test_what_follows_a_refused_request_on_its_connection_is_never_answered() -> None:
    smuggled = b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n" + GET
    async with fake_stack() as stack:
        answer = await said_to(stack, smuggled, GET)
    assert len(STATUS_LINE.findall(answer)) == 1


async def test_pipelined_requests_are_answered_in_their_order() -> None:
    async with fake_stack() as stack:
        answer = await said_to(stack, post() + GET + post() + GET)
    kinds = [part.split(b"\r\n", 1)[1] for part in answer.split(b"HTTP/1.1 200 OK")[1:]]
    assert [b"small says" in kind for kind in kinds] == [True, False, True, False]


async def test_a_pipeline_longer_than_the_queue_is_answered_whole() -> None:
    async with fake_stack() as stack:
        answer = await said_to(stack, (post() + GET) * 30)
    assert answer.count(b"HTTP/1.1 200 OK") == 60


async def test_a_request_may_arrive_byte_by_byte_and_in_chunks() -> None:
    chunked = b"POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n"
    chunked += b"".join(b"1\r\n%c\r\n" % byte for byte in BODY) + b"0\r\n\r\n"
    async with fake_stack() as stack:
        whole = await said_to(stack, *[bytes([byte]) for byte in post()])
        pieces = await said_to(stack, chunked)
    assert b"small says: one two" in whole
    assert b"small says: one two" in pieces


async def test_a_client_that_asks_first_is_told_to_continue() -> None:
    async with fake_stack() as stack:
        reader, writer = await asyncio.open_connection("127.0.0.1", stack.port)
        request = post(b"expect: 100-continue\r\n")
        head, body = request.split(b"\r\n\r\n", 1)
        writer.write(head + b"\r\n\r\n")
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(body)
        assert (await reader.readline()) == b"HTTP/1.1 200 OK\r\n"
        writer.close()


async def test_http_1_0_gets_no_chunks_and_a_closed_connection() -> None:
    body = json.dumps({"model": "small", "stream": True, "messages": [{"role": "user", "content": "one"}]}).encode()
    request = b"POST /v1/chat/completions HTTP/1.0\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)
    async with fake_stack() as stack:
        answer = await said_to(stack, request)
    assert b"transfer-encoding" not in answer
    assert b"connection: close" in answer
    assert answer.endswith(b"data: [DONE]\n\n")


async def test_a_target_that_names_the_host_is_understood() -> None:
    async with fake_stack() as stack:
        answer = await said_to(stack, b"GET http://a:8000/healthz?x=1 HTTP/1.1\r\nhost: a:8000\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200 OK")


async def test_connection_close_is_obeyed() -> None:
    async with fake_stack() as stack:
        answer = await said_to(stack, post(b"connection: close\r\n") + GET)
    assert answer.count(b"HTTP/1.1 200 OK") == 1
    assert b"connection: close\r\n" in answer


async def test_an_offer_to_upgrade_is_answered_in_http_1_1() -> None:
    async with fake_stack() as stack:
        answer = await said_to(
            stack, b"GET /healthz HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n"
        )
    assert answer.startswith(b"HTTP/1.1 200 OK")
    assert b'{"status":"ok"}' in answer


async def test_a_compressed_body_is_refused_by_name() -> None:
    async with fake_stack() as stack:
        answer = await said_to(stack, post(b"content-encoding: gzip\r\n"))
    assert answer.startswith(b"HTTP/1.1 415 ")


async def test_a_client_that_sends_too_slowly_is_told_and_left() -> None:
    async with fake_stack(client_timeout_s=0.3) as stack:
        began_s = time.monotonic()
        head = await said_to(stack, b"POST /v1/chat", b"/comp", wait_s=0.6)
        body = await said_to(stack, post()[:-5], wait_s=1.2)
        assert time.monotonic() - began_s < 6
    assert head.startswith(b"HTTP/1.1 408 ")
    assert body.startswith(b"HTTP/1.1 408 ")


async def test_an_idle_connection_is_closed_after_its_time() -> None:
    async with fake_stack(keep_alive_s=0.3) as stack:
        reader, writer = await asyncio.open_connection("127.0.0.1", stack.port)
        writer.write(GET)
        await reader.readuntil(b'"ok"}')
        async with asyncio.timeout(3):
            assert await reader.read() == b""
        writer.close()


async def test_a_client_that_does_not_read_stops_the_engine_and_is_left_in_the_end() -> None:
    """Back-pressure: what a client does not read must not pile up here."""
    long = {
        "model": "small",
        "stream": True,
        "max_tokens": 100_000,
        "messages": [{"role": "user", "content": "word " * 90_000}],
    }
    async with fake_stack(client_timeout_s=1) as stack:
        reader, writer = await asyncio.open_connection("127.0.0.1", stack.port, limit=1024)
        writer.write(post(body=json.dumps(long).encode()))
        await asyncio.sleep(0.5)
        assert stack.router.in_flight == 1
        await until(lambda: stack.router.in_flight == 0, 5)
        await until(lambda: stack.small.fake.running == 0, 2)
        writer.close()
        reader.feed_eof()


async def test_a_slow_reader_still_gets_every_byte() -> None:
    words = 20_000
    body = {
        "model": "small",
        "stream": True,
        "max_tokens": words,
        "messages": [{"role": "user", "content": "w " * words}],
    }
    async with fake_stack() as stack:
        reader, writer = await asyncio.open_connection("127.0.0.1", stack.port, limit=4096)
        writer.write(post(b"connection: close\r\n", json.dumps(body).encode()))
        answer = bytearray()
        while data := await reader.read(16384):
            answer += data
            await asyncio.sleep(0.001)
        writer.close()
    text = body_of(bytes(answer))
    assert text.count(b'"content":" w"') == words - 2
    assert text.endswith(b"data: [DONE]\n\n")


async def test_draining_answers_what_is_in_flight_announces_the_end_and_takes_nothing_new() -> None:
    slow = {"small": ["--token-delay-s 0.2"], "large": [""]}
    async with fake_stack(engines=slow) as stack:
        idle_reader, idle_writer = await asyncio.open_connection("127.0.0.1", stack.port)
        idle_writer.write(GET)
        await idle_reader.readuntil(b'"ok"}')
        busy = asyncio.create_task(said_to(stack, post()))
        await until(lambda: stack.router.in_flight == 1, 2)
        draining = asyncio.create_task(stack.router.drain())
        await asyncio.sleep(0)
        assert await idle_reader.read() == b""
        with pytest.raises(OSError, match=r"Connect|connect"):
            await asyncio.open_connection("127.0.0.1", stack.port)
        answer = await busy
        await draining
        idle_writer.close()
    assert b"small says: one two" in answer
    assert b"connection: close\r\n" in answer


def body_of(answer: bytes) -> bytes:
    """The body without its chunks."""

    class Collector:
        def __init__(self) -> None:
            self.body = bytearray()

        def on_body(self, body: bytes) -> None:
            self.body += body

    collector = Collector()
    httptools.HttpResponseParser(collector).feed_data(answer)
    return bytes(collector.body)


async def until(is_so: object, timeout_s: float) -> None:
    """Wait until something is so."""
    assert callable(is_so)
    async with asyncio.timeout(timeout_s):
        while not is_so():
            await asyncio.sleep(0.01)
