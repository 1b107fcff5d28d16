"""Recorded requests replayed: slower or faster, fewer or more, and cut to what a model can take."""

import heapq
import math
from collections.abc import Iterator
from typing import Final

import numpy as np

from cluster.errors import UserError
from loadtests.arrivals.arrival import Arrival
from loadtests.arrivals.trace_file import BLOCK_TOKENS, Row, read_rows
from loadtests.plan import Trace

# Of the trace's time. Copies come a little later than what they copy, by up to this, so that twice the load is not
# every moment's load in pairs.
_JITTER_S: Final = 1.0


def arrivals(trace: Trace, seconds: float, stage: int, begin_s: float, draw: np.random.Generator) -> Iterator[Arrival]:
    """The trace's requests from `trace.start_s` on, within `seconds` after `begin_s`; the first of them at once.

    A trace that ends earlier leaves the rest of the time empty. Raises UserError for one that cannot be read, or of
    which nothing is left.
    """
    waiting: list[tuple[float, int, Row]] = []
    first_s: float | None = None
    last_s, number, given = 0.0, 0, 0

    def due(until_s: float) -> Iterator[Arrival]:
        while waiting and waiting[0][0] < until_s:
            at_s, _, row = heapq.heappop(waiting)
            yield _arrival(trace, row, begin_s + at_s, stage)

    zero_s: float | None = None
    for row in read_rows(trace.path.expanduser()):
        zero_s = row.time_s if zero_s is None else zero_s
        last_s = row.time_s - zero_s
        if last_s < trace.start_s:
            continue
        first_s = last_s if first_s is None else first_s
        at_s = (last_s - first_s) * trace.time_scale
        if at_s >= seconds:
            break
        for copy in range(_copies(trace.load_scale, draw)):
            later_s = draw.random() * _JITTER_S * trace.time_scale if copy else 0.0
            # The number keeps rows of one moment in their order.
            heapq.heappush(waiting, (at_s + later_s, number, row))
            number += 1
        # What comes later is not due before this row.
        for arrival in due(at_s):
            given += 1
            yield arrival
    for arrival in due(seconds):
        given += 1
        yield arrival
    if not given:
        raise UserError(_why_nothing(trace, first_s, last_s))


def _copies(load_scale: float, draw: np.random.Generator) -> int:
    """How often one row is sent: the whole part, and once more with the probability of the fraction."""
    whole = math.floor(load_scale)
    fraction = load_scale - whole
    return whole + (fraction > 0 and draw.random() < fraction)


def _arrival(trace: Trace, row: Row, at_s: float, stage: int) -> Arrival:
    prompt = min(row.prompt_tokens, trace.max_prompt_tokens or row.prompt_tokens)
    return Arrival(
        at_s,
        stage,
        prompt,
        min(row.answer_tokens, trace.max_answer_tokens or row.answer_tokens),
        # The last block of a prompt is a part of one, as it is in the trace.
        row.prefix_blocks[: -(-prompt // BLOCK_TOKENS)],
        BLOCK_TOKENS,
    )


def _why_nothing(trace: Trace, first_s: float | None, last_s: float) -> str:
    if first_s is None and trace.start_s > 0:
        return f"the trace {trace.path} is {last_s:.0f} s long: start_s {trace.start_s:g} lies behind its end"
    if first_s is None:
        return f"the trace {trace.path} has no rows"
    return (
        f"load_scale {trace.load_scale:g} leaves nothing of the trace {trace.path} in this stage; raise it, or the "
        "stage's seconds"
    )
