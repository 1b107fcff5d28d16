"""The benchmark's client and its stand-in for engines agree, and the client notices what a proxy does wrong."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from loadtests.router_bench import child, cpu, prompts
from loadtests.router_bench.candidate import Running, Trim
from loadtests.router_bench.client import put
from loadtests.router_bench.load import Load, Report, Target
from loadtests.router_bench.measure import Measurement, Plan, asked_of
from tests.fakes.faulty_proxy import Fault, faulty_proxy

CORE = cpu.cores()[-1]
QUICK = Plan(
    warm_s=0.1, saturation_s=0.2, connections=4, at_rate_s=0.2, at_rate_per_s=50, latency_s=0.4, latency_per_s=20,
    ttft_s=0.2, ttft_per_s=20, fast_s=0.2, paced_s=0.2, paced_streams=2,
)  # fmt: skip


@pytest.fixture(scope="module")
def engine() -> Iterator[int]:
    with child.stand_in(CORE, 2) as ports:
        yield ports[0]


def target(port: int, chunks: int = 0, pace_ms: float = 0) -> Target:
    bodies = prompts.streamed("small", chunks, pace_ms) if chunks else prompts.bodies("small")
    return Target(name="it", port=port, bodies=bodies)


async def asked(port: int, total: int, chunks: int = 0) -> Report:
    load = Load(targets=(target(port, chunks),), seconds=10, connections=2, total=total, chunks=chunks, timeout_s=2)
    return (await put(load)).of("it")


async def through(engine: int, fault: Fault, chunks: int = 0) -> Report:
    async with faulty_proxy(engine, fault) as port:
        return await asked(port, total=20, chunks=chunks)


@pytest.mark.parametrize("rate_per_s", [None, 50.0])
async def test_where_nobody_listens_it_ends_in_time_and_says_so(rate_per_s: float | None) -> None:
    (port,) = child.free_ports(1)
    load = Load(targets=(target(port),), seconds=0.5, connections=2, rate_per_s=rate_per_s, timeout_s=1)
    async with asyncio.timeout(8):
        report = (await put(load)).of("it")
    assert report.right == 0
    assert report.errors["no connection: ConnectionRefusedError"] > 0


async def test_client_and_stand_in_count_the_same(engine: int) -> None:
    before = asked_of(engine)
    whole = await asked(engine, total=500)
    streams = await asked(engine, total=50, chunks=20)
    assert (whole.sent, whole.right, whole.errors) == (500, 500, {})
    assert (streams.sent, streams.right, streams.chunks, streams.errors) == (50, 50, 1000, {})
    assert asked_of(engine) - before == 550


async def test_the_stand_in_knows_which_port_was_asked(engine: int) -> None:
    await asked(engine, total=3)
    async with httpx.AsyncClient() as client:
        counts = (await client.get(f"http://127.0.0.1:{engine}/count")).json()
    assert set(counts["by_port"]) == {str(engine)}


async def test_chunks_come_at_the_pace_that_the_request_asks_for(engine: int) -> None:
    load = Load(targets=(target(engine, 5, pace_ms=20),), seconds=10, connections=1, total=2, chunks=5)
    report = (await put(load)).of("it")
    assert report.gap is not None
    assert report.ttft is not None
    assert report.gap.p50_ms == pytest.approx(20, abs=8)
    assert report.ttft.p50_ms < 20
    assert report.latency is not None
    assert report.latency.p50_ms >= 4 * 19


async def test_a_body_that_comes_in_pieces_is_answered_once_it_is_whole(engine: int) -> None:
    body = json.dumps({"model": "small", "messages": [{"role": "user", "content": "很长" * 200_000}]})
    load = Load(targets=(Target(name="it", port=engine, bodies=(body,)),), seconds=10, connections=1, total=2)
    report = (await put(load)).of("it")
    assert (report.right, report.errors) == (2, {})


async def test_an_answer_that_a_proxy_drops_is_noticed(engine: int) -> None:
    report = await through(engine, lambda number, data: None if number == 7 else data)
    assert report.errors == {"closed before an answer": 1}
    assert (report.sent, report.right) == (20, 19)


async def test_an_answer_cut_in_the_middle_is_noticed(engine: int) -> None:
    def half(number: int, data: bytes) -> bytes:
        return data[:-20] if number == 7 else data

    load = Load(targets=(target(engine),), seconds=10, connections=1, total=20, timeout_s=1)
    async with faulty_proxy(engine, half) as port:
        only = load.model_copy(update={"targets": (target(port),)})
        report = (await put(only)).of("it")
    # The rest never comes; the client waits for it and gives up.
    assert report.errors == {"timed out": 1}


async def test_a_wrong_answer_is_noticed(engine: int) -> None:
    report = await through(
        engine, lambda n, data: data.replace(b"stand-in answers", b"stand-in is sick") if n % 5 == 0 else data
    )
    assert report.errors == {"a wrong answer": 4}


async def test_a_status_other_than_200_is_noticed(engine: int) -> None:
    report = await through(engine, lambda n, data: data.replace(b"200 OK", b"503 No") if n == 3 else data)
    assert report.errors == {"status 503": 1}


async def test_bytes_after_an_answer_are_noticed(engine: int) -> None:
    report = await through(engine, lambda n, data: data + b"more" if n == 3 else data)
    assert report.errors == {"not a right answer: bytes after the answer's end": 1}


async def test_a_chunk_that_a_proxy_swallows_is_noticed(engine: int) -> None:
    report = await through(engine, lambda _, data: data.replace(b'"w4 "', b'"   "'), chunks=10)
    assert report.right == 0
    assert report.errors == {"a stream out of order": 20}


async def test_the_last_chunk_that_is_missing_is_noticed(engine: int) -> None:
    report = await through(engine, lambda _, data: data.replace(b'"w9 "', b'"   "'), chunks=10)
    assert report.errors == {"a stream with too few or too many chunks": 20}


async def test_a_stream_without_its_end_is_noticed(engine: int) -> None:
    report = await through(engine, lambda _, data: data.replace(b"[DONE]", b"[GONE]"), chunks=10)
    assert report.errors == {"a stream without its end": 20}


async def test_a_request_that_a_proxy_doubles_shows_in_the_engines_count(engine: int) -> None:
    before = asked_of(engine)
    async with faulty_proxy(engine, lambda _, data: data, twice=5) as port:
        report = await asked(port, total=20)
    assert (report.sent, report.right) == (20, 20)
    assert asked_of(engine) - before == 21


async def test_a_port_where_nobody_listens_is_an_error_and_no_endless_wait() -> None:
    (port,) = child.free_ports(1)
    load = Load(targets=(target(port),), seconds=0.3, connections=1)
    report = (await put(load)).of("it")
    assert report.sent == 0
    assert list(report.errors) == ["no connection: ConnectionRefusedError"]


async def test_requests_at_a_rate_are_as_many_as_were_due_at_each_target(engine: int) -> None:
    first, second = target(engine), target(engine).model_copy(update={"name": "other"})
    reports = await put(Load(targets=(first, second), seconds=0.5, rate_per_s=100))
    assert [reports.of(name).right for name in ("it", "other")] == [25, 25]


def test_a_measurement_has_every_figure_and_counts_what_it_sent(engine: int) -> None:
    # The stand-in itself takes the candidate's place: what it adds is nothing but noise.
    pid = cpu.listeners(engine)
    running = Running(engine, pid, beside=())
    sample = Measurement(Trim("haproxy"), running, engine, QUICK, CORE).take(1)
    assert sample.errors == {}
    assert sample.engine_surplus == 0
    assert sample.latencies == 8
    wanted = (
        "cpu_us cpu_us_at_rate rps added_ms_p50 added_ms_p99 ttft_added_ms_p50 chunks_per_s cpu_us_per_chunk memory_mb"
    )
    assert set(wanted.split()) <= set(sample.figures)
    assert 1 < sample.figures["cpu_us"] < 1000
    assert sample.figures["memory_mb"] > 5


def test_what_the_benchmark_starts_ends_with_it(tmp_path: Path) -> None:
    log = tmp_path / "sleep.log"
    with child.running(["bash", "-c", "sleep 300 & sleep 300"], CORE, log) as process:
        everything = cpu.tree(process.pid)
    assert everything
    assert not any(cpu.tree(pid) for pid in everything)
