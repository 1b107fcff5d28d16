"""One fetch at work: its folder, its lock, and the child processes that do its foreign and its heavy parts.

pip, the hub's library and the conversion run as children: a time-out can end them whatever they hang in, and the
gigabytes they take are given back when they end.
"""

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cluster.errors import TimedOut, Unavailable
from registry.progress import Progress

# Waits between three tries: the first mends a dropped connection, the second outlives a restart at the far end.
RETRY_WAITS_S = (2.0, 8.0)
# A bar that moves ten times a second looks smooth, and counting the bytes of a few files takes far less.
POLL_S = 0.1
# Enough of a child's output for its last lines, which say what went wrong.
OUTPUT_BYTES = 4000


@dataclass(frozen=True, slots=True)
class Finished:
    """A child that has ended by itself."""

    code: int
    """Exit status; negative for the signal that ended it."""
    output: str
    """The end of its standard output and error together."""

    @property
    def last_line(self) -> str:
        """What it said last, for an error's sentence."""
        lines = [line.strip() for line in self.output.splitlines() if line.strip()]
        return lines[-1] if lines else f"it ended with {self.code} and said nothing"


@dataclass(frozen=True, slots=True)
class Work:
    """What every source needs to fetch one model."""

    name: str
    """The model's."""
    folder: Path
    """Ours alone, on the store's disk; it outlives a killed fetch, and the next one goes on in it."""
    lock_fd: int
    """Children inherit the lock: a killed fetch may leave one behind, and the next fetch must wait for its end."""
    progress: Progress
    sleep: Callable[[float], None] = time.sleep

    @property
    def result(self) -> Path:
        """Where a source leaves the finished files."""
        return self.folder / "model"

    def run(
        self,
        command: Sequence[str],
        *,
        env: Mapping[str, str],
        silence_s: float,
        measure: Callable[[], int] = lambda: 0,
        report: Callable[[int], None] = lambda _: None,
    ) -> Finished:
        """Run a child to its end and report the bytes it has made; TimedOut after `silence_s` without a new one."""
        log = self.folder / "child.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, *command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, **env},
                pass_fds=(self.lock_fd,),
            )
        try:
            self._watch(process, silence_s, measure, report)
        finally:
            if process.poll() is None:
                process.kill()
            process.wait()
        return Finished(process.returncode, _tail(log))

    def _watch(
        self,
        process: subprocess.Popen[bytes],
        silence_s: float,
        measure: Callable[[], int],
        report: Callable[[int], None],
    ) -> None:
        seen_bytes, most_bytes, changed_s = 0, 0, time.monotonic()
        while True:
            try:
                process.wait(POLL_S)
            except subprocess.TimeoutExpired:
                if (now_bytes := measure()) != seen_bytes:
                    seen_bytes, changed_s = now_bytes, time.monotonic()
                    # Files that are renamed or copied shrink for a moment; a bar never goes back.
                    most_bytes = max(most_bytes, seen_bytes)
                    report(most_bytes)
                elif time.monotonic() - changed_s > silence_s:
                    raise TimedOut(f"nothing new came for {silence_s:.0f} s") from None
            else:
                return

    def retry(self, attempt: Callable[[], None]) -> None:
        """Try three times what a network may refuse; any other error ends it at once."""
        for wait_s in RETRY_WAITS_S:
            try:
                return attempt()
            except Unavailable as error:
                self.progress.note(f"{self.name}: {error}; trying again in {wait_s:.0f} s")
                self.sleep(wait_s)
        return attempt()


def own_modules() -> dict[str, str]:
    """Environment in which a child finds our packages, wherever it was started."""
    root = str(Path(__file__).resolve().parents[1])
    return {"PYTHONPATH": os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))}


def bytes_below(folder: Path) -> int:
    """Bytes written so far below a folder in which others create, rename and delete."""
    total = 0
    for root, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                total += (Path(root) / name).lstat().st_size
    return total


def _tail(log: Path) -> str:
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - OUTPUT_BYTES))
        return file.read().decode(errors="replace")
