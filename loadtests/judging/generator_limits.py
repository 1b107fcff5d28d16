"""Whether the generator itself was the limit: then its figures say little about the server."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from loadtests.judging.columns import Columns
from loadtests.records.tick import Tick

LAG_LIMIT_S: Final = 0.005
"""99 of 100 requests are sent at most so late."""
CPU_LIMIT_RATIO: Final = 0.9
"""Of one core, the busiest process. Nearer to 1 events wait for each other, and that is measured as latency."""
# A process that starts, or writes a file, is busy for a second; that is no limit yet.
_CPU_OVER_S: Final = 5
_FEWEST_FOR_P99: Final = 100
# The rate that was still sent on time is looked for in spans of so many seconds.
_RATE_OVER_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class GeneratorLimits:
    """What the generator added by itself."""

    lag_p99_s: float | None
    """Of what was sent in an open loop; None if there was none."""
    cpu_max_ratio: float | None
    """The busiest process over 5 s, of one core; None without ticks."""
    is_limit: bool
    good_rps: float | None
    """The highest rate that it still sent on time; None if there was none, or no schedule."""
    sentence: str


def generator_limits(columns: Columns, ticks: Sequence[Tick]) -> GeneratorLimits:
    """Of the requests that count. In a closed loop only the processor can tell."""
    sent = columns.where(~columns.error.are("not_sent"))
    lag_p99_s = float(np.percentile(sent.lag_s, 99)) if sent.lag_s.any() else None
    cpu = np.array([tick.cpu_ratio for tick in ticks])
    over = np.ones(min(_CPU_OVER_S, len(cpu))) / min(_CPU_OVER_S, max(len(cpu), 1))
    cpu_max = float(np.convolve(cpu, over, "valid").max()) if len(cpu) else None
    # Of few requests the 99th percentile is the slowest one, and one hiccup is no limit: then half must be late.
    rank = 99 if len(sent) >= _FEWEST_FOR_P99 else 50
    is_late = lag_p99_s is not None and float(np.percentile(sent.lag_s, rank)) >= LAG_LIMIT_S
    is_busy = cpu_max is not None and cpu_max >= CPU_LIMIT_RATIO
    good_rps = _good_rps(sent) if lag_p99_s is not None else None
    sentence = _sentence(lag_p99_s, cpu_max, is_late, is_busy, good_rps)
    return GeneratorLimits(lag_p99_s, cpu_max, is_late or is_busy, good_rps, sentence)


def _good_rps(sent: Columns) -> float | None:
    place = np.floor(sent.at_s / _RATE_OVER_S).astype(np.int64)
    order = np.argsort(place, kind="stable")
    parts = np.split(sent.lag_s[order], np.flatnonzero(np.diff(place[order])) + 1)
    rates = [len(part) / _RATE_OVER_S for part in parts if np.percentile(part, 99) < LAG_LIMIT_S]
    return max(rates, default=None)


def _sentence(
    lag_p99_s: float | None, cpu_max: float | None, is_late: bool, is_busy: bool, good_rps: float | None
) -> str:
    late = [] if lag_p99_s is None else [f"1 in 100 requests left {lag_p99_s * 1000:.3g} ms or more after it was due"]
    busy = [] if cpu_max is None else [f"its busiest process used {100 * cpu_max:.0f} % of a core"]
    if not is_late and not is_busy:
        seen = [*late, *busy]
        return f"The generator kept up: {' and '.join(seen)}." if seen else ""
    why = " and ".join([*(late if is_late else []), *(busy if is_busy else [])])
    beyond = "" if good_rps is None else f" beyond {good_rps:.3g} requests/s, the most that it sent on time"
    return (
        f"The generator is the limit: {why}. These figures say nothing about the server{beyond}. "
        "Use more processes, more machines, or less load."
    )
