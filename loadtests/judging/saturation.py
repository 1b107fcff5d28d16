"""Whether the queue only grows: told early, from one tick a second, and without false alarms.

A queue that grows is not enough: it also grows while the first answers are still under way, along a ramp, and for a
while by chance. So four things must hold over the same last seconds, or there is no alarm:

- answers are flowing, and fewer come than requests are due: at least 5 in 100 are left behind;
- that is not chance: the growth is 4.5 times its own noise, estimated from these seconds and from those before;
- it goes on: the second half grew as much as the first, and answers do not come faster than in the first half. Right
  after the beginning or a step of the load, answers catch up: there the growth gets smaller by itself;
- those seconds are long enough for the growth to be no matter of a few slow answers: as long as it takes until the
  backlog is worth 4 seconds of requests, and longer than the answers that now come have waited (Little's law).

GuideLLM's detector also looks for a rise of the requests in flight and of TTFT that passes its own margin of error
(docs of GuideLLM, "Over-Saturation Stopping"); it waits for at least 30 s. docs/load-figures.md has what this one was
measured to miss and to mistake.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from loadtests.records.tick import Tick

_LOOKED_BACK_S: Final = 600
_WINDOWS_S: Final = (10, 12, 15, 20, 25, 30, 40, 50, 60, 80, 100, 120, 160, 200, 240, 300, 400, 500, 600)
# Below this a run of ten minutes ends with 30 s of requests waiting: too near to call from outside.
_LEAST_SHORTFALL: Final = 0.05
_LEAST_BEHIND_S: Final = 4.0
# It is asked every second with many windows, so 2 standard errors would be passed by chance all the time.
_LEAST_Z: Final = 4.5
_WAITS: Final = 1.5
# Of a growth that goes on, half is the second half's.
_LEAST_LATER_RATIO: Final = 0.42
_MOST_SPEEDING_UP: Final = 1.15
# While a run is younger than so many times what its answers wait, they may still be catching up, and that dies away as
# slowly as the longest answers take: it must go on beyond its own noise then.
_SETTLED_WAITS: Final = 4.0
_LEAST_LATER_YOUNG_RATIO: Final = 0.4
_MOST_SPEEDING_UP_YOUNG: Final = 1.5
# A median of absolute deviations to a standard deviation, of a normal distribution.
_BY_MEDIAN: Final = 1.4826

Counts = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Saturation:
    """The queue only grows."""

    at_s: float
    """When that was clear, since the run began."""
    since_s: float
    """The begin of the seconds that showed it."""
    due_rps: float
    """In those seconds."""
    done_rps: float
    growth: int
    """How many more requests wait at their end than at their begin."""
    sentence: str


def saturation(ticks: Sequence[Tick]) -> Saturation | None:
    """Whether the queue only grows now, at the last tick. Cheap: to be called every second.

    The ticks are of open-loop stages, one a second: in a closed loop people wait, and the queue is as long as there
    are people."""
    recent = ticks[-_LOOKED_BACK_S:]
    flowing = next((index for index, tick in enumerate(recent) if tick.done > tick.errors), None)
    if flowing is None:
        return None
    recent = recent[flowing:]
    due = np.array([tick.due for tick in recent], dtype=np.float64)
    # What the generator held back, because too much was in flight or it was late, waits as well.
    backlog = np.array([tick.in_flight for tick in recent], dtype=np.float64)
    backlog += np.cumsum([tick.due - tick.sent for tick in recent])
    growth = np.diff(backlog)
    done = due[1:] - growth
    due = due[1:]
    windows_s = [window_s for window_s in _WINDOWS_S if window_s < len(due)]
    if len(due) >= _WINDOWS_S[0]:
        windows_s.append(len(due))
    for window_s in windows_s:
        if _only_grows(due, done, window_s, _waited_s(due, float(backlog[-1]))):
            return _found(recent, due[-window_s:], done[-window_s:])
    return None


def _only_grows(due: Counts, done: Counts, window_s: int, waited_s: float) -> bool:
    known_s, growth = len(due), due - done
    due, done, before, growth = due[-window_s:], done[-window_s:], growth[:-window_s], growth[-window_s:]
    grown, requests = float(growth.sum()), float(due.sum())
    if grown <= max(_LEAST_SHORTFALL, _LEAST_BEHIND_S / window_s) * requests:
        return False
    z = grown / math.sqrt(_noise(due, done, before))
    is_young = known_s < _SETTLED_WAITS * waited_s
    # Far above what the server can take, answers wait for nearly as long as the run has lasted: then all of it counts.
    is_long_enough = window_s >= _WAITS * waited_s or (is_young and window_s == known_s)
    return z >= _LEAST_Z and is_long_enough and _goes_on(done, growth, z, is_young=is_young)


def _goes_on(done: Counts, growth: Counts, z: float, *, is_young: bool) -> bool:
    half = len(done) // 2
    early, late = float(done[:half].sum()), float(done[-half:].sum())
    later_ratio = float(growth[-half:].sum()) / float(growth.sum()) * len(growth) / (2 * half)
    if not is_young:
        return late <= _MOST_SPEEDING_UP * early and later_ratio >= _LEAST_LATER_RATIO
    # Two standard errors of the counts, and one and a half of the ratio, whose own is half of 1 / z.
    is_flat = late + 2 * math.sqrt(late + early) <= _MOST_SPEEDING_UP_YOUNG * early
    return is_flat and later_ratio >= _LEAST_LATER_YOUNG_RATIO + 0.75 / z


def _noise(due: Counts, done: Counts, before: Counts) -> float:
    """The variance of the growth over the whole window, as it would be without a trend: the largest of what its seconds
    show, its fifths, and spans as long as it before it; at least a quarter of what independent arrivals and answers
    have (even ones have less)."""
    growth, seconds = due - done, len(due)
    by_second = seconds * float(growth.var(ddof=1))
    fifths = np.array([part.sum() - part.size * growth.mean() for part in np.array_split(growth, 5)])
    by_fifth = 5 * float(fifths.var(ddof=1))
    by_past = 0.0
    if len(before) >= 2 * seconds:
        total = np.concatenate(([0.0], np.cumsum(before)))
        past = total[seconds:] - total[:-seconds]
        by_past = (_BY_MEDIAN * float(np.median(np.abs(past - np.median(past))))) ** 2
    return max(by_second, by_fifth, by_past, float(due.sum() + done.sum()) / 4, 1.0)


def _waited_s(due: Counts, backlog: float) -> float:
    """How long ago the requests were due whose answers come now: so many seconds of requests are in flight."""
    behind = np.cumsum(due[::-1])
    return float(np.searchsorted(behind, backlog)) + 1.0


def _found(recent: Sequence[Tick], due: Counts, done: Counts) -> Saturation:
    seconds, last = len(due), recent[-1]
    due_rps, done_rps, growth = float(due.mean()), float(done.mean()), int((due - done).sum())
    return Saturation(
        at_s=float(last.at_s + 1),
        since_s=float(last.at_s + 1 - seconds),
        due_rps=due_rps,
        done_rps=done_rps,
        growth=growth,
        sentence=(
            f"The queue only grows: in the last {seconds} s {due_rps:.3g} requests a second were due and "
            f"{done_rps:.3g} a second came back; {growth:,} more wait than before, {last.in_flight:,} in all."
        ),
    )
