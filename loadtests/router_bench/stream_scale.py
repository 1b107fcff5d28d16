"""Open streams: what each costs while it is open, in processor time, memory and delay."""

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, Final

import httpx
from pydantic import BaseModel, ConfigDict

from loadtests.router_bench.candidate import Trim
from loadtests.router_bench.child import put
from loadtests.router_bench.gauges import Footprint, Stopwatch, Use, footprint, steady_footprint
from loadtests.router_bench.load import Load, Report, Reports
from loadtests.router_bench.stack import Stack

# Conversations to `auto`: everything that the router does is on.
ASKED: Final = Trim("auto", model="auto", is_conversation=True)
IDLE_PACE_MS: Final = 5000.0
ACTIVE_PACE_MS: Final = 100.0
# Clients and engines share a core: beyond it they, and not the router, would be measured.
MOST_CHUNKS_PER_S: Final = 10_000.0
# So many connections are opened a second: a city's offices do not all call in the same millisecond.
_OPENED_PER_S: Final = 1000.0
_LOOK_S: Final = 0.05
_OPEN_TIMEOUT_S: Final = 15.0
COUNTS: Final = (1, 10, 100, 1_000, 2_000, 5_000)
_SAMPLE_S: Final = 0.5
_SLACK_S: Final = 3.0
# From the last chunk's due time; late ones are counted by their gaps, not given up.
_END_TIMEOUT_S: Final = 60.0
# Below them the noise of an idle process is more than what a stream or a chunk takes.
_FEWEST_FOR_MEMORY: Final = 100
_FEWEST_CHUNKS_PER_S: Final = 50.0


class Step(BaseModel):
    """So many streams at once, and what they cost."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    streams: int
    is_active: bool
    pace_ms: float
    """Between the chunks of one stream, as asked for."""
    open_at_once: int
    """As the engines counted them."""
    errors: dict[str, int]
    chunks_per_s: float
    cpu_ratio: float
    """Of one core, while all are open."""
    cpu_us_per_chunk: float | None
    """The router's own idle time is taken off; None for few chunks."""
    generator_busy_ratio: float
    """Of the clients' and engines' core: near 1 they are the limit, and delays are theirs, too."""
    uss_kb_per_stream: float | None
    """Above idle; None for few streams."""
    rss_kb_per_stream: float | None
    ttft_p50_ms: float | None
    ttft_p99_ms: float | None
    gap_p50_ms: float | None
    gap_p99_ms: float | None


class Streams:
    """Opens streams through one stack and holds them open."""

    def __init__(self, stack: Stack, engine: int, core: int, idle_cpu_ratio: float) -> None:
        """`engine`: any port of the stand-in. `core`: of the clients."""
        self._stack = stack
        self._engine = engine
        self._core = core
        self._idle_cpu_ratio = idle_cpu_ratio
        self.peak = Footprint(0, 0)

    def hold(self, count: int, pace_ms: float, hold_s: float, idle: Footprint, *, is_active: bool) -> Step:
        """Open so many, look at them for a while, let them end."""
        ramp_s = count / _OPENED_PER_S
        # Opening may take twice as long as it should, and the first are to be there still when the last have come.
        chunks = chunks_for(2 * ramp_s + hold_s + _SLACK_S, pace_ms)
        target = ASKED.streamed(self._stack.port, chunks, pace_ms)
        life_s = (chunks - 1) * pace_ms / 1000
        load = Load(
            targets=(target,),
            seconds=ramp_s + life_s + _END_TIMEOUT_S,
            connections=count,
            total=count,
            ramp_s=ramp_s,
            chunks=chunks,
            timeout_s=life_s + _END_TIMEOUT_S,
        )
        done_before = self._ended()
        with in_background(load, self._core) as reports:
            open_at_once = self._wait_open(count, ramp_s + _OPEN_TIMEOUT_S, done_before, reports)
            use, prints = self._look(hold_s)
            (report,) = reports.result().reports
        self.peak = Footprint(
            int(statistics.median(one.uss_bytes for one in prints)),
            int(statistics.median(one.rss_bytes for one in prints)),
        )
        uss_kb, rss_kb = self.peak.kb_per(count, idle)
        is_many = count >= _FEWEST_FOR_MEMORY
        rate = chunk_rate(report, count, chunks, pace_ms)
        spent_s = use.cpu_s - self._idle_cpu_ratio * use.seconds
        return Step(
            streams=count,
            is_active=is_active,
            pace_ms=pace_ms,
            open_at_once=open_at_once,
            errors=report.errors,
            chunks_per_s=round(rate, 1),
            cpu_ratio=round(use.cpu_ratio, 4),
            cpu_us_per_chunk=round(spent_s / (rate * use.seconds) * 1e6, 1) if rate >= _FEWEST_CHUNKS_PER_S else None,
            generator_busy_ratio=round(use.core_busy_ratio, 3),
            uss_kb_per_stream=round(uss_kb, 1) if is_many else None,
            rss_kb_per_stream=round(rss_kb, 1) if is_many else None,
            **_delays(report),
        )

    def _wait_open(self, count: int, timeout_s: float, done_before: int, reports: Future[Reports]) -> int:
        """Until the engines have so many streams open at once; gives how many they had at most."""
        most, end_s = 0, time.monotonic() + timeout_s
        while time.monotonic() < end_s and not reports.done():
            counts = counts_of(self._engine)
            ended = self._ended(counts)
            most = max(most, int(counts["streams"]) - ended)
            # Once some have ended, no more will be open together than have been.
            if most >= count or ended > done_before:
                break
            time.sleep(_LOOK_S)
        return most

    def _look(self, seconds: float) -> tuple[Use, list[Footprint]]:
        watch = Stopwatch(self._stack.replicas, self._core)
        end_s = time.monotonic() + seconds
        prints = [footprint(self._stack.replicas)]
        while time.monotonic() < end_s:
            time.sleep(_SAMPLE_S)
            prints.append(footprint(self._stack.replicas))
        return watch.read(), prints

    def _ended(self, counts: dict[str, Any] | None = None) -> int:
        counts = counts or counts_of(self._engine)
        return int(counts["streams_done"]) + int(counts["streams_broken"])


