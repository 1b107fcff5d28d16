"""How long a greenlet waits until it is told that nothing comes."""

import time
from types import TracebackType

import gevent


class NothingCame(Exception):
    """For as long as was agreed."""


class Patience:
    """While it is open, the greenlet that opened it is interrupted with NothingCame where it waits, once nothing has
    been heard for `timeout_s`. Set `heard_s` whenever something is.

    A time-out of the socket's own would start a timer for every read, which costs as much as the read: here one timer
    runs for the whole exchange, and looks only when it fires how long ago something came.
    """

    __slots__ = ("_greenlet", "_timeout_s", "_timer", "heard_s")

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self.heard_s = 0.0

    def __enter__(self) -> "Patience":
        self.heard_s = time.perf_counter()
        self._greenlet = gevent.getcurrent()
        self._start(self._timeout_s)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._timer.close()

    def _start(self, seconds: float) -> None:
        self._timer = gevent.get_hub().loop.timer(seconds)
        # The loop's own clock stands still while greenlets work; a timer that starts by it would fire too early.
        self._timer.start(self._look, update=True)

    def _look(self) -> None:
        """Called in the hub: the greenlet waits."""
        left_s = self.heard_s + self._timeout_s - time.perf_counter()
        self._timer.close()
        if left_s > 0:
            self._start(left_s)
        else:
            self._greenlet.throw(NothingCame())
