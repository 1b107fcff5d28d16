"""The measurement of one candidate in one round."""

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import httpx

from loadtests.router_bench import cpu
from loadtests.router_bench.candidate import Running, Trim
from loadtests.router_bench.child import put
from loadtests.router_bench.load import Load, Report, Spread, Target
from loadtests.router_bench.memory import memory_bytes
from loadtests.router_bench.sample import Sample

DIRECT: Final = "direct"
# Streams whose latency is looked at, and those whose CPU is: chunks, and milliseconds between them.
_LOOKED_AT: Final = (10, 5.0)
_PACED: Final = (50, 20.0)
_FAST_CHUNKS: Final = 50
_SCRAPE_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class Plan:
    """How long and how much; times in seconds, rates in requests a second."""

    warm_s: float = 1.0
    saturation_s: float = 2.5
    connections: int = 32
    at_rate_s: float = 1.5
    at_rate_per_s: float = 1000.0
    latency_s: float = 5.0
    latency_per_s: float = 50.0
    """Through the candidate; as many go straight to the engine in between."""
    ttft_s: float = 3.0
    ttft_per_s: float = 20.0
    fast_s: float = 2.0
    paced_s: float = 2.0
    paced_streams: int = 64


USUAL: Final = Plan()
# For a proxy that answers some tens of requests a second: it is kept from queueing, and gets the time to show itself.
SLOW: Final = Plan(
    connections=8,
    at_rate_per_s=10.0,
    latency_per_s=5.0,
    ttft_per_s=1.0,
    ttft_s=5.0,
    paced_streams=2,
)
QUICK: Final = Plan(
    saturation_s=1.0, at_rate_s=1.0, latency_s=2.0, ttft_s=1.0, fast_s=1.0, paced_s=1.5, paced_streams=32
)
QUICK_SLOW: Final = Plan(
    saturation_s=1.0, connections=8, at_rate_s=1.0, at_rate_per_s=10.0, latency_s=2.0, latency_per_s=5.0, ttft_s=2.0,
    ttft_per_s=2.0, fast_s=1.0, paced_s=1.5, paced_streams=2,
)  # fmt: skip


