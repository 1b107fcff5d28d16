"""What a schedule has decided and why: lines of JSON, each safely on the disk before what it says is done."""

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import AwareDatetime, TypeAdapter, ValidationError

from cluster.errors import Unavailable, UserError
from registry.disk import sync

What = Literal[
    "watching",
    "begun",
    "resumed",
    "interrupted",
    "failed",
    "published",
    "canary",
    "no_canary",
    "not_trained",
    "gave_up",
]
_ENDS: Final = ("canary", "no_canary", "not_trained", "gave_up")
_STARTS: Final = ("begun", "resumed")


@dataclass(frozen=True, slots=True)
class Entry:
    """One decision, or what came of it."""

    at: AwareDatetime
    """With its time zone."""
    what: What
    why: str
    """One line for people."""
    run: str = ""
    """The name of the run's folder."""
    slot: str = ""
    """The slot of the calendar that it settles, by the wall clock."""
    drift: tuple[int, ...] = ()
    """Alerts that it sees to."""
    version: int | None = None
    """What was registered."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """A run that has begun and not come to its end."""

    run: str
    slot: str
    drift: tuple[int, ...]
    faults: int
    """How often it failed, or was ended from outside without a word."""
    last: Entry


_ENTRY: Final = TypeAdapter(Entry)


def attempt_of(journal: Sequence[Entry]) -> Attempt | None:
    """The run that is to go on, if there is one."""
    first = max((number for number, entry in enumerate(journal) if entry.what == "begun"), default=None)
    if first is None:
        return None
    begun = journal[first]
    mine = [entry for entry in journal[first:] if entry.run == begun.run]
    if any(entry.what in _ENDS for entry in mine):
        return None
    told = [entry.what for entry in mine if entry.what != "published"]
    # Whoever starts again without having said how the last time ended was killed then.
    killed = sum(
        what in _STARTS and (after is None or after in _STARTS)
        for what, after in zip(told, [*told[1:], None], strict=True)
    )
    return Attempt(begun.run, begun.slot, begun.drift, killed + told.count("failed"), mine[-1])


class Journal:
    """The journal of one schedule."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> tuple[Entry, ...]:
        """All entries, the oldest first. What a killed writer has left of its last line does not count."""
        try:
            data = self._path.read_bytes()
        except FileNotFoundError:
            return ()
        except OSError as error:
            raise UserError(f"{self._path} cannot be read: {error.strerror}") from error
        lines = data.split(b"\n")[:-1]
        entries = []
        for number, line in enumerate(lines, start=1):
            try:
                entries.append(_ENTRY.validate_json(line))
            except ValidationError as error:
                raise UserError(
                    f"{self._path} line {number} is no entry of a journal: take the line out, or the file away"
                ) from error
        return tuple(entries)

    def add(self, entry: Entry) -> None:
        """Write one entry, for whoever holds the journal; it is on the disk when this returns. Raises UserError."""
        try:
            is_new = not self._path.exists()
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
            try:
                self._drop_torn_line(descriptor)
                line = json.dumps(document_of(entry), ensure_ascii=False).encode() + b"\n"
                if os.write(descriptor, line) != len(line):
                    raise UserError(f"{self._path} cannot be written: the disk is full")
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            if is_new:
                sync(self._path.parent)
        except OSError as error:
            raise UserError(f"{self._path} cannot be written: {error.strerror}") from error

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Be the only one that acts by this journal. Raises Unavailable if another process does."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            descriptor = os.open(self._path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise UserError(f"{self._path.parent} cannot be written: {error.strerror}") from error
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise Unavailable(f"another process sees to the schedule {self._path.stem} already", 60) from error
            yield
        finally:
            os.close(descriptor)

    def _drop_torn_line(self, descriptor: int) -> None:
        data = os.pread(descriptor, os.fstat(descriptor).st_size, 0)
        whole = data.rfind(b"\n") + 1
        if whole != len(data):
            os.ftruncate(descriptor, whole)


def document_of(entry: Entry) -> dict[str, Any]:
    """An entry for `--json`: what is not said is left out."""
    document: dict[str, Any] = _ENTRY.dump_python(entry, mode="json")
    return {key: value for key, value in document.items() if value not in ("", [], None)}
