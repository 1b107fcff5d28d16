"""How many replicas the load needs, from what they say of themselves. Grows as far as needed, shrinks with care.

A replica serves on one event loop, so it saturates when that loop's thread uses a whole core, whatever it does for it;
requests in flight cost memory even where they cost no time.
"""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

IN_FLIGHT: Final = "in_flight"
BUSY_RATIO: Final = "busy_ratio"
# A replica is given up only if those that remain stay below this share of their target: otherwise the load that let
# one go would soon ask for it back.
_SHRINK_BELOW_RATIO: Final = 0.7


@dataclass(frozen=True, slots=True)
class Load:
    """What one replica carries."""

    in_flight: float
    busy_ratio: float
    """Share of a core that its loop's thread uses, 0 to 1."""


def replicas_wanted(loads: Sequence[Load], target: Load, now: int) -> int:
    """How many replicas should run where `now` do. Nothing known of the load: as many as now."""
    if not loads:
        return now
    needed = max(
        sum(load.in_flight for load in loads) / target.in_flight,
        sum(load.busy_ratio for load in loads) / target.busy_ratio,
    )
    if needed > now:
        return math.ceil(needed)
    return min(now, max(1, math.ceil(needed / _SHRINK_BELOW_RATIO)))


class LoadPolicy:
    """`replicas_wanted`, as Ray Serve's controller calls it."""

    def __init__(self, target_in_flight: float, target_busy_ratio: float) -> None:
        self._target = Load(target_in_flight, target_busy_ratio)

    def __call__(self, context: Any) -> tuple[int, dict[str, Any]]:
        """The replicas wanted, and no state. `context`: Serve's AutoscalingContext."""
        loads = loads_of(context.aggregated_metrics or {})
        return replicas_wanted(loads, self._target, context.target_num_replicas), {}


def loads_of(metrics: Mapping[str, Mapping[Any, float]]) -> list[Load]:
    """The loads out of Serve's metrics, which are by name and then by replica."""
    in_flight, busy_ratio = metrics.get(IN_FLIGHT, {}), metrics.get(BUSY_RATIO, {})
    return [Load(in_flight[replica], busy_ratio[replica]) for replica in in_flight if replica in busy_ratio]


class ThreadMeter:
    """How busy a thread was since the last look."""

    def __init__(self, thread_id: int) -> None:
        self._clock = time.pthread_getcpuclockid(thread_id)
        self._read_s = (time.monotonic(), time.clock_gettime(self._clock))

    def busy_ratio(self) -> float:
        """Share of a core that it used since the last call, 0 to 1."""
        before, self._read_s = self._read_s, (time.monotonic(), time.clock_gettime(self._clock))
        passed_s = self._read_s[0] - before[0]
        return min(1.0, (self._read_s[1] - before[1]) / passed_s) if passed_s > 0 else 0.0
