"""When the requests of a plan are due: each stage's family of arrivals, one stage after the other."""

import itertools
from collections.abc import Iterator
from typing import assert_never

import numpy as np

from loadtests.arrivals import changing, even, independent, traces
from loadtests.arrivals.arrival import Arrival
from loadtests.arrivals.day import day
from loadtests.plan import Constant, Day, Gamma, Plan, Poisson, Ramp, Spike, Stage, Trace


def arrivals_of(plan: Plan, worker: int = 0, workers: int = 1) -> Iterator[Arrival]:
    """This worker's share of all arrivals, every `workers`-th, in order and made when asked for.

    All workers draw the same schedule: it depends on the plan only. Stages of people (closed loop) have no arrivals.
    Raises UserError for a trace that cannot be read or that yields nothing.
    """
    return itertools.islice(_schedule(plan), worker, None, workers)


def check_arrivals(plan: Plan) -> None:
    """Read the traces that a plan needs, as far as it needs them: a broken line must not end a test in its middle.

    Takes some microseconds a row. Raises UserError.
    """
    for index, stage in enumerate(plan.stages):
        if isinstance(stage.arrivals, Trace):
            for _ in _of_stage(plan.seed, index, stage, 0.0):
                pass


def _schedule(plan: Plan) -> Iterator[Arrival]:
    begin_s = 0.0
    for index, stage in enumerate(plan.stages):
        end_s = begin_s + stage.seconds
        # A sum may be rounded up to the next stage's begin.
        yield from itertools.takewhile(
            lambda arrival, end_s=end_s: arrival.at_s < end_s,  # type: ignore[misc]
            _of_stage(plan.seed, index, stage, begin_s),
        )
        begin_s = end_s


def _of_stage(seed: int, index: int, stage: Stage, begin_s: float) -> Iterator[Arrival]:
    if stage.arrivals is None:
        return iter(())
    draw = np.random.default_rng((seed, index))
    if isinstance(stage.arrivals, Trace):
        return traces.arrivals(stage.arrivals, stage.seconds, index, begin_s, draw)
    return (Arrival(begin_s + at_s, index) for at_s in _moments(stage.arrivals, stage.seconds, draw))


def _moments(
    family: Constant | Poisson | Gamma | Ramp | Spike | Day, seconds: float, draw: np.random.Generator
) -> Iterator[float]:
    match family:
        case Constant(rate_per_s=rate):
            return even.moments(rate, seconds)
        case Poisson(rate_per_s=rate):
            return independent.moments(rate, 1.0, seconds, draw)
        case Gamma(rate_per_s=rate, burstiness=burstiness):
            return independent.moments(rate, burstiness, seconds, draw)
        case Ramp(from_per_s=first, to_per_s=last):
            return changing.moments(changing.ramp(first, last, seconds), max(first, last), seconds, draw)
        case Spike(rate_per_s=rate, peak_per_s=peak, peak_ratio=ratio):
            return changing.moments(changing.spike(rate, peak, ratio, seconds), max(rate, peak), seconds, draw)
        case Day(peak_per_s=peak):
            return changing.moments(day(peak, seconds), peak, seconds, draw)
        case _:
            assert_never(family)
