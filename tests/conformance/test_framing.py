"""What no public suite asks: where a request ends, which forms of it there are, and what is refused, case by case."""

import pytest

from tests.conformance.wire import wire

HOST = b"host: a\r\n"
TE = b"transfer-encoding: chunked\r\n"


def get(lines: bytes = HOST, target: bytes = b"/", version: bytes = b"1.1") -> bytes:
    return b"GET %b HTTP/%b\r\n%b\r\n" % (target, version, lines)


def post(lines: bytes, body: bytes = b"") -> bytes:
    return b"POST / HTTP/1.1\r\n%b%b\r\n%b" % (HOST, lines, body)


def chunked(body: bytes) -> bytes:
    return post(TE, body)


ACCEPTED: dict[str, tuple[bytes, list[bytes]]] = {
    "spaces around a value are no part of it": (get(b"host: \t a \t\r\nexpect: 100-continue \r\n"), [b""]),
    "a header without a value": (get(HOST + b"x:\r\n"), [b""]),
    "a length with leading zeros": (post(b"content-length: 003\r\n", b"abc"), [b"abc"]),
    "a length with spaces around it": (post(b"content-length: \t 3 \t\r\n", b"abc"), [b"abc"]),
    "names in any case": (b"POST / HTTP/1.1\r\nHOST: a\r\ncOnTeNt-LeNgTh: 3\r\n\r\nabc", [b"abc"]),
    "a coding in any case": (post(b"Transfer-Encoding: ChUnKeD\r\n", b"3\r\nabc\r\n0\r\n\r\n"), [b"abc"]),
    "chunk sizes in upper case and with zeros": (chunked(b"000A\r\n0123456789\r\n000\r\n\r\n"), [b"0123456789"]),
    "an extension of a chunk": (chunked(b'3;a=b;c="d;\\"e"\r\nabc\r\n0;last\r\n\r\n'), [b"abc"]),
    "trailers": (chunked(b"3\r\nabc\r\n0\r\nx: y\r\nz: w\r\n\r\n"), [b"abc"]),
    "an empty line between requests": (get() + b"\r\n" + get(), [b"", b""]),
    "a GET with a body": (b"GET / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\nabc" + get(), [b"abc", b""]),
    "a HEAD with a body": (b"HEAD / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\nabc" + get(), [b"abc", b""]),
    "a DELETE with a body in chunks": (chunked(b"0\r\n\r\n").replace(b"POST", b"DELETE"), [b""]),
    "a length that the header connection names": (
        post(b"connection: content-length, host\r\ncontent-length: 3\r\n", b"abc"),
        [b"abc"],
    ),
    "a whole address": (get(target=b"http://a:80/x?y"), [b""]),
    "a whole address of another host": (get(target=b"https://b/x"), [b""]),
    "an asterisk for OPTIONS": (get(target=b"*").replace(b"GET", b"OPTIONS"), [b""]),
    "a host with a port": (get(b"host: a.example:8000\r\n"), [b""]),
    "a host that is an address": (get(b"host: [::1]:8000\r\n") + get(b"host: 127.0.0.1\r\n"), [b"", b""]),
    "a host with an underscore": (get(b"host: fenzhen_router_1\r\n"), [b""]),
    "an old request without a host": (get(b"", version=b"1.0"), [b""]),
    "an old request asks for no continuing": (
        b"POST / HTTP/1.0\r\nexpect: 100-continue\r\ncontent-length: 3\r\n\r\nabc",
        [b"abc"],
    ),
    "an old request with an unknown expectation": (b"GET / HTTP/1.0\r\nexpect: wonders\r\n\r\n", [b""]),
    "one line of a name is as good as two": (get(HOST + b"accept: a\r\naccept: b\r\n"), [b""]),
}