def ladder(
    streams: Streams, counts: Sequence[int], hold_s: float, idle: Footprint, say: Callable[[str], None]
) -> list[Step]:
    """More and more of them, silent ones and busy ones."""
    steps = []
    for count in counts:
        for is_active in (False, True):
            pace_ms = active_pace_ms(count) if is_active else IDLE_PACE_MS
            step = streams.hold(count, pace_ms, hold_s, idle, is_active=is_active)
            steps.append(step)
            memory = "" if step.uss_kb_per_stream is None else f", {step.uss_kb_per_stream:.1f} KB each"
            errors = f", {sum(step.errors.values())} ERRORS" if step.errors else ""
            say(
                f"{step.open_at_once:,} of {count:,} streams open, a chunk each {pace_ms:g} ms: "
                f"{step.cpu_ratio:.0%} of a core{memory}{errors}"
            )
    return steps


class Waves(BaseModel):
    """Two waves of streams through a replica that had seen none: what the first took, and whether more was taken."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    streams: int
    errors: int
    """Of both waves."""
    kb_per_stream: float
    """USS above idle in the first wave, idle being after some thousand ordinary requests."""
    rss_kb_per_stream: float
    second_wave_kb_per_stream: float
    """USS above the same idle."""
    left_after_first_kb: float
    """USS above idle when the first wave was over, all together: kept for the next streams."""
    idle_mb: float
    """USS, 10^6 bytes."""
    warm_up_requests: int
    waves: tuple[Step, ...]


def two_waves(streams: Streams, stack: Stack, count: int, hold_s: float, core: int, warm_up: int) -> Waves:
    """Warm up with ordinary requests, then twice so many streams."""
    target = ASKED.target(stack.port)
    put(Load(targets=(target,), seconds=60, connections=64, total=warm_up), core)
    time.sleep(1.0)
    idle = steady_footprint(stack.replicas)
    first = streams.hold(count, 500.0, hold_s, idle, is_active=True)
    time.sleep(1.0)
    after = steady_footprint(stack.replicas)
    second = streams.hold(count, 500.0, hold_s, idle, is_active=True)
    missing = sum(count - step.open_at_once for step in (first, second))
    return Waves(
        streams=count,
        # A stream that was not open together with the others is not what was asked for, either.
        errors=sum(sum(step.errors.values()) for step in (first, second)) + missing,
        kb_per_stream=first.uss_kb_per_stream or 0.0,
        rss_kb_per_stream=first.rss_kb_per_stream or 0.0,
        second_wave_kb_per_stream=second.uss_kb_per_stream or 0.0,
        left_after_first_kb=round((after.uss_bytes - idle.uss_bytes) / 1024, 1),
        idle_mb=round(idle.uss_bytes / 1e6, 1),
        warm_up_requests=warm_up,
        waves=(first, second),
    )


@contextmanager
def in_background(load: Load, core: int) -> Iterator[Future[Reports]]:
    """Put a load while something else is looked at."""
    with ThreadPoolExecutor(1, thread_name_prefix="load") as threads:
        yield threads.submit(put, load, core)


def counts_of(engine: int) -> dict[str, Any]:
    """What the engines' stand-in has seen so far."""
    found: dict[str, Any] = httpx.get(f"http://127.0.0.1:{engine}/count", timeout=30).raise_for_status().json()
    return found


def chunks_for(seconds: float, pace_ms: float) -> int:
    """How many chunks keep a stream open for at least so long; two at least, or there is no gap to see."""
    return max(2, -int(-seconds * 1000 // pace_ms) + 1)


def chunk_rate(report: Report, streams: int, chunks: int, pace_ms: float) -> float:
    """Chunks a second while all streams are open, by how long a stream really took."""
    asked_s = (chunks - 1) * pace_ms / 1000
    took_s = max(report.latency.p50_ms / 1000, asked_s) if report.latency is not None else asked_s
    return streams * (chunks - 1) / took_s


def active_pace_ms(count: int) -> float:
    """The usual pace, or what keeps all streams together below a rate that one core can make and take."""
    return max(ACTIVE_PACE_MS, count / MOST_CHUNKS_PER_S * 1000)


def _delays(report: Report) -> dict[str, float | None]:
    ttft, gap = report.ttft, report.gap
    return {
        "ttft_p50_ms": None if ttft is None else round(ttft.p50_ms, 3),
        "ttft_p99_ms": None if ttft is None else round(ttft.p99_ms, 3),
        "gap_p50_ms": None if gap is None else round(gap.p50_ms, 3),
        "gap_p99_ms": None if gap is None else round(gap.p99_ms, 3),
    }
