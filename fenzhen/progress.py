"""How far a long transfer is: a moving bar on a terminal, a plain line now and then elsewhere.

qwen2.5-0.5b: downloading Qwen2.5-Coder-0.5B-Instruct, Q4_K_M (491.4 MB)
  40%, 196.6 MB of 491.4 MB, 12.0 MB/s, 25 s left
  done, 491.4 MB in 41 s
"""

import time
from collections.abc import Callable
from types import TracebackType
from typing import Protocol, Self

from rich.console import Console
from rich.filesize import decimal
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.table import Column

from registry.progress import Progress as Transfer

# Often enough to see that it lives, seldom enough to read in a log.
LINE_EVERY_RATIO = 0.1
LINE_EVERY_S = 15.0
# A stage that is over in seconds needs no steps.
LINE_AT_MOST_EVERY_S = 3.0


class Reporter(Transfer, Protocol):
    """A `registry` progress to be used in `with`: leaving it ends the last stage."""

    def __enter__(self) -> Self:
        """Begin."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End. A stage that an error ended is not called done."""


def reporter(console: Console, counted: str = "") -> Reporter:
    """The reporter that suits where the console writes to. `counted` names what is counted, if it is not bytes."""
    # Only a terminal has a width to break lines at.
    lines = LineReporter(lambda line: console.print(line, soft_wrap=True), counted=counted)
    return BarReporter(lines, console, counted) if console.is_terminal else lines


class LineReporter:
    """A line at the start of a stage, at each tenth (every 3 s at most) or 15 s, and at its end."""

    def __init__(
        self, say: Callable[[str], object], clock: Callable[[], float] = time.monotonic, counted: str = ""
    ) -> None:
        self._say = say
        self._counted = counted
        self._clock = clock
        self._is_open = False
        self._total_bytes: int | None = None
        self._done_bytes = 0
        self._began_s = 0.0
        self._said_bytes = 0
        self._said_s = 0.0

    def stage(self, title: str, total_bytes: int | None) -> None:
        """Begin the next stage."""
        self.end_stage()
        self._is_open, self._total_bytes = True, total_bytes
        self._done_bytes = self._said_bytes = 0
        self._began_s = self._said_s = self._clock()
        self._say(f"{title} ({self._amount(total_bytes)})" if total_bytes is not None else title)

    def advance(self, done_bytes: int) -> None:
        """Bytes done since the stage began: all of them, not the difference."""
        self.count(done_bytes)
        now_s, total = self._clock(), self._total_bytes
        silent_s = now_s - self._said_s
        is_tenth = total is not None and done_bytes - self._said_bytes >= total * LINE_EVERY_RATIO
        is_step = is_tenth and silent_s >= LINE_AT_MOST_EVERY_S
        is_late = silent_s >= LINE_EVERY_S
        # The last step is the end's line to tell.
        if (is_step or is_late) and done_bytes != total:
            self._said_bytes, self._said_s = done_bytes, now_s
            self._say(f"  {self._so_far(now_s - self._began_s)}")

    def count(self, done_bytes: int) -> None:
        """Remember the amount for the stage's last line, and say nothing."""
        self._done_bytes = done_bytes

    def note(self, line: str) -> None:
        """Say one line."""
        self._say(line)

    def end_stage(self) -> None:
        """Say that the stage is done, if there is one."""
        if self._is_open:
            amount = f"{self._amount(self._done_bytes)} " if self._done_bytes else ""
            self._say(f"  done, {amount}in {self._clock() - self._began_s:.0f} s")
        self._is_open = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.end_stage()

    def _so_far(self, passed_s: float) -> str:
        speed = self._done_bytes / passed_s if passed_s > 0 else 0.0
        parts = [self._amount(self._done_bytes)]
        if self._total_bytes:
            share_ratio = self._done_bytes / self._total_bytes
            parts = [f"{share_ratio:.0%}", f"{parts[0]} of {self._amount(self._total_bytes)}"]
        if speed and not self._counted:
            parts.append(f"{decimal(int(speed))}/s")
        if speed and self._total_bytes:
            parts.append(f"{max(0, self._total_bytes - self._done_bytes) / speed:.0f} s left")
        return ", ".join(parts)

    def _amount(self, done: int) -> str:
        return f"{done:,} {self._counted}" if self._counted else decimal(done)


class BarReporter:
    """The same first and last lines, and between them a bar with amount, speed and time left."""

    def __init__(self, lines: LineReporter, console: Console, counted: str = "") -> None:
        self._lines = lines
        amounts: list[ProgressColumn] = [MofNCompleteColumn(table_column=Column(no_wrap=True))]
        if not counted:
            amounts = [
                DownloadColumn(table_column=Column(no_wrap=True)),
                TransferSpeedColumn(table_column=Column(no_wrap=True)),
            ]
        self._bars = Progress(
            TextColumn(" "),
            BarColumn(bar_width=None),
            *amounts,
            TimeRemainingColumn(compact=True, table_column=Column(no_wrap=True)),
            console=console,
            expand=True,
            transient=True,
        )

    def stage(self, title: str, total_bytes: int | None) -> None:
        """Begin the next stage."""
        self._remove_bar()
        self._lines.stage(title, total_bytes)
        self._bars.add_task("", total=total_bytes)

    def advance(self, done_bytes: int) -> None:
        """Bytes done since the stage began: all of them, not the difference."""
        self._lines.count(done_bytes)
        for task_id in self._bars.task_ids:
            self._bars.update(task_id, completed=done_bytes)

    def note(self, line: str) -> None:
        """Say one line above the bar."""
        self._lines.note(line)

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._remove_bar()
        self._bars.stop()
        self._lines.__exit__(kind, error, trace)

    def _remove_bar(self) -> None:
        for task_id in self._bars.task_ids:
            self._bars.remove_task(task_id)
