"""Greenlets that belong to somebody: none is forgotten, and none fails unheard."""

from collections.abc import Callable
from typing import Any

import gevent
from gevent import GreenletExit
from gevent.pool import Group


class Greenlets:
    """A group whose first exception is kept and told."""

    def __init__(self, on_fault: Callable[[], None]) -> None:
        self.fault: Exception | None = None
        """The first one; None if all is well."""
        self._on_fault = on_fault
        self._group = Group()

    def spawn(self, work: Callable[..., None], *arguments: Any) -> None:
        """Begin a piece of work as soon as the one that calls waits for something."""
        self._group.add(gevent.spawn(self._guarded, work, *arguments))

    def begin(self, work: Callable[..., None], *arguments: Any) -> None:
        """Begin at once: whoever calls goes on when the work waits for something, after all that has been spawned."""
        greenlet = gevent.Greenlet(self._guarded, work, *arguments)
        self._group.add(greenlet)
        gevent.get_hub().loop.run_callback(gevent.getcurrent().switch)
        greenlet.switch()

    def join(self, timeout_s: float | None = None) -> bool:
        """Wait until all are done; False if the time was over before."""
        return bool(self._group.join(timeout_s) if timeout_s is None else self._group.join(max(timeout_s, 0.0)))

    def kill(self, reason: type[GreenletExit]) -> None:
        """Throw `reason` into all that are left, and wait until they have ended."""
        self._group.kill(reason)

    def _guarded(self, work: Callable[..., None], *arguments: Any) -> None:
        try:
            work(*arguments)
        except Exception as error:
            if self.fault is None:
                self.fault = error
                self._on_fault()
