"""A file of JSON lines that only grows by whole lines, whatever happens: a kill, a full disk, a second writer.

A line is one write and is on the disk before the next one begins. What a power cut left half-written is cut off when
the file is next opened. While it is open it is locked, so that no other process takes a line that is being written for
a half one.
"""

import fcntl
import os
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import orjson

from cluster.errors import UserError

_ONLY_OURS: Final = 0o600
_LOOK_BACK_BYTES: Final = 1 << 16


class RowsFile:
    """One open file. Raises UserError if it is in use elsewhere or cannot be opened."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, _ONLY_OURS)
        except OSError as error:
            raise UserError(f"{path} cannot be written: {error.strerror}.") from error
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            cut_half_line(self._descriptor)
        except BlockingIOError:
            os.close(self._descriptor)
            raise UserError(f"{path} is being written by another process.") from None
        except BaseException:
            os.close(self._descriptor)
            raise

    def append(self, row: dict[str, object]) -> int:
        """Add one row and wait until it is on the disk; gives the file's size, bytes. Raises OSError."""
        line = orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE)
        before = os.fstat(self._descriptor).st_size
        try:
            _write_whole(self._descriptor, line)
            os.fsync(self._descriptor)
        except OSError:
            os.ftruncate(self._descriptor, before)
            raise
        return before + len(line)

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _write_whole(descriptor: int, line: bytes) -> None:
    written = os.write(descriptor, line)
    if written != len(line):
        raise OSError(f"only {written} of {len(line)} bytes could be written")


def cut_half_line(descriptor: int) -> None:
    """Cut off what stands after the last whole line. The caller holds the lock."""
    size = os.fstat(descriptor).st_size
    end = size
    while end > 0:
        start = max(0, end - _LOOK_BACK_BYTES)
        place = os.pread(descriptor, end - start, start).rfind(b"\n")
        if place >= 0:
            end = start + place + 1
            break
        end = start
    if end != size:
        os.ftruncate(descriptor, end)