REFUSED: dict[str, tuple[bytes, int]] = {
    "a NUL in a value": (get(HOST + b"x: a\0b\r\n"), 400),
    "a NUL in a name": (get(HOST + b"x\0: a\r\n"), 400),
    "a CR in a value": (get(HOST + b"x: a\rb: c\r\n"), 400),
    "a CR alone ends no line": (get(HOST + b"x: a\rtransfer-encoding: chunked\r\n"), 400),
    "a LF alone ends no line": (get(HOST + b"x: a\ny: b\r\n"), 400),
    "a LF alone ends no head": (b"GET / HTTP/1.1\r\nhost: a\r\n\n", 400),
    "a folded line": (get(HOST + b"x: a\r\n\tb\r\n"), 400),
    "a folded line at the start": (b"GET / HTTP/1.1\r\n host: a\r\n\r\n", 400),
    "a folded coding": (post(b"transfer-encoding:\r\n chunked\r\n", b"0\r\n\r\n"), 400),
    "a tab before the colon": (get(HOST + b"x\t: a\r\n"), 400),
    "a name that is empty": (get(HOST + b": a\r\n"), 400),
    "a line without a colon": (get(HOST + b"xyz\r\n"), 400),
    "a name with a letter beyond ASCII": (get(HOST + "é: a\r\n".encode()), 400),
    "the same length twice": (post(b"content-length: 3\r\ncontent-length: 3\r\n", b"abc"), 400),
    "a list of lengths": (post(b"content-length: 3, 3\r\n", b"abc"), 400),
    "a negative length": (post(b"content-length: -1\r\n"), 400),
    "a length in hexadecimal": (post(b"content-length: 0x3\r\n", b"abc"), 400),
    "a length with an underscore": (post(b"content-length: 1_0\r\n", b"0123456789"), 400),
    "a length with a fraction": (post(b"content-length: 3.0\r\n", b"abc"), 400),
    "a length that is empty": (post(b"content-length:\r\n"), 400),
    "a length in other digits": (post("content-length: ٣\r\n".encode(), b"abc"), 400),
    "a length past 64 bits": (post(b"content-length: 18446744073709551619\r\n", b"abc"), 400),
    "a length beside a coding, in the other order": (post(TE + b"content-length: 5\r\n", b"0\r\n\r\n"), 400),
    "a length of nothing beside a coding": (post(TE + b"content-length: 0\r\n", b"0\r\n\r\n"), 400),
    "a coding twice": (post(TE + TE, b"0\r\n\r\n"), 400),
    "chunked twice": (post(b"transfer-encoding: chunked, chunked\r\n", b"0\r\n\r\n"), 400),
    "a coding that is empty": (post(b"transfer-encoding:\r\n"), 400),
    "identity": (post(b"transfer-encoding: identity\r\n", b"abc"), 400),
    "gzip alone": (post(b"transfer-encoding: gzip\r\n", b"abc"), 400),
    "gzip, then chunked": (post(b"transfer-encoding: gzip, chunked\r\n", b"0\r\n\r\n"), 501),
    "a quoted coding": (post(b'transfer-encoding: "chunked"\r\n', b"0\r\n\r\n"), 400),
    "a coding with a parameter": (post(b"transfer-encoding: chunked;q=1\r\n", b"0\r\n\r\n"), 400),
    "a coding and a comma": (post(b"transfer-encoding: chunked,\r\n", b"0\r\n\r\n"), 400),
    "a comma and a coding": (post(b"transfer-encoding: ,chunked\r\n", b"0\r\n\r\n"), 501),
    "a coding behind a vertical tab": (post(b"transfer-encoding: \x0bchunked\r\n", b"0\r\n\r\n"), 400),
    "a coding of an old request": (b"POST / HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    "a space before a chunk's size": (chunked(b" 3\r\nabc\r\n0\r\n\r\n"), 400),
    "a space behind a chunk's size": (chunked(b"3 \r\nabc\r\n0\r\n\r\n"), 400),
    "a chunk's size with a sign": (chunked(b"+3\r\nabc\r\n0\r\n\r\n"), 400),
    "a chunk's size with a minus": (chunked(b"-1\r\nabc\r\n0\r\n\r\n"), 400),
    "a chunk's size with 0x": (chunked(b"0x3\r\nabc\r\n0\r\n\r\n"), 400),
    "a chunk's size past 64 bits": (chunked(b"10000000000000003\r\nabc\r\n0\r\n\r\n"), 400),
    "a chunk's size that ends with LF": (chunked(b"3\nabc\r\n0\r\n\r\n"), 400),
    "a chunk's size that ends with CR": (chunked(b"3\rabc\r\n0\r\n\r\n"), 400),
    "a chunk that ends with LF": (chunked(b"3\r\nabc\n0\r\n\r\n"), 400),
    "a chunk that does not end": (chunked(b"3\r\nabc0\r\n\r\n"), 400),
    "a chunk that is longer than it says": (chunked(b"2\r\nabc\r\n0\r\n\r\n"), 400),
    "a LF in an extension": (chunked(b"3;a\nb\r\nabc\r\n0\r\n\r\n"), 400),
    "a body whose end ends with LF": (chunked(b"0\r\n\n"), 400),
    "a trailer that gives a length": (chunked(b"0\r\ncontent-length: 3\r\n\r\n"), 400),
    "a trailer that gives a coding": (chunked(b"0\r\ntransfer-encoding: chunked\r\n\r\n"), 400),
    "a folded trailer": (chunked(b"0\r\nx: a\r\n b\r\n\r\n"), 400),
    "no host": (get(b""), 400),
    "two hosts that agree": (get(HOST + HOST), 400),
    "a host that is empty": (get(b"host:\r\n"), 400),
    "two hosts in one line": (get(b"host: a, b\r\n"), 400),
    "two hosts without a space": (get(b"host: a,b\r\n"), 400),
    "a host with a name and a password": (get(b"host: u:p@a\r\n"), 400),
    "a host with a path": (get(b"host: a/b\r\n"), 400),
    "a host with a port that is none": (get(b"host: a:http\r\n"), 400),
    "a host that is wrong after one that was right": (get() + get(b"host: a b\r\n"), 400),
    "an asterisk for GET": (get(target=b"*"), 400),
    "a host and port as the target": (get(target=b"a:80"), 400),
    "a path without a slash": (get(target=b"healthz"), 400),
    "a whole address without a host": (get(target=b"http:///x"), 400),
    "a whole address with a name in it": (get(target=b"http://u@a/"), 400),
    "an address of another kind": (get(target=b"ftp://a/"), 400),
    "a target with a space": (get(target=b"/a b"), 400),
    "a target with a NUL": (get(target=b"/a\0b"), 400),
    "a target beyond ASCII": (get(target="/é".encode()), 400),
    "CONNECT": (b"CONNECT a:443 HTTP/1.1\r\nhost: a:443\r\n\r\n", 501),
    "HTTP/0.9": (b"GET /\r\n\r\n", 505),
    "HTTP/1.2": (get(version=b"1.2"), 400),
    "HTTP/3": (get(version=b"3"), 400),
    "http in small letters": (b"GET / http/1.1\r\nhost: a\r\n\r\n", 400),
    "the start of HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
    "the start of TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(40), 400),
    "a method in small letters": (b"get / HTTP/1.1\r\nhost: a\r\n\r\n", 400),
    "a method that nobody knows": (b"FROB / HTTP/1.1\r\nhost: a\r\n\r\n", 400),
    "a method that never ends": (b"A" * 70_000, 400),
    "a space before the method": (b" GET / HTTP/1.1\r\nhost: a\r\n\r\n", 400),
    "an expectation that nobody can meet": (post(b"expect: wonders\r\ncontent-length: 3\r\n"), 417),
    "two expectations, one of them unknown": (post(b"expect: 100-continue, wonders\r\ncontent-length: 3\r\n"), 417),
    "two keys": (get(HOST + b"authorization: a\r\nauthorization: b\r\n"), 400),
    "six thousand tiny headers": (get(HOST + b"a:\r\n" * 6_000), 431),
    "a thousand tiny headers": (get(HOST + b"".join(b"%d:\r\n" % number for number in range(1000))), 431),
    "forty thousand empty lines": (b"\r\n" * 40_000, 431),
    "trailers past the limit of a head": (chunked(b"0\r\n" + b"x: y\r\n" * 1_000 + b"\r\n"), 431),
}


@pytest.mark.parametrize("title", ACCEPTED)
async def test_it_is_understood(title: str) -> None:
    raw, bodies = ACCEPTED[title]
    async with wire() as server:
        heard = await server.say(raw)
    assert [request.body for request in server.keeper.requests] == bodies
    assert [status for status in heard.statuses if status != 100] == [200] * len(bodies)


@pytest.mark.parametrize("title", REFUSED)
async def test_it_is_refused_and_the_connection_closed(title: str) -> None:
    raw, status = REFUSED[title]
    async with wire() as server:
        heard = await server.say(raw, get())
    assert heard.statuses[-1] == status
    assert heard.is_closed
    # At most the good one that stood before it; never itself, and never what came after it.
    assert len(server.keeper.requests) == len(heard.statuses) - 1 <= 1
    assert heard.data.count(b"connection: close\r\n") == 1


@pytest.mark.parametrize("size", [32_000, 33_000])
async def test_the_limit_of_a_head_holds_for_all_its_parts(size: int) -> None:
    heads = [get(target=b"/" + b"a" * size), get(HOST + b"x: " + b"a" * size + b"\r\n")]
    heads.append(get(HOST + b"x" * size + b": a\r\n"))
    async with wire() as server:
        statuses = {tuple((await server.say(head)).statuses) for head in heads}
    assert statuses == {(200,) if size < 32_768 else (431,)}


@pytest.mark.parametrize(
    ("start", "more"),
    [
        (chunked(b"0\r\nx: "), b"y" * 10_000),
        (chunked(b"3;x="), b"y" * 10_000),
        (chunked(b""), b"0" * 10_000),
    ],
    ids=["a trailer", "an extension", "the zeros of a size"],
)
async def test_what_the_parser_skips_or_keeps_has_an_end_too(start: bytes, more: bytes) -> None:
    async with wire() as server:
        heard = await server.say(start, *[more] * 20, wait_s=0.005)
    assert heard.statuses == [431]


async def test_extensions_of_chunks_that_bring_something_do_not_add_up() -> None:
    pieces = [piece for _ in range(50) for piece in (b"1;" + b"x" * 2_000 + b"\r\n", b"a\r\n")]
    async with wire() as server:
        heard = await server.say(chunked(b""), *pieces, b"0\r\n\r\n", wait_s=0.002)
    assert heard.statuses == [200]
    assert server.keeper.requests[0].body == b"a" * 50


async def test_trailers_never_become_headers() -> None:
    async with wire() as server:
        await server.say(chunked(b"0\r\nauthorization: b\r\nhost: b\r\nx-request-id: b\r\n\r\n"))
    assert server.keeper.requests[0].headers == {b"host": b"a", b"transfer-encoding": b"chunked"}


async def test_the_lines_of_one_name_are_one_list() -> None:
    async with wire() as server:
        await server.say(get(HOST + b"x: 1\r\ny: 2\r\nX: 3\r\n"))
    assert server.keeper.requests[0].headers == {b"host": b"a", b"x": b"1, 3", b"y": b"2"}


def test_the_tables_hold_no_case_twice() -> None:
    streams = [raw for raw, _ in (*ACCEPTED.values(), *REFUSED.values())]
    assert len(set(streams)) == len(streams)