class Measurement:
    """Measures one trim of a running server."""

    def __init__(self, trim: Trim, running: Running, engine: int, plan: Plan, client_core: int) -> None:
        self._trim = trim
        self._running = running
        self._engine = engine
        self._plan = plan
        self._core = client_core
        self._figures: dict[str, float] = {}
        self._errors: Counter[str] = Counter()
        self._sent = 0
        self._sent_direct = 0
        self._latencies = 0

    def take(self, round_number: int) -> Sample:
        """Measure everything, one after the other."""
        seen_before = asked_of(self._engine)
        begin_s, beside_s = time.monotonic(), cpu.cpu_s(self._running.beside)
        with self._scraping():
            self._warm_up()
            self._saturation()
            self._at_rate()
            self._latency()
            self._ttft()
            self._fast_streams()
            self._paced_streams()
        elapsed_s = time.monotonic() - begin_s
        self._figures["memory_mb"] = memory_bytes(self._running.on_the_way) / 1e6
        if self._running.beside:
            self._figures["beside_memory_mb"] = memory_bytes(self._running.beside) / 1e6
            self._figures["beside_cpu_percent"] = (cpu.cpu_s(self._running.beside) - beside_s) / elapsed_s * 100
        return Sample(
            name=self._trim.name,
            round=round_number,
            figures=self._figures,
            requests=self._sent,
            latencies=self._latencies,
            errors=dict(self._errors),
            engine_surplus=asked_of(self._engine) - seen_before - self._sent - self._sent_direct,
        )

    def _warm_up(self) -> None:
        target = self._trim.target(self._running.port)
        self._put(Load(targets=(target,), seconds=self._plan.warm_s, connections=self._plan.connections))

    def _saturation(self) -> None:
        plan = self._plan
        target = self._trim.target(self._running.port)
        report, used_s = self._cost_of(Load(targets=(target,), seconds=plan.saturation_s, connections=plan.connections))
        if report.right:
            self._figures["cpu_us"] = used_s / report.right * 1e6
            # Far below the whole core, something else than the proxy has set the limit.
            self._figures["core_percent"] = used_s / report.elapsed_s * 100
        self._figures["rps"] = report.rps

    def _at_rate(self) -> None:
        plan = self._plan
        target = self._trim.target(self._running.port)
        report, used_s = self._cost_of(Load(targets=(target,), seconds=plan.at_rate_s, rate_per_s=plan.at_rate_per_s))
        if report.right:
            self._figures["cpu_us_at_rate"] = used_s / report.right * 1e6

    def _latency(self) -> None:
        plan = self._plan
        targets = (self._trim.target(self._running.port), Trim(DIRECT).target(self._engine))
        through, direct = self._compare(targets, plan.latency_s, plan.latency_per_s, chunks=0)
        self._latencies = through.right
        self._added("added_ms", through.latency, direct.latency)

    def _ttft(self) -> None:
        plan = self._plan
        chunks, pace_ms = _LOOKED_AT
        targets = (
            self._trim.streamed(self._running.port, chunks, pace_ms),
            Trim(DIRECT).streamed(self._engine, chunks, pace_ms),
        )
        through, direct = self._compare(targets, plan.ttft_s, plan.ttft_per_s, chunks=chunks)
        self._added("ttft_added_ms", through.ttft, direct.ttft)
        self._added("gap_added_ms", through.gap, direct.gap)

    def _fast_streams(self) -> None:
        plan = self._plan
        target = self._trim.streamed(self._running.port, _FAST_CHUNKS, 0)
        load = Load(targets=(target,), seconds=plan.fast_s, connections=plan.connections, chunks=_FAST_CHUNKS)
        self._figures["chunks_per_s"] = self._put(load)[0].chunks_per_s

    def _paced_streams(self) -> None:
        plan = self._plan
        chunks, pace_ms = _PACED
        target = self._trim.streamed(self._running.port, chunks, pace_ms)
        report, used_s = self._cost_of(
            # Spread over one pause between chunks: in step, all streams would send at once.
            Load(
                targets=(target,),
                seconds=plan.paced_s,
                connections=plan.paced_streams,
                chunks=chunks,
                ramp_s=pace_ms / 1000,
            )
        )
        if report.chunks:
            self._figures["cpu_us_per_chunk"] = used_s / report.chunks * 1e6

    def _added(self, key: str, through: Spread | None, direct: Spread | None) -> None:
        """What came on top of the straight way, taken in the same seconds."""
        if through is not None and direct is not None:
            self._figures[f"{key}_p50"] = through.p50_ms - direct.p50_ms
            self._figures[f"{key}_p99"] = through.p99_ms - direct.p99_ms

    def _compare(
        self, targets: tuple[Target, Target], seconds: float, rate_per_s: float, chunks: int
    ) -> tuple[Report, Report]:
        # In turn, at twice the rate: whatever disturbs the machine disturbs both.
        load = Load(targets=targets, seconds=seconds, rate_per_s=2 * rate_per_s, chunks=chunks)
        through, direct = self._put(load)
        return through, direct

    def _cost_of(self, load: Load) -> tuple[Report, float]:
        before_s = cpu.cpu_s(self._running.on_the_way)
        (report,) = self._put(load)
        return report, cpu.cpu_s(self._running.on_the_way) - before_s

    def _put(self, load: Load) -> tuple[Report, ...]:
        reports = put(load, self._core).reports
        for report in reports:
            if report.name == DIRECT:
                self._sent_direct += report.sent
                self._errors.update({f"direct: {kind}": count for kind, count in report.errors.items()})
            else:
                self._sent += report.sent
                self._errors.update(report.errors)
        return reports

    @contextmanager
    def _scraping(self) -> Iterator[None]:
        """Read the server's metrics each second meanwhile, if its trim says so."""
        if not self._trim.is_scraped:
            yield
            return
        is_over = threading.Event()

        def scrape() -> None:
            with httpx.Client(base_url=f"http://127.0.0.1:{self._running.port}", timeout=5) as client:
                while not is_over.wait(_SCRAPE_S):
                    try:
                        client.get("/metrics").raise_for_status()
                    except httpx.HTTPError as error:
                        self._errors[f"/metrics: {type(error).__name__}"] += 1

        thread = threading.Thread(target=scrape, name="scraping")
        thread.start()
        try:
            yield
        finally:
            is_over.set()
            thread.join()


def asked_of(engine: int) -> int:
    """How many requests for answers the engines have seen."""
    counts = httpx.get(f"http://127.0.0.1:{engine}/count", timeout=10).raise_for_status().json()
    return int(counts["answers"]) + int(counts["streams"])
