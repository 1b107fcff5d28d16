"""The scale benchmark's own pieces over real sockets, against small things whose doings are known."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest

from cluster.directory import Endpoint, Table
from cluster.settings import Router as RouterSettings
from loadtests.router_bench import stream_scale
from loadtests.router_bench.asker import Asker, BrokenError, post
from loadtests.router_bench.child import ROOT
from loadtests.router_bench.costs import Costs
from loadtests.router_bench.faults import engines_that_leave
from loadtests.router_bench.gauges import Stopwatch, footprint, listening_sockets, steady_footprint
from loadtests.router_bench.made_up import body, conversations
from loadtests.router_bench.mix import SHARES, Mix, MixLoad
from loadtests.router_bench.patient import Patience, PatientLoad, report_of
from loadtests.router_bench.stack import Stack
from loadtests.router_bench.wire import answer_to
from router.server import RouterServer
from tests.fakes.judges import shipped
from tests.fakes.stack import LARGE, SMALL

CORE = min(os.sched_getaffinity(0))
ASK = body("small", "hi", more={"stream": True, "max_tokens": 3}).encode()
# Takes 16 MiB when it is told to, and ends when it is told again.
GROWS = """
import mmap
print("here", flush=True)
input()
taken = mmap.mmap(-1, 16 << 20)
for page in range(0, len(taken), mmap.PAGESIZE):
    taken[page] = 1
