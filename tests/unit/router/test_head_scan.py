"""The quick reading of HTTP heads agrees with the parser on all that it takes, and takes what is ordinary."""

import asyncio
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router import head_scan
from router.engine_connection import EngineConnection
from router.head_scan import read_answer, read_request
from router.http_request import Limits, Request
from router.request_reader import RequestReader

LIMITS = Limits(max_header_bytes=4096, max_body_bytes=1000, client_timeout_s=1, keep_alive_s=1)
WANTED = (b"x-request-id", b"traceparent", b"tracestate", b"x-fenzhen-deadline-s")
# Which the quick way would not keep.
OURS = (b"x-fenzhen-no-learning", b"X-Fenzhen-Version", b"x-fenzhen-group", b"x-fenzhen-grade")
FIRST = b"POST / HTTP/1.1\r\nhost: a:80\r\ncontent-length: 0\r\n\r\n"


class Clock:
    def time(self) -> float:
        return 0.0


class Taker:
    def __init__(self) -> None:
        self.taken: list[Request] = []

    def take(self, request: Request) -> None:
        self.taken.append(request)

    def ask_for_body(self) -> None:
        raise AssertionError


def is_taken(raw: bytes) -> bool:
    """Whether the quick way takes a request; if so, the parser must read the same."""
    found = np.zeros(head_scan.REQUEST_RESULTS, np.int64)
    if not read_request(raw, 4096, 1000, found):
        return False
    if raw[found[head_scan.HOST_START] : found[head_scan.HOST_END]] != b"a:80":
        # Another host than the one that was found good before is for the parser, and for the checks behind it.
        return False
    quick, thorough = Taker(), Taker()
    for taker in (quick, thorough):
        reader = RequestReader(taker, LIMITS, cast(asyncio.AbstractEventLoop, Clock()))
        reader.feed(FIRST)
        if taker is thorough:
            reader._is_between = False
        reader.feed(raw)
        assert reader.refusal is None, raw
    (_, one), (_, other) = quick.taken, thorough.taken
    assert (one.method, one.target, one.body) == (other.method, other.target, other.body)
    assert (one.keep_alive, one.is_http_1_0) == (other.keep_alive, other.is_http_1_0) == (True, False)
    assert one.headers.items() <= other.headers.items()
    assert {name: other.headers.get(name) for name in WANTED} == {name: one.headers.get(name) for name in WANTED}
    return True


def request(*lines: bytes, target: bytes = b"/v1/chat/completions", body: bytes = b"{}") -> bytes:
    head = b"\r\n".join((b"POST %b HTTP/1.1" % target, b"Host: a:80", *lines, b"Content-Length: %d" % len(body)))
    return head + b"\r\n\r\n" + body


@pytest.mark.parametrize(
    "raw",
    [
        request(),
        request(body=b""),
        request(b"X-Request-ID: one", b"traceparent:00-1-2-3", b"TraceState:   a=b  ", b"x-fenzhen-deadline-s: 3"),
        request(b"Accept: */*", b"Accept: text/html", b"User-Agent: a (b; c)", b"Empty:", b"connection: Keep-Alive"),
        request(b"authorization: Bearer x", b"content-type: application/json", target=b"/v1/completions?a=b%20c"),
    ],
)
def test_an_ordinary_request_is_taken(raw: bytes) -> None:
    assert is_taken(raw)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        request()[:-1],
        request() + b"x",
        request() + request(),
        request().replace(b"POST", b"GET"),
        request().replace(b"POST", b"post"),
        request().replace(b"1.1", b"1.0"),
        request().replace(b"POST ", b"POST  "),
        request().replace(b"Host", b"Hoist"),
        request().replace(b"Host:", b"Host :"),
        request().replace(b"Host: a:80", b"Host:"),
        request().replace(b"a:80", b"elsewhere"),
        request().replace(b"Length: 2", b"Length: +2"),
        request().replace(b"Length: 2", b"Length: 0x2"),
        request().replace(b"Length: 2", b"Length: 2,2"),
        request().replace(b"Length: 2", b"Length: 2222222222"),
        request().replace(b"\r\n", b"\n"),
        request().replace(b"\r\n", b"\r"),
        request(b"Host: b"),
        request(b"content-length: 2"),
        request(b"authorization: a", b"Authorization: b"),
        request(b"x-request-id: a", b"x-request-id: b"),
        request(b"Transfer-Encoding: chunked"),
        request(b"transfer-encoding:"),
        request(b"Expect: 100-continue"),
        request(b"Upgrade: h2c"),
        request(b"Connection: close"),
        request(b"Connection: keep-alive, upgrade"),
        request(b"Content-Encoding: gzip"),
        request(b"a: b", b" folded"),
        request(b"a: \t"),
        request(b"a: \x00"),
        request(b"a: \xe4"),
        request(b"a b: c"),
        request(b": c"),
        request(b"a: " + b"b" * 5000),
        request(*[b"a: b"] * 200),
        request(target=b"*"),
        request(target=b"http://a/"),
        request(target=b"/#a"),
        request(body=b"x" * 1001),
    ],
)
def test_whatever_is_out_of_the_ordinary_is_left_to_the_parser(raw: bytes) -> None:
    assert not is_taken(raw)


_BYTES = st.sampled_from([bytes([byte]) for byte in b"\r\n\t :,;a/0\x00\x7f\xe4-"])


