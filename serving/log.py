"""An engine's output in a file that cannot fill the disk, and the part of it worth quoting."""

import os
import re
from pathlib import Path
from types import TracebackType

# Two files of this size: an engine writes about 20 kB at a start and 100 bytes a request.
LIMIT_BYTES = 8 * 1024 * 1024
_TAIL_BYTES = 32 * 1024
_QUOTE_CHARACTERS = 300
# vLLM begins its lines with `(EngineCore pid=1) ERROR 11-22 08:22:39 [file.py:1]`: of no use in an error's sentence.
_PREFIX = re.compile(r"^(\(\w+ pid=\d+\) )?((INFO|WARNING|ERROR|DEBUG) [\d-]+ [\d:]+ \[[^\]]*\] ?)?")
_ERROR = re.compile(r"^[\w.]*(Error|Exception|Interrupt)\b.*|^cannot start |.*: error: ")


class BoundedLog:
    """Appends bytes to a file; when it is full it becomes `NAME.1` and a new one is begun."""

    def __init__(self, path: Path, limit_bytes: int = LIMIT_BYTES) -> None:
        self._path = path
        self._limit_bytes = limit_bytes
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("ab", buffering=0)
        self._size_bytes = self._file.tell()

    def __enter__(self) -> "BoundedLog":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def write(self, piece: bytes) -> None:
        """Append; what a full disk does not take is dropped, for an engine must not stop over its log."""
        try:
            if self._size_bytes + len(piece) > self._limit_bytes and self._size_bytes:
                self._rotate()
            self._size_bytes += self._file.write(piece) or 0
        except OSError:
            return

    def _rotate(self) -> None:
        os.replace(self._path, self._path.with_name(self._path.name + ".1"))
        self._file.close()
        self._file = self._path.open("ab", buffering=0)
        self._size_bytes = 0


def size_bytes(path: Path) -> int:
    """How much a log holds now; 0 if there is none."""
    try:
        return path.stat().st_size
    except OSError:
        return 0


def last_lines(path: Path, since_bytes: int = 0) -> list[str]:
    """The last lines written to a log after `since_bytes`; none if it cannot be read."""
    try:
        with path.open("rb") as file:
            end = file.seek(0, os.SEEK_END)
            # A log that was rotated is shorter than before: then all of it is new.
            start = since_bytes if since_bytes <= end else 0
            file.seek(max(start, end - _TAIL_BYTES))
            return file.read().decode("utf-8", "replace").splitlines()
    except OSError:
        return []


def telling_line(lines: list[str]) -> str:
    """The line that best says why an engine died: its first own error, else the last line it wrote."""
    plain = [line for line in (_PREFIX.sub("", line.rstrip(), count=1).strip() for line in lines) if line]
    # "See root cause above" is how vLLM's server repeats an error of its core that stands further up.
    errors = [at for at, line in enumerate(plain) if _ERROR.match(line) and "root cause above" not in line]
    if not errors:
        return (plain[-1] if plain else "wrote nothing")[:_QUOTE_CHARACTERS]
    chosen, *below = plain[errors[-1] :]
    # pydantic's first line only counts; what is wrong stands below it.
    if "validation error" in chosen:
        chosen = " ".join([chosen.rpartition(": ")[2], *below[:1]])
    return chosen[:_QUOTE_CHARACTERS]
