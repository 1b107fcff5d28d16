"""Calls into libraries that have no time-out of their own: each ends in time, whatever it hangs in."""

import math
import threading
from collections.abc import Callable
from typing import Final, TypeVar

from cluster.errors import TimedOut, Unavailable

# Calls that still hang keep a thread each. So many tell that nothing answers; another would only add to them.
MOST_HANGING: Final = 8
# The slowest link that a file may take without being given up.
SLOWEST_BYTES_PER_S: Final = 1_000_000

Answer = TypeVar("Answer")


class Bounded:
    """Runs calls in threads of their own and leaves those behind that take too long."""

    def __init__(self, what: str, timeout_s: float) -> None:
        self._what = what
        self._timeout_s = timeout_s
        self._hanging = 0
        self._lock = threading.Lock()

    def run(self, call: Callable[[], Answer], *, file_bytes: int = 0, least_s: float = 0.0) -> Answer:
        """The call's answer or error. Raises TimedOut; what the call does after that is not known.

        A call that moves a file has more time, by its size; one that may have to make tables has `least_s`.
        """
        timeout_s = max(self._timeout_s, least_s) + file_bytes / SLOWEST_BYTES_PER_S
        with self._lock:
            if self._hanging >= MOST_HANGING:
                raise Unavailable(f"{self._what} does not answer: {self._hanging} calls still wait for it")
            self._hanging += 1
        answers: list[Answer] = []
        errors: list[BaseException] = []
        ended = threading.Event()

        def work() -> None:
            try:
                answers.append(call())
            except BaseException as error:
                errors.append(error)
            finally:
                with self._lock:
                    self._hanging -= 1
                ended.set()

        threading.Thread(target=work, daemon=True, name="registry").start()
        if not ended.wait(timeout_s):
            raise TimedOut(f"{self._what} did not answer within {math.ceil(timeout_s)} s")
        if errors:
            raise errors[0]
        return answers[0]
