"""Clients that never rest, in threads of their own, and what they saw."""

import json
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable
from types import TracebackType
from typing import Self

BODY = json.dumps({"model": "small", "messages": [{"role": "user", "content": "hello"}]}).encode()
TIMEOUT_S = 20


class Clients:
    """Ask while the block runs: some on a new connection a request, some on one that they keep until told to close."""

    def __init__(self, port: int, fresh: int = 6, kept: int = 6) -> None:
        self._port = port
        self._is_over = threading.Event()
        self._threads = [threading.Thread(target=self._fresh) for _ in range(fresh)]
        self._threads += [threading.Thread(target=self._kept, args=(0.01 * number,)) for number in range(kept)]
        self._lock = threading.Lock()
        self.seen: Counter[str] = Counter()
        """Statuses, `broken before any byte` (which a client may ask again) and `broken in the middle`."""

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_over.set()
        for thread in self._threads:
            thread.join(2 * TIMEOUT_S)
        assert not any(thread.is_alive() for thread in self._threads), "a request hangs"

    def _fresh(self) -> None:
        while not self._is_over.wait(0.005):
            self._ask_until_over(lambda: False)

    def _kept(self, think_s: float) -> None:
        while not self._is_over.is_set():
            self._ask_until_over(lambda: not self._is_over.wait(think_s))

    def _ask_until_over(self, goes_on: Callable[[], bool]) -> None:
        """Ask on one connection once, and again while `goes_on` and the server keeps it."""
        try:
            with socket.create_connection(("127.0.0.1", self._port), timeout=TIMEOUT_S) as connection:
                is_kept = True
                while is_kept:
                    is_kept = self._ask(connection) and goes_on()
        except OSError as error:
            self._note(f"not connected: {error!r}")
            # A port that nobody listens on refuses thousands of times a second.
            time.sleep(0.05)

    def _ask(self, connection: socket.socket) -> bool:
        """One request; gives whether the connection lives on."""
        head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n"
        answer = b""
        try:
            connection.sendall(b"%bcontent-length: %d\r\n\r\n%b" % (head, len(BODY), BODY))
            while not _is_whole(answer):
                part = connection.recv(65536)
                if not part:
                    raise ConnectionResetError
                answer += part
        except TimeoutError:
            self._note("timed out")
            return False
        except OSError:
            self._note("broken in the middle" if answer else "broken before any byte")
            return False
        self._note(answer[9:12].decode())
        return b"connection: close" not in answer.lower()

    def _note(self, what: str) -> None:
        with self._lock:
            self.seen[what] += 1


def _is_whole(answer: bytes) -> bool:
    head, mark, body = answer.partition(b"\r\n\r\n")
    if not mark:
        return False
    length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
    return len(body) >= int(length.partition(b":")[2])
