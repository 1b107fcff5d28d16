"""What a request costs one running stack of ours: processor time when all goes as fast as it can, delay at leisure."""

import time
from dataclasses import dataclass
from typing import Final

from pydantic import BaseModel, ConfigDict

from loadtests.router_bench.child import put
from loadtests.router_bench.gauges import Stopwatch
from loadtests.router_bench.load import Load, Target
from loadtests.router_bench.stack import Stack

CONNECTIONS: Final = 32
_TIMEOUT_S: Final = 30.0


class Cost(BaseModel):
    """At saturation."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    requests: int
    errors: dict[str, int]
    rps: float
    cpu_us: float
    """Of the replicas, a request; what they use when idle is taken off."""
    generator_busy_ratio: float
    """Of the clients' and engines' core: near 1 it is they who set `rps`."""


class Delay(BaseModel):
    """At a low rate, beyond the straight way to the engine in the same seconds."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    requests: int
    errors: dict[str, int]
    added_p50_ms: float | None
    added_p99_ms: float | None


@dataclass(frozen=True, slots=True)
class Costs:
    """Measures one stack."""

    stack: Stack
    core: int
    """Of the clients."""
    idle_cpu_ratio: float

    def saturate(self, target: Target, seconds: float, connections: int = CONNECTIONS) -> Cost:
        """As many requests as go through."""
        return self.saturate_all((target,), seconds, connections)

    def saturate_all(self, targets: tuple[Target, ...], seconds: float, connections: int = CONNECTIONS) -> Cost:
        """The same with several kinds of requests at once."""
        watch = Stopwatch(self.stack.replicas, self.core)
        reports = put(Load(targets=targets, seconds=seconds, connections=connections), self.core).reports
        use = watch.read()
        right = sum(report.right for report in reports)
        spent_s = use.cpu_s - self.idle_cpu_ratio * use.seconds
        return Cost(
            requests=sum(report.sent for report in reports),
            errors=_merged([report.errors for report in reports]),
            rps=round(sum(report.rps for report in reports), 1),
            cpu_us=round(spent_s / max(right, 1) * 1e6, 1),
            generator_busy_ratio=round(use.core_busy_ratio, 3),
        )

    def delays(self, direct: Target, targets: tuple[Target, ...], seconds: float, per_s: float) -> list[Delay]:
        """What the router adds to each kind of requests, so many a second of each."""
        every = (direct, *targets)
        load = Load(targets=every, seconds=seconds, rate_per_s=per_s * len(every), timeout_s=_TIMEOUT_S)
        straight, *through = put(load, self.core).reports
        found = []
        for report in through:
            p50_ms = p99_ms = None
            if report.latency is not None and straight.latency is not None:
                p50_ms = round(report.latency.p50_ms - straight.latency.p50_ms, 3)
                p99_ms = round(report.latency.p99_ms - straight.latency.p99_ms, 3)
            found.append(Delay(requests=report.sent, errors=report.errors, added_p50_ms=p50_ms, added_p99_ms=p99_ms))
        return found

    def warm_up(self, target: Target, requests: int) -> None:
        """Let everything be made that is made once."""
        load = Load(targets=(target,), seconds=60, connections=64, total=max(1, requests // 64 * 64))
        put(load, self.core)
        time.sleep(0.5)


def _merged(counts: list[dict[str, int]]) -> dict[str, int]:
    merged: dict[str, int] = {}
    for each in counts:
        for kind, count in each.items():
            merged[kind] = merged.get(kind, 0) + count
    return merged
