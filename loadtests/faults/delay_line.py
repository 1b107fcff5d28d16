"""Bytes on their way in one direction, each piece held back for a while, in order and bounded."""

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable
from typing import Final

# A prompt of 100,000 characters fits; a thousand slow connections hold no more than a gigabyte.
MOST_BYTES: Final = 1 << 20


class DelayLine:
    """One direction of one connection. At no delay a piece is passed on within the call that brings it."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        delay_s: Callable[[], float],
        deliver: Callable[[bytes | None], None],
        on_full: Callable[[bool], None],
    ) -> None:
        """`deliver` takes each piece and then None for the end; `on_full` is told True at `MOST_BYTES` held, and False
        at half of that."""
        self._loop = loop
        self._delay_s = delay_s
        self._deliver = deliver
        self._on_full = on_full
        self._held: deque[tuple[float, bytes | None]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._last_due_s = 0.0
        self._is_full = False
        self.held_bytes = 0

    def put(self, piece: bytes | None) -> None:
        """Take the next piece; None: the end."""
        delay_s = self._delay_s()
        if delay_s <= 0 and not self._held:
            self._deliver(piece)
            return
        # Once the delay is taken back, later pieces must still not overtake earlier ones.
        self._last_due_s = max(time.monotonic() + delay_s, self._last_due_s)
        self._held.append((self._last_due_s, piece))
        self.held_bytes += len(piece or b"")
        if self._timer is None:
            self._look_again(delay_s)
        if not self._is_full and self.held_bytes >= MOST_BYTES:
            self._is_full = True
            self._on_full(True)

    def drop(self) -> None:
        """Forget what is held: the connection is gone."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._held.clear()
        self.held_bytes = 0

    def _pass_on(self) -> None:
        self._timer = None
        now_s = time.monotonic()
        while self._held and self._held[0][0] <= now_s:
            _, piece = self._held.popleft()
            self.held_bytes -= len(piece or b"")
            self._deliver(piece)
        if self._held:
            self._look_again(self._held[0][0] - now_s)
        if self._is_full and self.held_bytes <= MOST_BYTES // 2:
            self._is_full = False
            self._on_full(False)

    def _look_again(self, in_s: float) -> None:
        # uvloop's clock ticks in milliseconds and may be one behind: nothing is passed on too early, and nobody looks
        # twice within one tick.
        self._timer = self._loop.call_later(math.ceil(in_s * 1000) / 1000, self._pass_on)
