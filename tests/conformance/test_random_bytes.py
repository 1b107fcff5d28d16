"""Random streams: split anyhow, broken anyhow, put together from the parts that attacks are made of."""

import asyncio
import itertools
import json
from collections.abc import Awaitable, Callable
from typing import cast

import uvloop
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cluster.directory import Table
from router.client_connection import ClientConnection
from router.http_request import Application, Call, Request
from tests.conformance.readers import read_by_h11, read_by_us
from tests.conformance.test_smuggling import OUR_HEADERS, answer_to
from tests.conformance.wire import wire
from tests.fakes.scripted_engine import ScriptedEngine, scripted_engine
from tests.fakes.stack import FakeStack, fake_stack

GET = b"GET /healthz HTTP/1.1\r\nhost: a\r\n\r\n"
SOMETIMES = settings(max_examples=300, deadline=None)
# Each example here is a crowd of clients and takes as long as the server's patience.
RARELY = settings(
    max_examples=5, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)


def run(act: Callable[[], Awaitable[None]]) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(cast("asyncio.Future[None]", act()))  # type: ignore[arg-type]


# ---- streams that are right ----------------------------------------------------------------------------------------

names = st.sampled_from(["accept", "x-request-id", "user-agent", "x", "cookie", "te"])
values = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), max_size=30)


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    """One request that is right, in one of the forms that HTTP allows."""
    method = draw(st.sampled_from(["GET", "POST", "PUT", "HEAD", "OPTIONS"]))
    target = draw(st.sampled_from(["/", "/a?b=c", "http://a.example/x", "/%20"]))
    lines = draw(
        st.lists(st.builds("{}:{}{}\r\n".format, names, st.sampled_from(["", " ", "\t "]), values), max_size=5)
    )
    body = draw(st.binary(max_size=200))
    framing = draw(st.sampled_from(["none", "length", "chunks", "upgrade"]))
    if framing == "none":
        body = b""
    elif framing == "chunks":
        lines.append("transfer-encoding: chunked\r\n")
        size = draw(st.integers(1, 50))
        parts = [body[start : start + size] for start in range(0, len(body), size)]
        extension = draw(st.sampled_from([b"", b";x", b';x="y"']))
        body = b"".join(b"%x%b\r\n%b\r\n" % (len(part), extension, part) for part in parts)
        body += b"0\r\n%b\r\n" % draw(st.sampled_from([b"", b"x-trailer: y\r\n"]))
    else:
        lines.append(f"content-length: {len(body)}\r\n")
    if framing == "upgrade":
        lines.append("connection: upgrade\r\nupgrade: h2c\r\n")
    head = f"{method} {target} HTTP/1.1\r\nhost: a\r\n{''.join(lines)}\r\n"
    return head.encode() + body


def cut(raw: bytes, places: list[int]) -> list[bytes]:
    """The same in pieces."""
    marks = sorted({0, len(raw), *(place % (len(raw) + 1) for place in places)})
    return [raw[start:end] for start, end in itertools.pairwise(marks)]


def parts_of(request: Request) -> tuple[object, ...]:
    # A request that comes in one piece behind another may be read the quick way, which keeps what is looked at only.
    request_id = request.headers.get(b"x-request-id")
    return (request.method, request.target, request_id, request.body, request.keep_alive, request.is_http_1_0)


@SOMETIMES
@given(st.lists(requests(), min_size=1, max_size=6), st.lists(st.integers(0, 10_000), max_size=40))
def test_a_stream_means_the_same_however_it_is_split(stream: list[bytes], places: list[int]) -> None:
    whole, refusal = read_by_us([b"".join(stream)])
    pieces, refusal_of_pieces = read_by_us(cut(b"".join(stream), places))
    assert (refusal, refusal_of_pieces) == (None, None)
    assert len(whole) == len(stream)
    assert [parts_of(request) for request in pieces] == [parts_of(request) for request in whole]


@settings(max_examples=25, deadline=None)
@given(st.lists(requests(), min_size=1, max_size=6), st.lists(st.integers(0, 10_000), max_size=10))
def test_a_stream_is_answered_alike_on_a_socket_however_it_is_split(stream: list[bytes], places: list[int]) -> None:
    async def act() -> None:
        async with wire() as server:
            whole = await server.say(b"".join(stream))
            pieces = await server.say(*cut(b"".join(stream), places), wait_s=0.001)
        assert whole.statuses == pieces.statuses == [200] * len(stream)

    run(act)


# ---- streams that may be wrong -------------------------------------------------------------------------------------

