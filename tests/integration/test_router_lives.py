"""Connections and exchanges from birth to death: hang-ups, time-outs, drains, faults of ours, and nothing left over."""

import asyncio
import contextlib
import gc
import json
import logging
import pkgutil
import random
import socket
import struct
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import httpx
import pytest

from cluster.directory import Table
from router.client_connection import ClientConnection
from router.exchange import Exchange
from router.request_reader import RequestReader
from tests.fakes.scripted_engine import scripted_engine
from tests.fakes.stack import FakeStack, fake_stack
from tests.integration.test_router_http import GET, post, said_to, until

# Ends the connection, so that nobody waits for more.
LAST = b"GET /healthz HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n"
STREAM = {"model": "small", "stream": True, "messages": [{"role": "user", "content": "one two"}]}


def streaming(words: int = 2, model: str = "small") -> bytes:
    question = {"role": "user", "content": "w " * words}
    return json.dumps({"model": model, "stream": True, "max_tokens": words + 2, "messages": [question]}).encode()


async def hang_up(writer: asyncio.StreamWriter, *, rudely: bool = False) -> None:
    if rudely:
        sock = writer.transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
    await asyncio.sleep(0)


# ---- clients that leave --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rudely", [False, True])
@pytest.mark.parametrize("wait_s", [0.0, 0.0005, 0.001, 0.002, 0.005, 0.02])
async def test_a_client_may_hang_up_at_any_moment(wait_s: float, rudely: bool) -> None:
    """Before the engine is connected, between head and body, in the tick in which the answer ends."""
    async with fake_stack() as stack:
        for _ in range(10):
            _, writer = await asyncio.open_connection("127.0.0.1", stack.port)
            writer.write(post(body=json.dumps(STREAM).encode()) * 2)
            await asyncio.sleep(wait_s)
            await hang_up(writer, rudely=rudely)
        await until(lambda: stack.router.in_flight == 0 and stack.small.fake.running == 0, 2)


async def test_a_client_that_hangs_up_while_the_engine_is_being_connected_leaves_no_connection_behind() -> None:
    # A listener with a full backlog takes connections never.
    full = socket.socket()
    full.bind(("127.0.0.1", 0))
    full.listen(0)
    fillers = [socket.socket() for _ in range(4)]
    for filler in fillers:
        filler.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            filler.connect(full.getsockname())
    async with scripted_engine(lambda request: []) as engine, fake_stack(engines={}, connect_timeout_s=30) as stack:
        assert engine.endpoint is not None
        address = f"http://127.0.0.1:{full.getsockname()[1]}"
        stack.router.update(Table(1, (replace(engine.endpoint, base_url=address),)))
        _, writer = await asyncio.open_connection("127.0.0.1", stack.port)
        writer.write(post())
        await until(lambda: stack.router.in_flight == 1, 2)
        await asyncio.sleep(0.05)
        await hang_up(writer)
        await until(lambda: stack.router.in_flight == 0, 2)
    for sock in (full, *fillers):
        sock.close()


# ---- time-outs -----------------------------------------------------------------------------------------------------


async def test_the_first_byte_time_out_also_ends_a_connect_that_hangs_and_a_wait_in_the_pipeline() -> None:
    hung = {"small": ["--first-token-delay-s 60"], "large": [""]}
    async with fake_stack(engines=hung, first_byte_timeout_s=0.3) as stack:
        answer = await said_to(stack, post() + post() + GET, wait_s=2.5)
    assert answer.count(b"HTTP/1.1 504 ") == 2
    assert answer.count(b"HTTP/1.1 200 ") == 1


@pytest.mark.parametrize("request_head", [b"connection: close\r\n", b""])
async def test_a_client_that_never_reads_the_end_of_its_answer_is_left(request_head: bytes) -> None:
    """The whole answer fits into the buffers, so that it never counts as slow; closing alone would wait for ever."""
    body = streaming(20_000)
    async with fake_stack(client_timeout_s=0.5, keep_alive_s=0.5) as stack:
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", stack.port))
        await asyncio.get_running_loop().sock_sendall(sock, post(request_head, body))
        await until(lambda: len(stack.router._connections) == 1, 1)
        (transport,) = (connection._transport for connection in stack.router._connections)
        assert transport is not None
        # As if the operating system had little room and we had enough: the answer stays in our buffer.
        transport.set_write_buffer_limits(high=1 << 30)
        await until(lambda: stack.router.in_flight == 0 and transport.is_closing(), 20)
        assert transport.get_write_buffer_size() > 0
        await until(lambda: not stack.router._connections, 6)
        sock.close()


# ---- sizes ---------------------------------------------------------------------------------------------------------