print("grown", flush=True)
input()
"""
Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def serving(*scripts: Handler) -> AsyncIterator[int]:
    """A server that treats each connection by the next script, and the last one for ever; gives its port."""
    left = list(scripts)

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        script = left.pop(0) if len(left) > 1 else left[0]
        try:
            await script(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    async with server:
        port: int = server.sockets[0].getsockname()[1]
        yield port


async def heard(reader: asyncio.StreamReader) -> None:
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
    await reader.readexactly(length)


async def closes_unanswered(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await heard(reader)


async def breaks_off(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await heard(reader)
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf")
    await writer.drain()


async def is_busy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await heard(reader)
    writer.write(b"HTTP/1.1 503 Busy\r\nRetry-After: 1\r\nContent-Length: 2\r\nconnection: close\r\n\r\n{}")
    await writer.drain()


async def answers(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while True:
        await heard(reader)
        writer.write(answer_to(b"small", True))


# ---- the asking client -----------------------------------------------------------------------------------------------


async def test_a_whole_answer_comes_and_the_connection_can_be_used_again() -> None:
    async with serving(answers) as port:
        asker = await Asker.open("127.0.0.1", port)
        for _ in range(2):
            answer = await asker.send(post(port, ASK))
            assert (answer.status, answer.keeps_alive) == (200, True)
        assert asker.is_open
        asker.close()


async def test_a_break_tells_whether_the_answer_had_begun() -> None:
    async with serving(closes_unanswered, breaks_off) as port:
        for has_begun in (False, True):
            asker = await Asker.open("127.0.0.1", port)
            with pytest.raises(BrokenError) as caught:
                await asker.send(post(port, ASK))
            assert caught.value.has_begun is has_begun


async def test_a_503_says_when_to_come_again() -> None:
    async with serving(is_busy) as port:
        asker = await Asker.open("127.0.0.1", port)
        answer = await asker.send(post(port, ASK))
        assert (answer.status, answer.retry_after_s, answer.keeps_alive) == (503, 1, False)


# ---- the patient client ----------------------------------------------------------------------------------------------


async def patience(port: int, seconds: float, **counts: int) -> Patience:
    stop = asyncio.Event()
    found = Patience(PatientLoad(port=port, **{"kept": 0, "new": 0, "stream": 0, **counts}, chunks=2, pace_ms=1), stop)
    asyncio.get_running_loop().call_later(seconds, stop.set)
    async with asyncio.timeout(20):
        await found.run()
    return found


async def test_what_no_byte_answered_is_asked_again_and_not_lost() -> None:
    async with serving(closes_unanswered, is_busy, answers) as port:
        found = (await patience(port, 0.3, kept=1)).tallies["kept"]
    assert (found.requests, found.retried, found.retries) == (found.right, 1, 2)
    assert found.why_retried == {"closed": 1, "503": 1}
    # The first wait is half a second less a quarter at most; the second is the server's own second.
    assert found.slowest_s > 1.3


async def test_an_answer_that_breaks_in_its_middle_is_not_asked_again() -> None:
    async with serving(breaks_off, answers) as port:
        found = (await patience(port, 0.2, kept=1)).tallies["kept"]
    assert (found.retried, dict(found.broken)) == (0, {"closed": 1})
    assert found.right == found.requests - 1 > 0


async def test_a_request_is_lost_when_three_tries_have_failed() -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        found = await patience(nobody.getsockname()[1], 0.1, new=1)
    assert dict(found.tallies["new"].lost) == {"no connection: ConnectionRefusedError": 1}
    assert found.tallies["new"].retries == 2
    assert report_of(found.tallies, found.answered_s, 0.0).answers_in_bins == ()


# ---- the engine that leaves ------------------------------------------------------------------------------------------


async def test_a_leaving_engine_ends_its_stream_closes_what_is_idle_and_takes_nothing_new(tmp_path: Path) -> None:
    with engines_that_leave(1, CORE, tmp_path) as [(port, pid)]:
        idle, busy = [await Asker.open("127.0.0.1", port) for _ in range(2)]
        assert (await idle.send(post(port, body("small", "hi").encode()))).status == 200
        streamed = body("small", "pace-100ms", more={"stream": True, "max_tokens": 6}).encode()
        answered = busy.send(post(port, streamed))
        await busy.first_byte()
        os.kill(pid, signal.SIGTERM)
        await until(lambda: not idle.is_open)
        assert not answered.done()
        with pytest.raises(OSError):
            await Asker.open("127.0.0.1", port)
        async with asyncio.timeout(5):
            assert (await answered).is_stream_of(6)
        await until(lambda: not busy.is_open)


async def until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not is_so():
            await asyncio.sleep(0.01)


# ---- the mixed load --------------------------------------------------------------------------------------------------


async def test_the_mixed_load_gets_from_our_router_what_it_expects(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with engines_that_leave(2, CORE, tmp_path) as engines:
        router = RouterServer(
            (SMALL, LARGE), RouterSettings(drain_s=1, drain_idle_s=0), asyncio.get_running_loop(), shipped()
        )
        port = await router.start(port=0)
        router.update(
            Table(1, tuple(endpoint(model, at) for model, (at, _) in zip(("small", "large"), engines, strict=True)))
        )
        mix = Mix(MixLoad(port=port, model="small", total=300, clients=4, told_every=100))
        async with asyncio.timeout(60):
            await mix.run()
        await router.drain()
    report = mix.report()
    assert report.wrong == {}
    assert report.kinds == {kind: 3 * share for kind, share in SHARES.items()}
    assert [json.loads(line)["done"] for line in capsys.readouterr().out.splitlines()] == [100, 200, 300]


async def test_the_mixed_load_says_what_was_not_as_it_should_be() -> None:
    async with serving(answers) as port:
        mix = Mix(MixLoad(port=port, model="small", total=100, clients=2))
        async with asyncio.timeout(60):
            await mix.run()
    wrong = mix.report().wrong
    assert wrong["not JSON: status 200"] == SHARES["not JSON"]
    assert wrong["stream: status 200, or not whole"] == SHARES["stream"]
    assert not any(kind.startswith(("named", "auto", "left")) for kind in wrong)


def endpoint(model: str, port: int) -> Endpoint:
    return Endpoint(
        endpoint_id=f"{model}@{port}", model=model, base_url=f"http://127.0.0.1:{port}", state="ready", detail="",
        restarts=0, pid=None, pid_started_s=None, retry_after_s=1,
    )  # fmt: skip


# ---- what the operating system says ----------------------------------------------------------------------------------


def test_memory_that_a_process_takes_is_seen() -> None:
    # A process of its own: what the test runner's allocator keeps or returns meanwhile is not ours to count.
    with subprocess.Popen(
        [sys.executable, "-c", GROWS], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdin
        assert child.stdout
        child.stdout.readline()
        before = footprint([child.pid])
        print(file=child.stdin, flush=True)
        child.stdout.readline()
        after = footprint([child.pid])
        print(file=child.stdin, flush=True)
    assert 16_000 <= after.kb_per(1, before)[0] <= 20_000


def test_processor_time_of_a_busy_process_is_seen() -> None:
    watch, begin_s = Stopwatch([os.getpid()], CORE), time.process_time()
    while (used_s := time.process_time() - begin_s) < 0.2:
        pass
    assert watch.read().cpu_s == pytest.approx(used_s, abs=0.02)
    assert 0 < watch.read().cpu_ratio < 2


def test_sockets_that_share_a_port_are_counted_one_by_one() -> None:
    with socket.socket() as one, socket.socket() as other:
        for each in (one, other):
            each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
        other.bind(("127.0.0.1", port))
        one.listen()
        first = listening_sockets(port)
        other.listen()
        assert len(first) == 1
        assert len(listening_sockets(port)) == 2
        assert first < listening_sockets(port)


# ---- streams and costs -----------------------------------------------------------------------------------------------


@pytest.fixture
def direct() -> Iterator[Stack]:
    """Not a router at all but the engines' stand-in: what is measured is known."""
    with stand_in_process() as (port, pid):
        yield Stack(port, (pid,), (), Path("fenzhen.yaml"), Path("bench.log"))


@contextmanager
def stand_in_process() -> Iterator[tuple[int, int]]:
    command = [sys.executable, "-m", "loadtests.router_bench.stand_in", "--free-ports", "1", "--until-stdin-ends"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT) as process:
        assert process.stdout is not None
        try:
            told = json.loads(process.stdout.readline())
            yield told["ports"][0], told["pid"]
        finally:
            process.kill()


def test_streams_are_all_open_at_once_and_each_comes_whole(direct: Stack) -> None:
    idle = steady_footprint(direct.replicas)
    streams = stream_scale.Streams(direct, direct.port, CORE, 0.0)
    step = streams.hold(120, 50.0, 1.0, idle, is_active=True)
    assert (step.open_at_once, step.errors) == (120, {})
    assert step.chunks_per_s == pytest.approx(120 / 0.05, rel=0.3)
    assert step.uss_kb_per_stream is not None
    assert step.gap_p50_ms == pytest.approx(50, rel=0.3)


def test_costs_are_those_of_right_answers(direct: Stack) -> None:
    costs = Costs(direct, CORE, 0.0)
    costs.warm_up(conversations("warm", direct.port, ["small"], 10), 64)
    cost = costs.saturate(conversations("named", direct.port, ["small"], 100), 0.5)
    assert cost.errors == {}
    assert cost.requests > 100
    assert 1 < cost.cpu_us < 5000
