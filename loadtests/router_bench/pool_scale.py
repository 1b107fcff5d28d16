"""How a request's cost grows with the number of models, of endpoints in one pool, and of replicas."""

import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict

from loadtests.router_bench.costs import Cost, Costs
from loadtests.router_bench.gauges import idle_ratio, steady_footprint
from loadtests.router_bench.made_up import conversations
from loadtests.router_bench.stack import Stack, spread_over, started
from loadtests.router_bench.stream_scale import counts_of

MODELS: Final = (1, 2, 10, 100)
ENDPOINTS: Final = (1, 10, 100, 1_000)
# Several for each of a thousand endpoints.
_CONVERSATIONS: Final = 5_000
_WARM_UP: Final = 3_000
_IDLE_S: Final = 1.5


class Size(BaseModel):
    """A stack of one size."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    models: int
    endpoints: int
    """Of each model."""
    named: Cost
    auto: Cost
    endpoints_used: int
    """By the requests of both kinds."""
    busiest_to_mean: float
    """The busiest endpoint's requests over the mean of all; models get different shares from `auto`."""
    memory_mb: float
    """USS of the replica, 10^6 bytes."""
    idle_cpu_ratio: float
    """Of the replica, of one core."""
    beside_idle_cpu_ratio: float
    """Of everything else in the stack, the watch over the endpoints included."""
    ready_s: float
    """`fenzhen up`, from its call to its end."""


class Replicas(BaseModel):
    """A stack whose replicas share all cores with the clients and engines."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    replicas: int
    named: Cost
    auto: Cost
    memory_mb: float
    """USS of all replicas, 10^6 bytes."""
    idle_cpu_ratio: float
    """Of all replicas together, of one core."""


def stack_sizes(
    ports: Sequence[int], cores: tuple[int, int], folder: Path, seconds: float, say: Callable[[str], None],
    models: Sequence[int] = MODELS, endpoints: Sequence[int] = ENDPOINTS,
) -> list[Size]:  # fmt: skip
    """Start a stack of each size and measure it. `ports`: of engines, at least as many as the largest needs."""
    sizes = dict.fromkeys([*((count, 1) for count in models), *((1, count) for count in endpoints)])
    rows = []
    for model_count, endpoint_count in sizes:
        pools = pools_of(ports, model_count, endpoint_count)
        begin_s = time.monotonic()
        with started(pools, cores[0], folder / f"{model_count}x{endpoint_count}") as stack:
            row = _size(stack, pools, cores[1], ports[0], seconds, time.monotonic() - begin_s)
        rows.append(row)
        say(
            f"models: {model_count}, endpoints of each: {endpoint_count}: {row.named.cpu_us:,.0f} µs named, "
            f"{row.auto.cpu_us:,.0f} µs auto, {row.endpoints_used} endpoints used"
        )
    return rows


def replicas_of(stack: Stack, models: Sequence[str], cores: tuple[int, int], seconds: float) -> Replicas:
    """Let the replicas use all cores, which a machine with two has to share, and measure."""
    before = {pid: os.sched_getaffinity(pid) for pid in stack.replicas}
    spread_over(stack.replicas, cores)
    costs = Costs(stack, cores[1], idle_ratio(stack.replicas, cores[1], _IDLE_S))
    named, auto = _both(costs, models, seconds)
    for pid, own in before.items():
        spread_over((pid,), own)
    return Replicas(
        replicas=len(stack.replicas),
        named=named,
        auto=auto,
        memory_mb=round(steady_footprint(stack.replicas).uss_bytes / 1e6, 1),
        idle_cpu_ratio=round(costs.idle_cpu_ratio, 4),
    )


def _size(
    stack: Stack, pools: Mapping[str, Sequence[int]], core: int, engine: int, seconds: float, ready_s: float
) -> Size:
    costs = Costs(stack, core, idle_ratio(stack.replicas, core, _IDLE_S))
    beside = idle_ratio(stack.beside, core, _IDLE_S)
    seen_before = counts_of(engine)["by_port"]
    named, auto = _both(costs, list(pools), seconds)
    asked = by_port(seen_before, counts_of(engine)["by_port"])
    total = sum(len(ports) for ports in pools.values())
    return Size(
        models=len(pools),
        endpoints=max(len(ports) for ports in pools.values()),
        named=named,
        auto=auto,
        endpoints_used=len(asked),
        busiest_to_mean=round(max(asked.values(), default=0) * total / max(sum(asked.values()), 1), 2),
        memory_mb=round(steady_footprint(stack.replicas).uss_bytes / 1e6, 1),
        idle_cpu_ratio=round(costs.idle_cpu_ratio, 4),
        beside_idle_cpu_ratio=round(beside, 4),
        ready_s=round(ready_s, 1),
    )


def _both(costs: Costs, models: Sequence[str], seconds: float) -> tuple[Cost, Cost]:
    """Named models in turn, then `auto`; different conversations, so that affinity spreads them."""
    named = conversations("named", costs.stack.port, models, _CONVERSATIONS)
    auto = conversations("auto", costs.stack.port, ["auto"], _CONVERSATIONS)
    costs.warm_up(auto, _WARM_UP)
    return costs.saturate(named, seconds), costs.saturate(auto, seconds)


def pools_of(ports: Sequence[int], models: int, endpoints: int) -> dict[str, Sequence[int]]:
    """The first ports, dealt out. Raises ValueError if there are too few."""
    if len(ports) < models * endpoints:
        raise ValueError(f"{models * endpoints} ports are needed, got {len(ports)}")
    return {f"model-{n}": ports[n * endpoints : (n + 1) * endpoints] for n in range(models)}


def by_port(before: Mapping[str, int], after: Mapping[str, int]) -> dict[str, int]:
    """How many requests each port got in between; those without any are left out."""
    grown = {port: count - before.get(port, 0) for port, count in after.items()}
    return {port: count for port, count in grown.items() if count > 0}