async def test_a_header_that_never_ends_is_refused_and_not_kept() -> None:
    async with fake_stack() as stack:
        answer = await said_to(stack, b"GET / HTTP/1.1\r\nhost: a\r\nx: ", *[b"y" * 20_000] * 4, wait_s=0.01)
    assert answer.startswith(b"HTTP/1.1 431 ")


async def test_a_head_within_the_limit_may_come_in_many_reads_behind_another_body() -> None:
    long = b"".join(b"x-%d: %b\r\n" % (number, b"y" * 1000) for number in range(28))
    pieces = [long[at : at + 700] for at in range(0, len(long), 700)]
    async with fake_stack() as stack:
        first = post(body=streaming(20_000))
        answer = await said_to(stack, first + b"GET /healthz HTTP/1.1\r\nhost: a\r\n", *pieces, b"\r\n", wait_s=0.005)
        assert b'{"status":"ok"}' in answer
        answer = await said_to(stack, first + b"GET /healthz HTTP/1.1\r\nhost: a\r\n" + long + b"\r\n", wait_s=0.5)
        assert b'{"status":"ok"}' in answer


async def test_four_mebibytes_go_through_whole_and_in_ten_thousand_chunks() -> None:
    question = "x" * (4 * 1024 * 1024 - 200)
    body = json.dumps({"model": "small", "messages": [{"role": "user", "content": question}]}).encode()

    async def chunks() -> object:
        for at in range(0, len(body), len(body) // 10_000):
            yield body[at : at + len(body) // 10_000]

    async with fake_stack() as stack, httpx.AsyncClient(base_url=stack.base_url, timeout=30) as client:
        whole = await client.post("/v1/chat/completions", content=body)
        pieces = await client.post("/v1/chat/completions", content=chunks())  # type: ignore[arg-type]
    assert whole.status_code == pieces.status_code == 200
    assert whole.headers["x-seen-body-sha256"] == pieces.headers["x-seen-body-sha256"]
    assert len(whole.json()["choices"][0]["message"]["content"]) > 4_000_000


async def test_three_hundred_streams_at_once_come_whole() -> None:
    wide = {"small": ["--max-num-seqs 512 --token-delay-s 0.02"], "large": [""]}
    async with fake_stack(engines=wide) as stack:
        answers = await asyncio.gather(
            *(said_to(stack, post(b"connection: close\r\n", streaming(3)), read_s=60) for _ in range(300))
        )
    assert all(b"data: [DONE]" in answer for answer in answers)


async def test_a_body_of_tiny_chunks_takes_no_more_memory_than_its_bytes() -> None:
    async with fake_stack() as stack:
        _, writer = await asyncio.open_connection("127.0.0.1", stack.port)
        writer.write(b"POST /v1/completions HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n")
        writer.write(b"2\r\n{}\r\n" * 100_000)
        await writer.drain()
        (reader,) = (connection._reader for connection in stack.router._connections)
        await until(lambda: len(reader._body) == 200_000, 5)
        assert isinstance(reader._body, bytearray)
        await hang_up(writer)


# ---- framing -------------------------------------------------------------------------------------------------------


async def test_trailers_of_a_request_are_not_headers() -> None:
    body = json.dumps(STREAM | {"stream": False}).encode()
    request = (
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\nx-request-id: mine\r\ntransfer-encoding: chunked\r\n\r\n"
    )
    request += b"%x\r\n%b\r\n0\r\nx-request-id: other\r\nhost: b\r\n\r\n" % (len(body), body)
    async with fake_stack() as stack:
        answer = await said_to(stack, request + LAST)
    assert answer.startswith(b"HTTP/1.1 200 OK")
    assert b"x-request-id: mine\r\n" in answer


async def test_a_client_that_offers_http_2_with_its_body_is_answered_in_http_1_1() -> None:
    """What Java's own HTTP client sends first."""
    offer = b"connection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\nhttp2-settings: AAEAAEAAAAIAAAAB\r\n"
    body = json.dumps(STREAM).encode()
    chunked = (
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\n%btransfer-encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n"
    )
    async with fake_stack() as stack:
        whole = await said_to(stack, post(offer) + LAST)
        head, rest = post(offer).split(b"\r\n\r\n", 1)
        pieces = await said_to(stack, head + b"\r\n\r\n", rest[:20], rest[20:], LAST, wait_s=0.02)
        in_chunks = await said_to(stack, chunked % (offer, len(body), body) + LAST)
    for answer in (whole, pieces, in_chunks):
        assert answer.count(b"HTTP/1.1 200 OK") == 2
        assert answer.endswith(b'{"status":"ok"}')
    assert b"small says: one two" in whole


async def test_connect_is_refused() -> None:
    async with fake_stack() as stack:
        answer = await said_to(stack, b"CONNECT a:443 HTTP/1.1\r\nhost: a:443\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 501 ")


@pytest.mark.parametrize("rest", [GET, b"garbage", GET * 20 + b"garbage"])
async def test_nothing_is_answered_after_the_answer_that_closes(rest: bytes) -> None:
    async with fake_stack() as stack:
        answer = await said_to(stack, b"GET /healthz HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n" + rest)
        slow = await said_to(stack, post(b"connection: close\r\n") + rest)
    assert answer.count(b"HTTP/1.1 ") == slow.count(b"HTTP/1.1 ") == 1


# ---- drains --------------------------------------------------------------------------------------------------------


async def test_a_drain_ends_in_time_whatever_the_connections_do_and_frees_the_engines() -> None:
    slow = {"small": ["--token-delay-s 0.05"], "large": ["--first-token-delay-s 60"]}
    async with fake_stack(engines=slow, drain_s=1) as stack:
        writers = []
        for raw in (
            b"",
            GET,
            post()[:-5],
            post(body=streaming(10_000)),
            post(body=streaming(2, "large")),
            post() * 3,
            b"nonsense\r\n\r\n",
        ):
            _, writer = await asyncio.open_connection("127.0.0.1", stack.port)
            writer.write(raw)
            writers.append(writer)
        await until(lambda: stack.router.in_flight == 3, 2)
        began_s = time.monotonic()
        await stack.router.drain()
        assert 0.9 < time.monotonic() - began_s < 1.5
        assert stack.router.in_flight == 0
        await until(lambda: stack.small.fake.running == 0 and stack.large.fake.running == 0, 2)
        for writer in writers:
            writer.close()


async def test_while_draining_only_the_request_in_flight_is_answered_and_not_those_behind_it() -> None:
    slow = {"small": ["--token-delay-s 0.1"], "large": [""]}
    async with fake_stack(engines=slow) as stack:
        busy = asyncio.create_task(said_to(stack, post() + GET + post() + GET))
        await until(lambda: stack.router.in_flight == 1, 2)
        await stack.router.drain()
        answer = await busy
    assert answer.count(b"HTTP/1.1 ") == 1
    assert b"connection: close\r\n" in answer


async def test_a_connection_that_is_accepted_while_draining_is_asked_to_leave_too() -> None:
    async with fake_stack(drain_s=5) as stack:
        late = stack.router._new_connection()
        ours, theirs = socket.socketpair()
        busy = asyncio.create_task(said_to(stack, post(body=streaming(2))[:-3], wait_s=0.3))
        await asyncio.sleep(0.05)
        draining = asyncio.create_task(stack.router.drain())
        await asyncio.sleep(0.02)
        await asyncio.get_running_loop().connect_accepted_socket(lambda: late, ours)
        await until(lambda: late not in stack.router._connections, 1)
        theirs.close()
        await busy
        await draining


# ---- faults of ours ------------------------------------------------------------------------------------------------


def raising(*args: object) -> None:
    raise RuntimeError("a bug")


def one_traceback(caplog: pytest.LogCaptureFixture) -> bool:
    errors = [record for record in caplog.records if record.levelno >= logging.ERROR]
    return len(errors) == 1 and errors[0].exc_info is not None and caplog.text.count("RuntimeError: a bug") == 1


@pytest.mark.parametrize(
    "place",
    [
        "router.ingress.Ingress._id_line",
        "router.answerer._trace_lines",
        "router.exchange.decide",
        "router.exchange.head_for",
    ],
)
async def test_a_fault_of_ours_before_the_answer_is_a_500_and_one_traceback(
    place: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    auto = json.dumps({"model": "auto", "messages": [{"role": "user", "content": "hi"}]}).encode()
    async with fake_stack() as stack:
        calls = iter([raising])
        original: Callable[..., object] = _found(place)
        monkeypatch.setattr(place, lambda *args: next(calls, original)(*args))
        answer = await said_to(stack, post(b"x-request-id: mine\r\n", auto) + LAST)
        assert stack.router.in_flight == 0
    head, _, rest = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 500 ")
    assert b"x-request-id: mine" in head
    assert b'"type":"server_error"' in rest
    assert rest.endswith(b'{"status":"ok"}')
    assert one_traceback(caplog)


@pytest.mark.parametrize("callback", ["_count_choice", "_engine_is_well", "_send", "_choose"])
async def test_a_fault_of_ours_in_a_callback_ends_the_exchange_and_nothing_else(
    callback: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with fake_stack() as stack:
        original = getattr(Exchange, callback)
        calls = iter([raising])
        monkeypatch.setattr(Exchange, callback, lambda *args: next(calls, original)(*args))
        answer = await said_to(stack, post() + post() + LAST)
        assert stack.router.in_flight == 0
        await until(lambda: stack.small.fake.running == 0, 1)
    assert answer.startswith(b"HTTP/1.1 500 ")
    assert answer.count(b"HTTP/1.1 200 ") == 2
    assert one_traceback(caplog)


async def test_a_fault_of_ours_in_the_middle_of_an_answer_cuts_it_off(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    slow = {"small": ["--token-delay-s 0.02"], "large": [""]}
    async with fake_stack(engines=slow) as stack:
        original = ClientConnection.relay
        calls: Iterator[Callable[..., None]] = iter([original, raising])
        monkeypatch.setattr(ClientConnection, "relay", lambda *args: next(calls, original)(*args))
        answer = await said_to(stack, post(body=streaming(100)) + GET)
        assert stack.router.in_flight == 0
        await until(lambda: stack.small.fake.running == 0, 1)
    assert answer.startswith(b"HTTP/1.1 200 OK")
    assert not answer.endswith(b"0\r\n\r\n")
    assert answer.count(b"HTTP/1.1 ") == 1
    assert one_traceback(caplog)


async def test_a_fault_of_ours_while_reading_is_a_500(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(RequestReader, "_count_head", raising)
    async with fake_stack() as stack:
        answer = await said_to(stack, GET)
    assert answer.startswith(b"HTTP/1.1 500 ")
    assert one_traceback(caplog)


async def test_a_fault_of_ours_in_one_sweep_does_not_end_all_time_outs(monkeypatch: pytest.MonkeyPatch) -> None:
    async with fake_stack(keep_alive_s=0.2) as stack:
        told: list[object] = []
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: told.append(context["exception"]))
        original = ClientConnection.sweep
        calls = iter([raising])
        monkeypatch.setattr(ClientConnection, "sweep", lambda *args: next(calls, original)(*args))
        reader, writer = await asyncio.open_connection("127.0.0.1", stack.port)
        async with asyncio.timeout(3):
            assert await reader.read() == b""
        writer.close()
    assert [str(error) for error in told] == ["a bug"]


# ---- nothing left over ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [1, 2])
async def test_after_seconds_of_disorder_nothing_is_counted_and_nothing_is_kept(seed: int) -> None:
    """Clients that leave, dawdle or pipeline; engines that die, refuse, break off or are slow; tables that change."""
    chance = random.Random(seed)
    mixed = {
        "small": ["", "--break-after-tokens 3", "--refuse 500", "--token-delay-s 0.01"],
        "large": ["--first-token-delay-s 0.1", "--refuse 400"],
    }
    statuses: list[bytes] = []
    async with fake_stack(engines=mixed, client_timeout_s=1, first_byte_timeout_s=1, stall_timeout_s=1) as stack:
        until_s = time.monotonic() + 4

        async def client() -> None:
            while time.monotonic() < until_s:
                reader, writer = await asyncio.open_connection("127.0.0.1", stack.port, limit=2048)
                raw = b"".join(
                    chance.choice([GET, post(), post(body=streaming(chance.choice([1, 50, 3000]), name))])
                    for name in chance.choices(["small", "large", "auto", "none"], k=chance.randint(1, 12))
                )
                raw = raw[: chance.choice([len(raw), len(raw), chance.randint(1, len(raw))])]
                writer.write(raw)
                for _ in range(chance.randint(0, 20)):
                    with contextlib.suppress(ConnectionError, TimeoutError):
                        async with asyncio.timeout(chance.choice([0.001, 0.05])):
                            statuses.append((await reader.read(4096))[:12])
                await hang_up(writer, rudely=chance.random() < 0.5)

        async def unrest() -> None:
            while time.monotonic() < until_s:
                await asyncio.sleep(0.05)
                for engine in [*stack.engines["small"], *stack.engines["large"]]:
                    if chance.random() < 0.1:
                        for writer in engine.writers:
                            writer.transport.abort()
                        engine.writers.clear()
                    stack.states[engine.endpoint.endpoint_id] = chance.choice(["ready", "ready", "restarting"])
                stack.publish()

        await asyncio.gather(unrest(), *(client() for _ in range(12)))
        await until(lambda: stack.router.in_flight == 0 and not stack.router._connections, 15)
        await until(lambda: all(e.fake.running == 0 for es in stack.engines.values() for e in es), 5)
        stack.check_nothing_is_left()
        page = (await _get(stack, "/metrics")).text
    assert "fenzhen_in_flight 0.0" in page
    assert any(status.startswith(b"HTTP/1.1 200") for status in statuses)
    await asyncio.sleep(0.05)
    gc.collect()
    # By their types and not by isinstance: torch, loaded by other tests, has things that warn when they are asked.
    kept = [thing for thing in gc.get_objects() if type(thing) in (ClientConnection, Exchange, RequestReader)]
    assert kept == []


async def _get(stack: FakeStack, path: str) -> httpx.Response:
    async with httpx.AsyncClient(base_url=stack.base_url) as client:
        return await client.get(path)


def _found(place: str) -> Callable[..., object]:
    found: Callable[..., object] = pkgutil.resolve_name(place)
    return found
