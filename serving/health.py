"""Is the engine well? Judged from what was seen of it, without I/O."""

import signal
from dataclasses import dataclass
from enum import Enum

# A 0.5B model on two cores took 18 to 28 s, one of 1.5B 37 s; a first estimate before there is an own measurement.
USUAL_START_S = 60.0


class Answer(Enum):
    """What /health said when asked."""

    WELL = "200"
    SICK = "another status: vLLM says 503 once its core is dead"
    SILENT = "no answer in time"


@dataclass(frozen=True, slots=True)
class Sighting:
    """What is known of one life of an engine, seconds on one monotonic clock."""

    started_s: float
    ready_s: float | None = None
    """When it first answered."""
    answered_s: float | None = None
    """When it last answered."""
    sick: bool = False
    """It was ready once and now says itself that it is not."""

    def after(self, answer: Answer, now_s: float) -> "Sighting":
        """What is known after one more look."""
        match answer:
            case Answer.WELL:
                return Sighting(self.started_s, now_s if self.ready_s is None else self.ready_s, now_s)
            case Answer.SICK if self.ready_s is not None:
                return Sighting(self.started_s, self.ready_s, now_s, sick=True)
            case _:
                return self

    def held_ready_s(self, now_s: float) -> float:
        """How long it has been ready."""
        return 0.0 if self.ready_s is None else now_s - self.ready_s


@dataclass(frozen=True, slots=True)
class Limits:
    """What is no longer accepted of an engine."""

    ready_timeout_s: float
    unresponsive_s: float


def complaint(seen: Sighting, limits: Limits, now_s: float) -> str | None:
    """Say why the engine must be killed and started again; None if it need not be."""
    if seen.sick:
        return "reports on /health that it is broken"
    if seen.ready_s is None or seen.answered_s is None:
        if now_s - seen.started_s > limits.ready_timeout_s:
            return f"was not ready after {limits.ready_timeout_s:.0f} s"
        return None
    if now_s - seen.answered_s > limits.unresponsive_s:
        return f"has not answered on /health for {limits.unresponsive_s:.0f} s"
    return None


def ending(status: int, last_words: str) -> str:
    """Say how an engine ended. `status` is its guard's: 128 + n where signal n ended the engine, -n the guard."""
    number = -status if status < 0 else status - 128
    if number not in {known.value for known in signal.Signals}:
        return f"ended with status {status}: {last_words}"
    who = "its guard was" if status < 0 else "was"
    why = " (by hand, or by the kernel for want of memory)" if number == signal.SIGKILL else f": {last_words}"
    return f"{who} killed by {signal.Signals(number).name}{why}"


def retry_after_s(last_start_s: float | None, running_for_s: float, wait_s: float = 0.0) -> int:
    """When asking again is sensible: what a start took last time, less what has passed, plus the wait before it."""
    expected_s = USUAL_START_S if last_start_s is None else last_start_s
    return max(1, round(wait_s + expected_s - running_for_s))
