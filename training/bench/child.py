"""A lap in a child process, seen from its parent."""

import json
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any, Final

from training.bench.lap import Job, Lap

_ROOT: Final = Path(__file__).resolve().parents[2]
_END_S: Final = 60
_LIFE_S: Final = 3600
"""No lap of the bench takes so long: one that does, hangs."""


class LapFailed(Exception):
    """A lap ended without saying what it took."""


class Child:
    """A lap that runs."""

    def __init__(self, process: "subprocess.Popen[str]", errors: IO[str]) -> None:
        self._process, self._errors = process, errors
        self.lap: Lap | None = None

    def lines(self) -> Iterator[dict[str, Any]]:
        """What it tells, as it does, until it ends."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            # Libraries write to the output as well.
            if not line.startswith("{"):
                continue
            said: dict[str, Any] = json.loads(line)
            if "lap" in said:
                self.lap = Lap(**{**said["lap"], "losses": tuple(said["lap"]["losses"])})
            yield said

    def kill(self) -> None:
        """As `kill -9` does."""
        self._process.kill()

    def was_killed(self) -> bool:
        """Whether it ended by `kill`."""
        return self._process.wait(_END_S) == -signal.SIGKILL

    def finished(self) -> Lap:
        """What it took. Raises LapFailed."""
        for _ in self.lines():
            pass
        code = self._process.wait(_END_S)
        if self.lap is None or code != 0:
            self._errors.seek(0)
            last = self._errors.read().strip().splitlines()[-12:]
            raise LapFailed("\n".join([f"a lap ended with {code}:", *last]))
        return self.lap


@contextmanager
def child(job: Job) -> Iterator[Child]:
    """Start a lap; at the end it is over, whatever has happened."""
    output = Path(job.output)
    output.mkdir(parents=True, exist_ok=True)
    path = output.with_name(f"{output.name}.job.json")
    path.write_text(json.dumps(asdict(job)), encoding="utf-8")
    with tempfile.TemporaryFile("w+", encoding="utf-8") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", "training.bench.lap", str(path)],
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            cwd=_ROOT,
        )
        limit = threading.Timer(_LIFE_S, process.kill)
        limit.start()
        try:
            yield Child(process, errors)
        finally:
            limit.cancel()
            process.kill()
            process.wait(_END_S)
            assert process.stdout is not None
            process.stdout.close()
