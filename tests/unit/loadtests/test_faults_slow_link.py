"""The slow link over real sockets: bytes untouched and in order, late only when asked, bounded, gone with its owner."""

import asyncio
import contextlib
import functools
import json
import os
import random
import socket
import stat
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, ParamSpec

import pytest
import uvloop

from cluster.errors import OurFault, UserError
from loadtests.faults.control_path import control_path
from loadtests.faults.delay_line import MOST_BYTES
from loadtests.faults.link_hands import OwnLink, RemoteHand
from loadtests.faults.relay import LOOPBACK, Relay
from loadtests.faults.slow_link import SlowLink, controlled, relaying, server_of

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[Any, Any, None]]


Given = ParamSpec("Given")


def on_uvloop(test: Callable[Given, Coroutine[Any, Any, None]]) -> Callable[Given, None]:
    """Run a test as the link runs: uvloop's transports differ from asyncio's."""

    @functools.wraps(test)
    def run(*args: Given.args, **named: Given.kwargs) -> None:
        uvloop.run(asyncio.wait_for(test(*args, **named), 60))

    return run


@pytest.fixture
def short_temporary_folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Paths of sockets must be shorter than pytest's folders are."""
    with tempfile.TemporaryDirectory(prefix="fz") as folder:
        monkeypatch.setattr(tempfile, "tempdir", folder)
        monkeypatch.setenv("TMPDIR", folder)
        yield Path(folder)


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Send back all that comes, and end when the other has."""
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.write_eof()
    writer.close()


@contextlib.asynccontextmanager
async def serving(handler: Handler) -> AsyncIterator[int]:
    server = await asyncio.start_server(handler, LOOPBACK, 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


@contextlib.asynccontextmanager
async def linked(handler: Handler = echo) -> AsyncIterator[tuple[Relay, int]]:
    async with serving(handler) as server, relaying(LOOPBACK, server, 0) as (relay, port):
        yield relay, port


async def round_trip(port: int, payload: bytes) -> bytes:
    reader, writer = await asyncio.open_connection(LOOPBACK, port)

    async def send() -> None:
        for at in range(0, len(payload), 70_001):
            writer.write(payload[at : at + 70_001])
            await writer.drain()
        writer.write_eof()

    _, answer = await asyncio.gather(send(), reader.read())
    writer.close()
    await writer.wait_closed()
    return answer


async def until(is_so: Callable[[], object], what: str) -> None:
    for _ in range(3000):
        if is_so():
            return
        await asyncio.sleep(0.01)
    pytest.fail(f"not within 30 s: {what}")


@on_uvloop
async def test_bytes_pass_untouched_and_both_sides_may_end_one_after_the_other() -> None:
    payload = random.Random(1).randbytes(3_000_000)
    async with linked() as (relay, port):
        assert await round_trip(port, payload) == payload
        await until(lambda: not relay.connections, "nothing is left of an ended connection")


@on_uvloop
async def test_a_delay_is_felt_once_a_round_trip_and_ends_when_taken_back() -> None:
    async with linked() as (relay, port):
        reader, writer = await asyncio.open_connection(LOOPBACK, port)
        for delay_s in (0.0, 1.0, 0.0):
            relay.delay_s = delay_s
            began_s = time.monotonic()
            writer.write(b"question")
            assert await reader.readexactly(8) == b"question"
            took_s = time.monotonic() - began_s
            assert took_s >= delay_s
            # Twice would mean that answers are delayed as well. Without a delay it takes a millisecond.
            assert took_s < delay_s + 1.0
        writer.close()


@on_uvloop
async def test_no_piece_overtakes_another_while_the_delay_changes() -> None:
    payload = random.Random(2).randbytes(2_000_000)
    async with linked() as (relay, port):

        async def change() -> None:
            for number in range(100):
                relay.delay_s = (number * 7 % 5) * 0.01
                await asyncio.sleep(0.003)
            relay.delay_s = 0.0

        answer, _ = await asyncio.gather(round_trip(port, payload), change())
        assert answer == payload


@on_uvloop
async def test_a_delayed_end_comes_after_the_last_bytes() -> None:
    async with linked() as (relay, port):
        relay.delay_s = 0.2
        assert await round_trip(port, b"last words") == b"last words"


@on_uvloop
async def test_what_a_slow_server_does_not_take_stays_with_the_sender() -> None:
    async def never_reads(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(60)
        writer.close()

    async with linked(never_reads) as (relay, port):
        assert await asyncio.to_thread(sent_until_stuck, port) < 64 << 20
        (pair,) = relay.connections
        assert pair.server is not None


@on_uvloop
async def test_what_waits_for_its_delay_is_bounded() -> None:
    async with linked() as (relay, port):
        relay.delay_s = 30.0
        # What one connection's line holds, one read beyond it, and the buffers of two kernels' sockets.
        sent = await asyncio.to_thread(sent_until_stuck, port)
        assert MOST_BYTES <= sent < 64 << 20
        (pair,) = relay.connections
        assert pair.held_bytes <= MOST_BYTES + (1 << 20)


def sent_until_stuck(port: int) -> int:
    """How many bytes a peer takes before it takes no more for a second."""
    with socket.create_connection((LOOPBACK, port)) as client:
        client.settimeout(1.0)
        sent = 0
        with contextlib.suppress(TimeoutError):
            while sent < 256 << 20:
                sent += client.send(bytes(1 << 16))
        return sent


@on_uvloop
async def test_a_reset_is_passed_on_as_a_reset() -> None:
    async def slams(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(1)
        writer.transport.get_extra_info("socket").setsockopt(
            socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0" + bytes(4)
        )
        writer.transport.abort()

    async with linked(slams) as (relay, port):
        reader, writer = await asyncio.open_connection(LOOPBACK, port)
        writer.write(b"x")
        with pytest.raises(ConnectionResetError):
            await reader.read()
        writer.close()
        await until(lambda: not relay.connections, "nothing is left of a reset connection")


@on_uvloop
async def test_a_server_that_is_away_is_a_reset_and_the_next_connection_finds_it_again() -> None:
    with socket.socket() as holder:
        holder.bind((LOOPBACK, 0))
        server_port = holder.getsockname()[1]
        async with relaying(LOOPBACK, server_port, 0) as (relay, port):
            reader, writer = await asyncio.open_connection(LOOPBACK, port)
            with pytest.raises(ConnectionResetError):
                await reader.read()
            writer.close()
            assert not relay.connections
            holder.close()
            async with await asyncio.start_server(echo, LOOPBACK, server_port):
                assert await round_trip(port, b"back") == b"back"


@on_uvloop
async def test_a_client_that_leaves_takes_its_connection_to_the_server_along() -> None:
    gone = asyncio.Event()

    async def watches(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while True:
                writer.write(b"token")
                await writer.drain()
                await asyncio.sleep(0.01)
        gone.set()
        writer.close()

    async with linked(watches) as (relay, port):
        reader, writer = await asyncio.open_connection(LOOPBACK, port)
        await reader.readexactly(5)
        writer.close()
        async with asyncio.timeout(30):
            await gone.wait()
        await until(lambda: not relay.connections, "nothing is left of a client that has left")


@on_uvloop
async def test_a_thousand_connections_at_once_each_get_their_own_bytes() -> None:
    async with linked() as (relay, port):
        relay.delay_s = 0.05

        async def one(number: int) -> bool:
            return await round_trip(port, b"%d" % number) == b"%d" % number

        assert all(await asyncio.gather(*(one(number) for number in range(1000))))
        await until(lambda: not relay.connections, "nothing is left of a thousand")


@on_uvloop
async def test_delays_of_several_add_up_and_each_ends_with_who_ordered_it() -> None:
    relay = Relay((socket.AF_INET, LOOPBACK, 1))
    link = SlowLink(relay)
    answers: list[bytes] = []
    first, second = asyncio.StreamReader(), asyncio.StreamReader()
    tasks = [asyncio.create_task(link.obey(orders, answers.append)) for orders in (first, second)]
    first.feed_data(b'{"delay_s": 0.1}\n')
    second.feed_data(b'{"delay_s": 0.2}\n')
    await until(lambda: len(answers) == 2, "both are answered")
    assert relay.delay_s == pytest.approx(0.3)
    second.feed_eof()
    await tasks[1]
    assert relay.delay_s == 0.1
    first.feed_data(b'{"delay_s": 0}\n')
    await until(lambda: len(answers) == 3, "the third is answered")
    assert relay.delay_s == 0.0
    first.feed_eof()
    await tasks[0]


@pytest.mark.parametrize("order", [b"slower", b'{"delay_s": -1}', b'{"delay_s": 61}', b'{"delay": 1}', b"[]"])
@on_uvloop
async def test_an_order_that_makes_no_sense_is_refused_and_changes_nothing(order: bytes) -> None:
    relay = Relay((socket.AF_INET, LOOPBACK, 1))
    orders = asyncio.StreamReader()
    orders.feed_data(b'{"delay_s": 0.1}\n' + order + b"\n")
    answers: list[bytes] = []
    task = asyncio.create_task(SlowLink(relay).obey(orders, answers.append))
    await until(lambda: len(answers) == 2, "both are answered")
    assert "error" in json.loads(answers[1])
    assert relay.delay_s == 0.1
    orders.feed_eof()
    await task
    assert relay.delay_s == 0.0


@on_uvloop
async def test_an_order_without_an_end_ends_the_one_who_gives_it() -> None:
    relay = Relay((socket.AF_INET, LOOPBACK, 1))
    orders = asyncio.StreamReader(limit=100)
    orders.feed_data(b"x" * 1000)
    await SlowLink(relay).obey(orders, print)


@on_uvloop
async def test_a_running_link_is_slowed_over_its_socket_and_let_go(short_temporary_folder: Path) -> None:
    async with linked() as (relay, port), controlled(SlowLink(relay), port):
        path = control_path(port)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        assert path.is_relative_to(short_temporary_folder)
        hand = await asyncio.to_thread(RemoteHand, port)
        await asyncio.to_thread(hand.order, 0.3)
        assert relay.delay_s == 0.3
        hand.close()
        await until(lambda: relay.delay_s == 0.0, "the delay goes with who ordered it")
    assert not path.exists()


@pytest.mark.usefixtures("short_temporary_folder")
def test_a_link_that_does_not_run_is_told_with_the_way_to_start_it() -> None:
    with pytest.raises(UserError, match=r"fenzhen loadtest link --to HOST:PORT --listen 9301"):
        RemoteHand(9301)


@on_uvloop
async def test_a_folder_that_others_can_write_is_not_trusted(short_temporary_folder: Path) -> None:
    folder = short_temporary_folder / f"fenzhen-links-{os.getuid()}"
    folder.mkdir()
    folder.chmod(0o777)
    with pytest.raises(UserError, match="only you can use"):
        RemoteHand(9301)
    with pytest.raises(UserError, match="only you can use"):
        async with controlled(SlowLink(Relay((socket.AF_INET, LOOPBACK, 1))), 9301):
            pytest.fail("it must not listen there")


@on_uvloop
async def test_a_process_of_our_own_relays_slows_and_ends() -> None:
    async with serving(echo) as server:
        link = OwnLink(f"http://{LOOPBACK}:{server}/base/")
        await asyncio.to_thread(link.start)
        try:
            port = int(link.url.split(":")[2].partition("/")[0])
            assert link.url == f"http://{LOOPBACK}:{port}/base"
            one, other = object(), object()
            await asyncio.to_thread(link.order, one, 0.1)
            await asyncio.to_thread(link.order, other, 0.2)
            began_s = time.monotonic()
            assert await round_trip(port, b"hello") == b"hello"
            assert time.monotonic() - began_s >= 0.3
            await asyncio.to_thread(link.order, one, 0.0)
            await asyncio.to_thread(link.order, other, 0.0)
            with pytest.raises(OurFault, match="refuses"):
                await asyncio.to_thread(link.order, one, 100.0)
        finally:
            await asyncio.to_thread(link.close)
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection(LOOPBACK, port)


@on_uvloop
async def test_the_process_ends_when_whoever_started_it_is_gone() -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "loadtests.faults.slow_link",
        "--to",
        "127.0.0.1:9",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    assert json.loads(await process.stdout.readline())["pid"] == process.pid
    process.stdin.close()
    async with asyncio.timeout(30):
        assert await process.wait() == 0


@on_uvloop
async def test_a_server_without_an_address_is_told() -> None:
    with pytest.raises(UserError, match="has no address"):
        async with relaying("no-such-name.invalid", 80, 0):
            pytest.fail("there is nothing to relay to")


@on_uvloop
async def test_a_port_that_is_taken_is_told() -> None:
    async with serving(echo) as taken:
        with pytest.raises(UserError, match=f"port {taken} of 127.0.0.1 cannot be used"):
            async with relaying(LOOPBACK, taken, taken):
                pytest.fail("two cannot listen there")


def test_a_server_is_written_as_host_and_port() -> None:
    assert server_of("engine-1:8000") == ("engine-1", 8000)
    assert server_of("[::1]:8000") == ("::1", 8000)
    for text in ("engine-1", ":80", "engine-1:http", "engine-1:0", "engine-1:70000"):
        with pytest.raises(UserError, match="write HOST:PORT"):
            server_of(text)


def test_a_link_cannot_stand_before_https() -> None:
    with pytest.raises(UserError, match="only before http://"):
        OwnLink("https://router.example")
