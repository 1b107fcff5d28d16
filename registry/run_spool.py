"""What is to be told to MLflow of one run, kept in a file until it was: nothing is lost by a registry that is down.

Each line is one JSON object; a second file says how many lines were sent, and under which id MLflow knows the run.
"""

import json
import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from registry.disk import write_durably

_SPOOL: Final = "mlflow.jsonl"
_SENT: Final = "mlflow.json"


class Sent(NamedTuple):
    """How far sending is."""

    run_id: str = ""
    """MLflow's; empty: the run was not made yet."""
    lines: int = 0


class RunSpool:
    """The two files, in a run's folder. Written by one process at a time; safe for its threads."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._path = folder / _SPOOL
        self._lock = threading.Lock()
        self._lines = _whole_lines(self._path)
        self.sent = _read_sent(folder / _SENT)
        self.last_steps: dict[str, int] = {}
        """The last step of each figure that stands here: a resumed run takes some steps again."""
        for line in self._lines:
            self._remember(line)

    @property
    def is_begun(self) -> bool:
        """Whether anything stands here."""
        return bool(self._lines)

    def append(self, kind: str, **values: Any) -> None:
        """Keep one line; from then on a kill of this process does not lose it."""
        line = {"kind": kind, **values}
        with self._lock:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line, ensure_ascii=False) + "\n")
            self._lines.append(line)
            self._remember(line)

    def unsent(self, most: int) -> list[Mapping[str, Any]]:
        """The oldest lines that were not sent, at most so many."""
        with self._lock:
            return list(self._lines[self.sent.lines : self.sent.lines + most])

    def mark(self, run_id: str, lines: int) -> None:
        """So many more lines were sent."""
        self.sent = Sent(run_id, self.sent.lines + lines)
        write_durably(self.folder / _SENT, json.dumps(self.sent._asdict()) + "\n")

    def _remember(self, line: Mapping[str, Any]) -> None:
        if line["kind"] == "metrics":
            self.last_steps.update(dict.fromkeys(line["values"], line["step"]))


def _whole_lines(path: Path) -> list[dict[str, Any]]:
    """The lines; what a kill has left of a half one is cut off, so that the next does not stick to it."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return []
    whole = data.rfind(b"\n") + 1
    if whole < len(data):
        os.truncate(path, whole)
    return [json.loads(line) for line in data[:whole].splitlines()]


def _read_sent(path: Path) -> Sent:
    try:
        return Sent(**json.loads(path.read_bytes()))
    except FileNotFoundError:
        return Sent()
