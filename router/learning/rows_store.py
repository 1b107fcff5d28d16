"""The rows that were learnt while serving: a file for each replica and day, the oldest removed when there are many."""

import contextlib
import fcntl
import logging
import os
import secrets
import threading
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from router.learning.rows_file import RowsFile, cut_half_line

# A file that holds a larger share of all that is allowed is followed by another: what goes is always a whole file.
_PARTS: Final = 8
_SUFFIX: Final = ".jsonl"

_log = logging.getLogger(__name__)


class RowsStore:
    """Appends to the rows of one folder, from any thread; every call may wait for the disk."""

    def __init__(self, folder: Path, max_bytes: int, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        self._clock = clock
        # A process id is used again one day, and replicas of other machines may share the folder.
        self._writer = secrets.token_hex(4)
        # A row that is being written when its replica ends must not find its file closed, or another in its place.
        self._lock = threading.RLock()
        self._file: RowsFile | None = None
        self._day = ""
        self._part = 0

    def append(self, row: dict[str, object]) -> None:
        """Store one row, with the time in `at`. Raises OSError or UserError."""
        with self._lock:
            now = self._clock()
            file = self._file_for(now.strftime("%Y%m%d"))
            size = file.append(row | {"at": now.isoformat(timespec="seconds")})
            if size > self._max_bytes // _PARTS:
                self.close()
            self._remove_oldest()

    def close(self) -> None:
        """Let go of the file; the next row begins another."""
        with self._lock:
            if self._file is not None:
                self._file.close()
                self._file = None

    def _file_for(self, day: str) -> RowsFile:
        if day != self._day:
            self.close()
        if self._file is None:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            mend(rows_files(self._folder))
            self._day, self._part = day, self._part + 1
            self._file = RowsFile(self._folder / f"{day}-{self._writer}-{self._part:04d}{_SUFFIX}")
        return self._file

    def _remove_oldest(self) -> None:
        sizes = {}
        for path in rows_files(self._folder):
            # Another replica may be removing as well.
            with contextlib.suppress(FileNotFoundError):
                status = path.stat()
                sizes[path] = (status.st_mtime_ns, status.st_size)
        total = sum(size for _, size in sizes.values())
        for path, (_, size) in sorted(sizes.items(), key=lambda item: item[1][0]):
            if total <= self._max_bytes:
                return
            if self._file is not None and path == self._file.path:
                continue
            _log.warning("the stored rows have reached %d bytes: %s is removed", total, path.name)
            path.unlink(missing_ok=True)
            total -= size


def rows_files(folder: Path) -> list[Path]:
    """The files of rows in a folder, by name, which is by day; none if there is no folder."""
    return sorted(folder.glob(f"*{_SUFFIX}"))


def mend(paths: Iterable[Path]) -> None:
    """Cut off half lines that a power cut may have left, but for files that are being written."""
    for path in paths:
        with contextlib.suppress(OSError):
            descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                cut_half_line(descriptor)
            finally:
                os.close(descriptor)
