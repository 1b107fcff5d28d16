"""Orders to a link from another process: to one that we have started, or to one that runs in front of an engine."""

import json
import os
import select
import socket
import subprocess
import sys
import threading
import time
from typing import Any, Final
from urllib.parse import urlsplit

from cluster.errors import OurFault, TimedOut, UserError
from loadtests.faults.control_path import control_path, require_ours

# Importing pydantic and uvloop on a busy machine.
_START_TIMEOUT_S: Final = 60.0
_ANSWER_TIMEOUT_S: Final = 10.0
_END_TIMEOUT_S: Final = 5.0
_LONGEST_ANSWER_BYTES: Final = 4096


class OwnLink:
    """A link that this process starts and ends, between callers and an address."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme != "http" or parts.hostname is None:
            # Its certificate is not for the loopback address.
            raise UserError(f"slow-link cannot stand before {url}; only before http:// addresses")
        self._server = f"{parts.hostname}:{parts.port or 80}"
        self._path = parts.path.rstrip("/")
        self._process: subprocess.Popen[bytes] | None = None
        self._port = 0
        self._ordered: dict[object, float] = {}
        # Each fault has a thread of its own.
        self._lock = threading.Lock()

    @property
    def url(self) -> str:
        """What callers use instead of the address, while it runs."""
        return f"http://127.0.0.1:{self._port}{self._path}"

    def start(self) -> None:
        """Begin to relay, without a delay. Raises OurFault, TimedOut."""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "loadtests.faults.slow_link", "--to", self._server],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            # Ctrl-C goes to all processes of a terminal, and answers on their way must still arrive.
            start_new_session=True,
        )
        assert self._process.stdout is not None
        self._port = int(_answer(self._process.stdout.fileno(), _START_TIMEOUT_S)["port"])

    def order(self, who: object, delay_s: float) -> None:
        """Make it slower by so much for one reason; 0 takes that back. Raises OurFault, TimedOut, OSError."""
        assert self._process is not None
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with self._lock:
            self._ordered[who] = delay_s
            os.write(self._process.stdin.fileno(), _order(sum(self._ordered.values())))
            _answer(self._process.stdout.fileno(), _ANSWER_TIMEOUT_S)

    def close(self) -> None:
        """End it. Does nothing if it was not started."""
        if self._process is None:
            return
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        try:
            self._process.wait(_END_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
        self._process = None


class RemoteHand:
    """One hand on a link that `fenzhen loadtest link` runs; letting go takes back what it has ordered."""

    def __init__(self, port: int) -> None:
        """Raises UserError if no link of this user listens on that port."""
        path = control_path(port)
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(_ANSWER_TIMEOUT_S)
        try:
            require_ours(path.parent)
            self._socket.connect(str(path))
        except OSError as error:
            self._socket.close()
            raise UserError(
                f"no link of yours listens on 127.0.0.1:{port}: start one with `fenzhen loadtest link --to HOST:PORT "
                f"--listen {port}`, and let the stack or the plan use it"
            ) from error
        except UserError:
            self._socket.close()
            raise

    def order(self, delay_s: float) -> None:
        """Make the link slower by so much. Raises OurFault, TimedOut, OSError."""
        self._socket.sendall(_order(delay_s))
        _answer(self._socket.fileno(), _ANSWER_TIMEOUT_S)

    def close(self) -> None:
        """Let go."""
        self._socket.close()


def _order(delay_s: float) -> bytes:
    return json.dumps({"delay_s": delay_s}).encode() + b"\n"


def _answer(fd: int, timeout_s: float) -> dict[str, Any]:
    """The next line from a link. Raises OurFault if there is none or it is a refusal, TimedOut."""
    line, until_s = b"", time.monotonic() + timeout_s
    while not line.endswith(b"\n"):
        if not select.select([fd], [], [], max(0.0, until_s - time.monotonic()))[0]:
            raise TimedOut(f"the slow link did not answer within {timeout_s:.0f} s")
        piece = os.read(fd, _LONGEST_ANSWER_BYTES)
        line += piece
        if not piece or len(line) > _LONGEST_ANSWER_BYTES:
            raise OurFault("the slow link has ended")
    answer = json.loads(line)
    if not isinstance(answer, dict) or "error" in answer:
        raise OurFault(f"the slow link refuses: {line.decode().strip()}")
    return answer
