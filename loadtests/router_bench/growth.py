"""Whether a router's memory grows with the number of requests that it has answered."""

import json
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict

from cluster.errors import OurFault, TimedOut
from loadtests.router_bench.child import ROOT, last_words, running
from loadtests.router_bench.gauges import Footprint, Stopwatch, Use, footprint
from loadtests.router_bench.mix import MixLoad, MixReport
from loadtests.router_bench.slope import slope_of
from loadtests.router_bench.stack import Stack

REQUESTS: Final = 500_000
# Until then caches fill and the allocator finds its size.
WARM_UP: Final = 50_000
# A replica that nobody asks anything grows by 3 MB in its first three minutes and then no more: that is Ray's, and not
# what a request leaves behind.
SETTLED_S: Final = 150.0
# Less than this cannot be told from the allocator's own wandering: a page of 4 KB for every 4,000 requests. The
# smallest object that could be kept for a request has 16 bytes.
NOISE_BYTES_PER_1000: Final = 1024.0
_SAMPLES: Final = 200
_LOOK_S: Final = 0.02
# A router that answers fewer is broken, or the machine is.
_LEAST_PER_S: Final = 300.0
_SAID_EVERY: Final = 20

Samples = list[tuple[int, Footprint]]
"""Requests done so far, and memory then."""


class Growth(BaseModel):
    """Memory over a long mixed load."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    requests: int
    """After the warm-up."""
    warm_up_requests: int
    seconds: float
    """Without the warm-up."""
    kinds: dict[str, int]
    wrong: dict[str, int]
    bytes_per_1000_requests: float
    """USS, after the warm-up."""
    low_bytes_per_1000_requests: float
    """Of the interval that holds the true slope in 95 of 100 cases."""
    high_bytes_per_1000_requests: float
    is_within_noise: bool
    """The interval holds 0 or less, or the slope is below what can be told."""
    cpu_ratio: float
    """Of one core, while it went on."""
    samples: tuple[tuple[int, float, float], ...]
    """Requests done so far, the warm-up included, and USS and RSS in 10^6 bytes."""


@dataclass(frozen=True, slots=True)
class Mixed:
    """Puts mixed loads on one stack and looks at its memory all along."""

    stack: Stack
    core: int
    """Of the clients."""
    folder: Path
    say: Callable[[str], None]

    def growth(self, model: str, requests: int, warm_up: int, settled_s: float) -> Growth:
        """Warm up with so many requests and at least for so long, then measure. Raises OurFault, TimedOut."""
        told_every = max(requests // _SAMPLES, 1)
        load = MixLoad(port=self.stack.port, model=model, total=warm_up, at_least_s=settled_s, told_every=told_every)
        warmed, before = self._put(load)
        load = MixLoad(port=self.stack.port, model=model, total=requests, told_every=told_every, seed=2)
        watch = Stopwatch(self.stack.replicas, self.core)
        report, samples = self._put(load)
        use = watch.read()
        every = [*before, *((warmed.done + done, now) for done, now in samples)]
        return judged(merged(warmed, report), every, warmed.done, use)

    def _put(self, load: MixLoad) -> tuple[MixReport, Samples]:
        load_path, log = self.folder / "mix.json", self.folder / "mix.log"
        load_path.write_text(load.model_dump_json(), encoding="utf-8")
        log.unlink(missing_ok=True)
        samples = [(0, footprint(self.stack.replicas))]
        report: MixReport | None = None
        limit_s = load.total / _LEAST_PER_S + load.at_least_s + 60
        command = (sys.executable, "-m", "loadtests.router_bench.mix", str(load_path))
        with running(command, self.core, log, cwd=ROOT) as process:
            for line in _lines(log, lambda: process.poll() is not None, limit_s):
                told = json.loads(line)
                if "report" in told:
                    report = MixReport.model_validate(told["report"])
                    continue
                samples.append((int(told["done"]), footprint(self.stack.replicas)))
                if len(samples) % _SAID_EVERY == 0:
                    done, now = samples[-1]
                    self.say(f"{done:,} mixed requests, {now.uss_bytes / 1e6:.1f} MB")
        if report is None:
            raise OurFault(f"the client of the mixed load ended without a report:\n{last_words(log)}")
        return report, samples


def judged(report: MixReport, samples: Samples, warm_up: int, use: Use) -> Growth:
    """The slope after the warm-up, and what it says. `report`: of both."""
    slope = slope_of([(done / 1000, float(now.uss_bytes)) for done, now in samples if done >= warm_up])
    return Growth(
        requests=report.done - warm_up,
        warm_up_requests=warm_up,
        seconds=round(use.seconds, 1),
        kinds=report.kinds,
        wrong=report.wrong,
        bytes_per_1000_requests=round(slope.value, 1),
        low_bytes_per_1000_requests=round(slope.low, 1),
        high_bytes_per_1000_requests=round(slope.high, 1),
        is_within_noise=slope.low <= 0 or slope.value < NOISE_BYTES_PER_1000,
        cpu_ratio=round(use.cpu_ratio, 3),
        samples=tuple((done, round(now.uss_bytes / 1e6, 3), round(now.rss_bytes / 1e6, 3)) for done, now in samples),
    )


def merged(one: MixReport, other: MixReport) -> MixReport:
    """Both together."""
    return MixReport(
        done=one.done + other.done,
        kinds=dict(Counter(one.kinds) + Counter(other.kinds)),
        wrong=dict(Counter(one.wrong) + Counter(other.wrong)),
        connections_made=one.connections_made + other.connections_made,
    )


def _lines(log: Path, is_over: Callable[[], bool], timeout_s: float) -> Iterator[str]:
    """The lines of JSON in a file that is being written, as they come. Raises TimedOut."""
    end_s = time.monotonic() + timeout_s
    with log.open(encoding="utf-8") as reader:
        rest = ""
        while True:
            # Asked before the read: what is written before the end is read after it.
            was_over = is_over()
            *whole, rest = (rest + reader.read()).split("\n")
            yield from (line for line in whole if line.startswith("{"))
            if was_over:
                return
            if time.monotonic() > end_s:
                raise TimedOut(f"the mixed load did not end within {timeout_s:.0f} s")
            time.sleep(_LOOK_S)