@settings(max_examples=500, deadline=None)
@given(st.sampled_from([request(), request(b"x-request-id: one", b"a: b", b"connection: keep-alive")]), st.data())
def test_what_one_takes_the_other_reads_alike(raw: bytes, data: st.DataObject) -> None:
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(raw)))
        raw = raw[:at] + data.draw(_BYTES) + raw[at + data.draw(st.integers(0, 2)) :]
    is_taken(raw)


class Ear:
    """Hears an answer."""

    def __init__(self) -> None:
        self.heard: list[Any] = []

    def engine_answer(self, status: int, headers: bytes, body: bytes) -> None:
        self.heard += [(status, headers, len(body)), *([body] if body else []), "done"]

    def engine_head(self, status: int, headers: bytes, content_length: int | None) -> None:
        self.heard.append((status, headers, content_length))

    def engine_body(self, parts: list[bytes]) -> None:
        self.heard.append(b"".join(parts))

    def engine_done(self) -> None:
        self.heard.append("done")

    def engine_lost(self, why: str) -> None:
        self.heard.append("lost")

    def at_fault(self) -> None:
        raise AssertionError


class Wire:
    def write(self, data: bytes) -> None: ...
    def abort(self) -> None: ...
    def is_closing(self) -> bool:
        return False

    def get_write_buffer_size(self) -> int:
        return 0


def is_heard_alike(raw: bytes) -> bool:
    """Whether the quick way takes an answer; if so, the parser must hear the same."""
    found = np.zeros(head_scan.ANSWER_RESULTS, np.int64)
    if not read_answer(raw, np.empty(4096, np.uint8), found):
        return False
    heard = []
    for is_quick in (True, False):
        connection, ear = EngineConnection(), Ear()
        connection.connection_made(cast(asyncio.Transport, Wire()))
        connection.send(ear, b"", b"")
        connection.has_spoken = not is_quick
        connection.data_received(raw)
        heard.append((ear.heard, connection.is_idle))
    assert heard[0] == heard[1], raw
    assert heard[0][1]
    return True


ANSWER = (
    b"HTTP/1.1 200 OK\r\nServer: x\r\nDate: now\r\nContent-Type: application/json\r\nX-A: b\r\n"
    b"content-length: 2\r\n\r\n{}"
)


def test_an_ordinary_answer_is_taken() -> None:
    assert is_heard_alike(ANSWER)
    assert is_heard_alike(ANSWER.replace(b"200 OK", b"404 Not Found"))
    assert is_heard_alike(ANSWER.replace(b"200 OK", b"200 "))
    assert is_heard_alike(ANSWER.replace(b"length: 2", b"length: 0")[:-2])


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"200", b"100"), (b"200", b"204"), (b"200", b"304"), (b"200", b"2x0"), (b"1.1", b"1.0"), (b"{}", b"{"),
        (b"{}", b"{}}"), (b"X-A: b", b"connection: close"), (b"X-A: b", b"Connection: keep-alive"),
        (b"X-A: b", b"transfer-encoding: chunked"), (b"X-A: b", b"content-length: 2"),
        (b"content-length: 2\r\n", b""), (b"length: 2", b"length: 2 "), (b"X-A:", b"X A:"), (b"\r\n", b"\n"),
        (b"X-A: b", b"X-A: \xff"), (b"X-A: b", b"X-A: " + b"b" * 5000),
    ],
)  # fmt: skip
def test_an_odd_answer_is_left_to_the_parser(old: bytes, new: bytes) -> None:
    assert not is_heard_alike(ANSWER.replace(old, new))


@settings(max_examples=500, deadline=None)
@given(st.data())
def test_of_answers_too_one_takes_only_what_the_other_hears_alike(data: st.DataObject) -> None:
    raw = ANSWER
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(raw)))
        raw = raw[:at] + data.draw(_BYTES) + raw[at + data.draw(st.integers(0, 2)) :]
    is_heard_alike(raw)


_TOKEN = st.text("abcdefghijklmnopqrstuvwxyzABCXYZ0123456789-_.", min_size=1, max_size=12)
_VALUE = st.text([chr(code) for code in range(32, 127)], max_size=30).map(str.strip)
_LINES = st.lists(
    st.tuples(_TOKEN.map(lambda name: f"x-app-{name}"), _VALUE).map(lambda pair: f"{pair[0]}: {pair[1]}".encode()),
    max_size=8,
)


@settings(max_examples=200, deadline=None)
@given(_LINES, st.binary(max_size=200), st.text("abcXYZ019/_-.~?=&%", max_size=40))
def test_every_ordinary_request_is_taken(lines: list[bytes], body: bytes, target: str) -> None:
    assert is_taken(request(*lines, target=b"/v1/" + target.encode(), body=body))


@settings(max_examples=200, deadline=None)
@given(_LINES, st.binary(max_size=200), st.sampled_from([200, 201, 400, 404, 429]))
def test_every_ordinary_answer_is_taken(lines: list[bytes], body: bytes, status: int) -> None:
    head = b"\r\n".join((b"HTTP/1.1 %d It says" % status, *lines, b"Content-Length: %d" % len(body)))
    assert is_heard_alike(head + b"\r\n\r\n" + body)


@pytest.mark.parametrize("name", OURS)
def test_a_header_that_somebody_here_asks_for_is_never_passed_over(name: bytes) -> None:
    raw = b"POST /v1/chat/completions HTTP/1.1\r\nhost: a:80\r\n%b: 1\r\ncontent-length: 2\r\n\r\n{}" % name
    assert not is_taken(raw)
    assert is_taken(raw.replace(name, b"x-fenzhen-other"))
