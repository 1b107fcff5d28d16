"""Which rate to try next: the way to the highest rate at which the promise holds, as a function of what was seen.

Up by doubling until the promise breaks, then between the last rate that held and the first that did not, halving their
ratio, until they lie as near as asked; then the rate that held is tried once more, and if it breaks, the search goes on
below it. What is too little to tell is tried again for longer. Nothing here waits, measures or knows a server.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

Why = Literal["start", "up", "down", "between", "again", "confirm"]
Reason = Literal["found", "nothing_holds", "generator", "top", "probes", "time"]
_Standing = Literal["holds", "leans", "doubtful", "fails", "generator"]

# What three probes, each twice as long as the one before, could not tell lies so near the border that more would not.
_MOST_TRIES: Final = 3
_STEP: Final = 2.0
# Of fewer requests not even a guess is worth anything: at low rates probes are longer from the beginning.
_LEAST_REQUESTS: Final = 100


@dataclass(frozen=True, slots=True)
class Aim:
    """What is looked for, and what it may cost."""

    start_per_s: float
    precision_ratio: float = 0.1
    """The answer is at most this much below the first rate that failed."""
    probe_s: float = 60.0
    """The measured part of a probe."""
    longest_s: float = 300.0
    """Of one that needs longer because too little is seen."""
    least_per_s: float = 0.05
    """Below it nothing is looked for."""
    most_per_s: float = 10_000.0
    most_probes: int = 24
    most_s: float = 3600.0
    """Of all probes, warm-ups and drains included."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What one probe has shown."""

    rate_per_s: float
    seconds: float
    """What it took, warm-up and drain included."""
    was_met: bool | None
    """The promise, by this probe alone; None: too little to tell."""
    is_met: bool | None
    """By all probes of this rate so far together."""
    leans_to_met: bool
    """Whether the share that met it, of all together, was as large as promised: a guess where `is_met` is None."""
    is_saturated: bool = False
    """The queue only grew."""
    is_generator: bool = False
    """The generator, and not the server, was too slow."""


class Probe(NamedTuple):
    """What to try next."""

    rate_per_s: float
    seconds: float
    """Measured, after the warm-up."""
    why: Why


@dataclass(frozen=True, slots=True)
class Done:
    """There is nothing more to try."""

    reason: Reason
    safe_per_s: float | None
    """The highest rate that held; None if none did."""
    failed_per_s: float | None
    """The lowest rate above it that did not; None if there was none, or the generator was the limit there."""
    is_confirmed: bool
    """It held in two probes or more."""
    is_sure: bool
    """Enough was seen to say that it held; otherwise it only looked so."""


def next_step(aim: Aim, seen: Sequence[Seen]) -> Probe | Done:
    """What to do after what was seen, in the order in which it was seen."""
    step = _wanted(aim, seen)
    if isinstance(step, Done):
        return step
    if len(seen) >= aim.most_probes:
        return _done("probes", seen)
    if seen and sum(one.seconds for one in seen) + step.seconds > aim.most_s:
        return _done("time", seen)
    return step


def probe_s_at(aim: Aim, rate_per_s: float, tries: int = 0) -> float:
    """How long to measure at a rate that was tried so often before, seconds."""
    seconds = max(aim.probe_s, float(math.ceil(_LEAST_REQUESTS / rate_per_s))) * 2.0**tries
    return max(min(seconds, aim.longest_s), aim.probe_s)


def rounded(rate_per_s: float) -> float:
    """As people write it: three digits."""
    return float(f"{rate_per_s:.3g}")


def _wanted(aim: Aim, seen: Sequence[Seen]) -> Probe | Done:
    if not seen:
        return _probe(aim, aim.start_per_s, "start")
    failed, best = _border(seen)
    if best is None:
        # The lowest rate that was tried is too high.
        lower = min(one.rate_per_s for one in seen) / _STEP
        return _probe(aim, lower, "down") if lower >= aim.least_per_s else _done("nothing_holds", seen)
    group = [one for one in seen if one.rate_per_s == best]
    standing = _standing(group)
    if standing == "doubtful":
        return _probe(aim, best, "again", len(group))
    if failed is None and best * _STEP <= aim.most_per_s:
        return _probe(aim, best * _STEP, "up")
    limited = failed is None or _standing([one for one in seen if one.rate_per_s == failed]) == "generator"
    if failed is not None and not limited and failed / best > 1 + aim.precision_ratio:
        return _probe(aim, math.sqrt(best * failed), "between")
    if standing == "leans":
        return _probe(aim, best, "again", len(group))
    if len(group) == 1:
        return _probe(aim, best, "confirm")
    return _done("found" if not limited else "top" if failed is None else "generator", seen)


def _probe(aim: Aim, rate_per_s: float, why: Why, tries: int = 0) -> Probe:
    """A probe, each try twice as long as the one before."""
    rate_per_s = rounded(rate_per_s)
    return Probe(rate_per_s, probe_s_at(aim, rate_per_s, tries), why)


def _border(seen: Sequence[Seen]) -> tuple[float | None, float | None]:
    """The lowest rate that does not hold, and the highest below it."""
    by_rate: dict[float, list[Seen]] = {}
    for one in seen:
        by_rate.setdefault(one.rate_per_s, []).append(one)
    # One that held above one that failed was luck: the lower one counts.
    failed = min((rate for rate, group in by_rate.items() if _standing(group) in ("fails", "generator")), default=None)
    return failed, max((rate for rate in by_rate if failed is None or rate < failed), default=None)


def _standing(group: Sequence[Seen]) -> _Standing:
    """How a rate does by all its probes."""
    last = group[-1]
    if last.is_generator:
        return "generator"
    if last.is_saturated or last.was_met is False or last.is_met is False:
        return "fails"
    if last.is_met:
        return "holds"
    if len(group) >= _MOST_TRIES:
        return "holds" if last.leans_to_met else "fails"
    return "leans" if last.leans_to_met else "doubtful"


def _done(reason: Reason, seen: Sequence[Seen]) -> Done:
    failed, best = _border(seen)
    if any(one.is_generator for one in seen if one.rate_per_s == failed):
        failed = None
    group = [one for one in seen if one.rate_per_s == best]
    if best is None or _standing(group) == "doubtful":
        return Done(reason, None, failed, is_confirmed=False, is_sure=False)
    return Done(reason, best, failed, is_confirmed=len(group) > 1, is_sure=group[-1].is_met is True)