HEADS = (b"GET / HTTP/1.1\r\nhost: a\r\n", b"POST /x HTTP/1.1\r\nhost: a\r\n", b"POST / HTTP/1.0\r\nhost: a\r\n")
LINES = (
    b"content-length: 5\r\n", b"Content-Length: 0\r\n", b"content-length: 05\r\n", b"content-length: 5, 5\r\n",
    b"content-length: +5\r\n", b"content-length:5 \r\n", b"content-length\t: 5\r\n", b"content-length: 11\r\n",
    b"transfer-encoding: chunked\r\n", b"transfer-encoding:\tchunked\r\n", b"Transfer-Encoding: x, Chunked\r\n",
    b"transfer-encoding: chunked, x\r\n", b"transfer-encoding : chunked\r\n", b"transfer-encoding:\r\n chunked\r\n",
    b"x: y\rtransfer-encoding: chunked\r\n", b"x: y\ntransfer-encoding: chunked\r\n", b"transfer_encoding: chunked\r\n",
    b"connection: close\r\n", b"connection: keep-alive\r\n", b"connection: upgrade\r\nupgrade: h2c\r\n", b"x: y\r\n",
)  # fmt: skip
BODIES = (
    b"", b"hello", b"0\r\n\r\n", b"5\r\nhello\r\n0\r\n\r\n", b"5;x\r\nhello\r\n1\r\na\r\n0\r\nx: y\r\n\r\n",
    b"5 \r\nhello\r\n0\r\n\r\n", b"5\nhello\n0\n\n", b"5\r\nhello0\r\n\r\n", b"+5\r\nhello\r\n0\r\n\r\n",
    b"10000000000000005\r\nhello\r\n0\r\n\r\n", b"0\r\ncontent-length: 5\r\n\r\nhello", b"0\r\n\r\n" + GET,
)  # fmt: skip
PIECES = (*LINES, *BODIES, b" folded\r\n", b"\r\n", b"\n", b"\r", b"\0", b"\t", b",", b";", b"\xff")


@st.composite
def suspicious(draw: st.DrawFn) -> bytes:
    """Requests with lines that quarrel over where they end, and sometimes something thrown in anywhere."""
    raw = bytearray()
    for _ in range(draw(st.integers(1, 3))):
        raw += draw(st.sampled_from(HEADS)) + b"".join(draw(st.lists(st.sampled_from(LINES), max_size=2)))
        raw += b"\r\n" + draw(st.sampled_from(BODIES))
    for _ in range(draw(st.integers(0, 2))):
        place = draw(st.integers(0, len(raw)))
        raw[place : place + draw(st.integers(0, 2))] = draw(st.sampled_from(PIECES))
    return bytes(raw)


@settings(max_examples=1000, deadline=None)
@given(suspicious())
def test_what_we_take_for_requests_another_parser_takes_for_the_same(raw: bytes) -> None:
    ours, _ = read_by_us([raw])
    others = read_by_h11(raw)
    assert [(request.method, request.target, request.body) for request in ours] == others[: len(ours)]


@SOMETIMES
@given(suspicious(), st.lists(st.integers(0, 1000), max_size=20))
def test_a_wrong_stream_is_refused_alike_however_it_is_split(raw: bytes, places: list[int]) -> None:
    whole, refusal = read_by_us([raw])
    pieces, refusal_of_pieces = read_by_us(cut(raw, places))
    assert [parts_of(request) for request in pieces] == [parts_of(request) for request in whole]
    assert refusal_of_pieces == refusal


# ---- the whole router ----------------------------------------------------------------------------------------------


class Recording:
    """Keeps what the router was given to answer, and has it answered."""

    def __init__(self, application: Application) -> None:
        self.application = application
        self.bodies: list[bytes] = []

    def handle(self, request: Request, connection: ClientConnection) -> Call | None:
        self.bodies.append(request.body)
        return self.application.handle(request, connection)

    def refuse(self, status: int, message: str, request: Request | None, connection: ClientConnection) -> None:
        self.application.refuse(status, message, request, connection)


def chat(words: str) -> bytes:
    body = json.dumps({"model": "small", "messages": [{"role": "user", "content": words}]}).encode()
    return b"POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)


@st.composite
def broken(draw: st.DrawFn) -> bytes:
    """A pipeline with a few places overwritten, cut out, doubled or filled with something else."""
    raw = bytearray(
        draw(st.sampled_from([chat("one") * 3, chat("one") + GET + chat("two"), GET * 3 + chat("x" * 300)]))
    )
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, len(raw)))
        end = min(len(raw), place + draw(st.integers(0, 20)))
        piece = draw(st.one_of(st.binary(max_size=4), st.sampled_from(PIECES), st.just(bytes(raw[place:end]) * 2)))
        raw[place:end] = piece
    return bytes(raw)


async def outlive(stack: FakeStack, streams: list[bytes]) -> None:
    """Say them all at once, and wait until the router has closed every one."""
    clients = [await asyncio.open_connection("127.0.0.1", stack.port) for _ in streams]
    for (_, writer), raw in zip(clients, streams, strict=True):
        writer.write(raw)
    async with asyncio.timeout(8):
        for reader, _ in clients:
            try:
                while await reader.read(65536):
                    pass
            except ConnectionResetError:
                pass
    for _, writer in clients:
        writer.close()


def check_engine(engine: ScriptedEngine, given_to_router: list[bytes]) -> None:
    for request in (request for connection in engine.requests for request in connection):
        assert set(request.headers) <= OUR_HEADERS
        assert request.path == "/v1/chat/completions"
        # Sent on byte for byte, and only once it was there as a whole.
        assert request.body in given_to_router
        assert json.loads(request.body)["model"] == "small"


@RARELY
@given(st.lists(broken(), min_size=40, max_size=60))
def test_no_broken_stream_hurts_the_router_stays_open_or_reaches_an_engine_in_parts(streams: list[bytes]) -> None:
    async def act() -> None:
        async with (
            scripted_engine(answer_to) as engine,
            fake_stack(engines={}, client_timeout_s=1, keep_alive_s=1) as stack,
        ):
            assert engine.endpoint is not None
            recording = Recording(stack.router._ingress)
            stack.router._ingress = recording  # type: ignore[assignment]
            stack.router.update(Table(1, (engine.endpoint,)))
            await outlive(stack, streams)
            await outlive(stack, [GET])
            assert recording.bodies[-1] == b""
            check_engine(engine, recording.bodies)

    run(act)
