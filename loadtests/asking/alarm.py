"""Waking up at a moment, to a tenth of a millisecond: gevent's own timers are rounded up to whole milliseconds."""

import ctypes
import os
import time
from contextlib import suppress
from typing import Any, Final

import gevent

# From Linux's time.h, fcntl.h and timerfd.h.
_CLOCK_MONOTONIC: Final = 1
_TFD_TIMER_ABSTIME: Final = 1
_TFD_FLAGS: Final = os.O_NONBLOCK | os.O_CLOEXEC
_NS: Final = 1_000_000_000
_READABLE: Final = 1
_FIRST: Final = 2


class Alarm:
    """For one greenlet. Where there is no timerfd (not Linux), it is gevent's timer."""

    def __init__(self) -> None:
        self._libc: Any = ctypes.CDLL(None, use_errno=True)
        self._timer = -1
        with suppress(AttributeError):
            self._timer = self._libc.timerfd_create(_CLOCK_MONOTONIC, _TFD_FLAGS)
        # struct itimerspec: interval (none) and moment, seconds and nanoseconds each.
        self._moment = (ctypes.c_int64 * 4)()
        if self._timer >= 0:
            self._rings = gevent.get_hub().loop.io(self._timer, _READABLE)
            # Before all the answers that have come at the same time. (Only libev knows priorities.)
            with suppress(AttributeError):
                self._rings.priority = _FIRST

    def sleep_until(self, at_s: float) -> None:
        """Wait until time.perf_counter() is `at_s`; others run at least once, also if that is in the past."""
        now_s = time.perf_counter()
        if at_s <= now_s or self._timer < 0:
            gevent.sleep(max(at_s - now_s, 0))
            return
        self._moment[2], self._moment[3] = divmod(int(at_s * _NS), _NS)
        if self._libc.timerfd_settime(self._timer, _TFD_TIMER_ABSTIME, self._moment, None) != 0:
            gevent.sleep(at_s - now_s)
            return
        gevent.get_hub().wait(self._rings)
        with suppress(BlockingIOError):
            os.read(self._timer, 8)

    def close(self) -> None:
        """Give the timer back."""
        if self._timer >= 0:
            self._rings.close()
            os.close(self._timer)
            self._timer = -1
