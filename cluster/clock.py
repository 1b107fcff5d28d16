"""Time as an argument, so that tests need not wait."""

import time
from typing import Protocol


class Clock(Protocol):
    """Seconds that only grow."""

    def now_s(self) -> float:
        """Seconds since an arbitrary start."""


class MonotonicClock:
    """The machine's own."""

    def now_s(self) -> float:
        """Seconds since an arbitrary start; not affected by the clock being set."""
        return time.monotonic()
