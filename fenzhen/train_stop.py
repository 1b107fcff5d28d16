"""Ctrl-C and SIGTERM while a run trains: the first lets it save a checkpoint, the second ends it at once."""

import contextlib
import signal
from collections.abc import Callable, Iterator
from types import FrameType
from typing import ParamSpec, TypeVar

Given = ParamSpec("Given")
Answer = TypeVar("Answer")


class StopRequest:
    """Whether somebody wants the run to stop. Where nobody asks it, a signal ends the stage at once."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._is_asked = False
        self._is_polled = False

    def __call__(self) -> bool:
        """Whether to save and stop."""
        return self._is_asked

    def polled(self, work: Callable[Given, Answer]) -> Callable[Given, Answer]:
        """The same work, known to ask us and to stop well by itself."""

        def run(*args: Given.args, **named: Given.kwargs) -> Answer:
            self._is_polled = True
            try:
                return work(*args, **named)
            finally:
                self._is_polled = False

        return run

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Take the two signals meanwhile."""
        before = {number: signal.signal(number, self._take) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _take(self, number: int, frame: FrameType | None) -> None:
        if self._is_polled and not self._is_asked:
            self._is_asked = True
            self._say("saving a checkpoint and stopping; the same again ends at once")
            return
        raise KeyboardInterrupt
