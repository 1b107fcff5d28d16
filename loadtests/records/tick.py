"""What a run looked like in one second: for progress, for plots over time, and to see a queue grow."""

from typing import NamedTuple


class Tick(NamedTuple):
    """One second of one generator, or of all together. Counts are of this second, except `in_flight`."""

    at_s: int
    """Since the run began."""
    due: int
    """Requests that should have been sent."""
    sent: int
    done: int
    """Answered or failed."""
    errors: int
    in_flight: int
    """At the end of the second."""
    lag_max_s: float
    cpu_ratio: float
    """Of one core, the busiest generator process."""
    tokens: int
    """Pieces of streams that arrived."""


def merged(ticks: "list[Tick]") -> "list[Tick]":
    """One tick a second out of those of several workers, in order: counts added, the worst lag and processor."""
    by_second: dict[int, list[Tick]] = {}
    for tick in ticks:
        by_second.setdefault(tick.at_s, []).append(tick)
    return [
        Tick(
            at_s,
            sum(one.due for one in group), sum(one.sent for one in group), sum(one.done for one in group),
            sum(one.errors for one in group), sum(one.in_flight for one in group),
            max(one.lag_max_s for one in group), max(one.cpu_ratio for one in group), sum(one.tokens for one in group),
        )
        for at_s, group in sorted(by_second.items())
    ]  # fmt: skip
