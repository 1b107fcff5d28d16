"""samples.jsonl while a run goes on: whole lines, also where the disk is full for a while."""

import os
import time
from pathlib import Path
from typing import Final

_MOST_WAITING_BYTES: Final = 256 * 2**20
_TRY_AGAIN_S: Final = 0.5


class SampleFile:
    """Appends. What cannot be written now is kept and tried again each second: a full disk may be part of a test."""

    def __init__(self, path: Path) -> None:
        """Raises OSError."""
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        self._waiting = bytearray()
        self._why = ""
        self._is_torn = False

    def fileno(self) -> int:
        """Its file descriptor."""
        return self._file

    def append(self, lines: bytes) -> None:
        """Write lines, and what has waited."""
        if len(self._waiting) + len(lines) > _MOST_WAITING_BYTES:
            self._is_torn = True
            return
        self._waiting += lines
        self._write()

    def close(self, timeout_s: float) -> str:
        """Write what is left; the reason, for a person, if not all could be written."""
        end_s = time.monotonic() + timeout_s
        while self._waiting and time.monotonic() < end_s:
            time.sleep(_TRY_AGAIN_S)
            self._write()
        os.close(self._file)
        return self._why if self._waiting or self._is_torn else ""

    def _write(self) -> None:
        try:
            while self._waiting:
                # A disk that fills up takes the beginning of a line: the rest follows, in the end the line is whole.
                del self._waiting[: os.write(self._file, self._waiting)]
        except OSError as error:
            self._why = f"samples.jsonl could not be written: {error.strerror}"
