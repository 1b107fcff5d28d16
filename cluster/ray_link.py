"""The line between the driver of a job on Ray and its workers: messages one way, the word to stop the other."""

import threading
from collections import deque
from typing import Any, Final

EXCHANGE_S: Final = 0.25
"""How often messages go to the driver, and word to stop comes back."""
LAST_WORDS_S: Final = 10.0
"""The longest that one exchange takes, where the other side may be gone."""
# A message is about 100 bytes; nobody makes so many between two looks.
_MAX_MESSAGES: Final = 10_000


class Link:
    """A worker's line to the driver. Saying something never waits; `is_stopping` is at most half a second old."""

    def __init__(self, post: Any) -> None:
        self._post = post
        self._unsent: deque[Any] = deque(maxlen=_MAX_MESSAGES)
        self._exchanging = threading.Lock()
        self._is_closing = threading.Event()
        self.is_stopping = False
        """What this worker has heard; others may hear it a little later."""
        self._thread = threading.Thread(target=self._run, name="link", daemon=True)
        self._thread.start()

    def tell(self, message: Any) -> None:
        """Give a message to the driver."""
        self._unsent.append(message)

    def flush(self) -> None:
        """Have what was told so far with the driver before anything else is done."""
        with self._exchanging:
            self._exchange()

    def close(self) -> None:
        """Send what is left."""
        self._is_closing.set()
        self._thread.join(LAST_WORDS_S)

    def _run(self) -> None:
        while not self._is_closing.wait(EXCHANGE_S):
            self.flush()
        self.flush()

    def _exchange(self) -> None:
        import ray
        from ray.exceptions import RayError

        messages = [self._unsent.popleft() for _ in range(len(self._unsent))]
        try:
            self.is_stopping = ray.get(self._post.from_worker.remote(messages), timeout=LAST_WORDS_S)
        except RayError:
            # The driver is gone, and nobody waits for the result: save, and leave the place to others.
            self.is_stopping = True


class Post:
    """Lies between driver and workers, in a process of its own."""

    def __init__(self) -> None:
        self._messages: deque[Any] = deque(maxlen=_MAX_MESSAGES)
        self._is_stopping = False

    def from_worker(self, messages: list[Any]) -> bool:
        """Take messages; gives whether to stop."""
        self._messages.extend(messages)
        return self._is_stopping

    def from_driver(self, is_stopping: bool) -> list[Any]:
        """Take the word to stop; gives the messages since the last time."""
        self._is_stopping = self._is_stopping or is_stopping
        messages = list(self._messages)
        self._messages.clear()
        return messages
