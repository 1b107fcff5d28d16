"""How far a training run is: a moving bar on a terminal, a plain line now and then elsewhere.

training: 96 steps
  step 24 of 96, 25%, loss 1.8312, 640 tokens/s, 2 min left
  held-out loss after step 40: 1.6120
  done, 96 steps, loss 0.4127, 655 tokens/s, in 148 s
"""

import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Final, Protocol, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Column

from training.plan import time_words
from training.watch import Step, Watch

# Often enough to see that it lives, seldom enough to read in a log.
_LINE_EVERY_RATIO: Final = 0.1
_LINE_EVERY_S: Final = 15.0
# A run that is over in seconds needs no steps.
_LINE_AT_MOST_EVERY_S: Final = 3.0


class RunReporter(Watch, Protocol):
    """A watch to be used in `with`: leaving it takes the bar away."""

    def __enter__(self) -> Self:
        """Begin."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End, well or not."""


def run_reporter(console: Console) -> RunReporter:
    """The reporter that suits where the console writes to."""
    lines = LineWatch(lambda line: console.print(line, soft_wrap=True))
    return BarWatch(lines, console) if console.is_terminal else lines


class LineWatch:
    """A line when training begins, at each tenth (every 3 s at most) or 15 s, and at its end."""

    def __init__(self, say: Callable[[str], object], clock: Callable[[], float] = time.monotonic) -> None:
        self._say = say
        self._clock = clock
        self._steps = 0
        self._first = 1
        self._began_s = 0.0
        self._said_step = 0
        self._said_s = 0.0

    def began(self, steps: int, first_step: int) -> None:
        """Training begins, or goes on."""
        self._steps, self._first = steps, first_step
        self._said_step = first_step - 1
        self._began_s = self._said_s = self._clock()
        resumed = f", going on with step {first_step:,}" if first_step > 1 else ""
        self._say(f"training: {steps:,} steps{resumed}")

    def step(self, step: Step) -> None:
        """A step is done."""
        now_s = self._clock()
        if step.number >= self._steps:
            self._say(
                f"  done, {step.number:,} steps, loss {step.loss:.4f}, {step.tokens_per_s:,.0f} tokens/s, in "
                f"{now_s - self._began_s:.0f} s"
            )
            return
        silent_s = now_s - self._said_s
        is_tenth = step.number - self._said_step >= self._steps * _LINE_EVERY_RATIO
        if silent_s >= _LINE_EVERY_S or (is_tenth and silent_s >= _LINE_AT_MOST_EVERY_S):
            self._said_step, self._said_s = step.number, now_s
            self._say(f"  {self._so_far(step, now_s - self._began_s)}")

    def measured(self, results: Mapping[str, float], step: int) -> None:
        """A held-out loss on the way."""
        figures = ", ".join(f"{_NAMES.get(name, name)} {value:.4f}" for name, value in results.items())
        self._say(f"  after step {step:,}: {figures}")

    def note(self, line: str) -> None:
        """Say one line."""
        self._say(line)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing is left to do."""

    def _so_far(self, step: Step, passed_s: float) -> str:
        left_s = passed_s / max(1, step.number - self._first + 1) * (self._steps - step.number)
        return (
            f"step {step.number:,} of {self._steps:,}, {step.number / self._steps:.0%}, loss {step.loss:.4f}, "
            f"{step.tokens_per_s:,.0f} tokens/s, {time_words(left_s)} left"
        )


class BarWatch:
    """The same first and last lines, and between them a bar with loss, speed and time left."""

    def __init__(self, lines: LineWatch, console: Console) -> None:
        self._lines = lines
        self._steps = 0
        self._bar = Progress(
            TextColumn(" "),
            BarColumn(bar_width=None),
            MofNCompleteColumn(table_column=Column(no_wrap=True)),
            TextColumn("{task.description}", table_column=Column(no_wrap=True)),
            TimeRemainingColumn(compact=True, table_column=Column(no_wrap=True)),
            console=console,
            expand=True,
            transient=True,
        )

    def began(self, steps: int, first_step: int) -> None:
        """Training begins, or goes on."""
        self._remove()
        self._steps = steps
        self._lines.began(steps, first_step)
        self._bar.add_task("", total=steps, completed=first_step - 1)

    def step(self, step: Step) -> None:
        """A step is done."""
        figures = f"loss {step.loss:.3f}  {step.tokens_per_s:,.0f} tokens/s"
        for task_id in self._bar.task_ids:
            self._bar.update(task_id, completed=step.number, description=figures)
        if step.number >= self._steps:
            self._remove()
            self._lines.step(step)

    def measured(self, results: Mapping[str, float], step: int) -> None:
        """A held-out loss on the way."""
        self._lines.measured(results, step)

    def note(self, line: str) -> None:
        """Say one line above the bar."""
        self._lines.note(line)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._remove()
        self._bar.stop()

    def _remove(self) -> None:
        for task_id in self._bar.task_ids:
            self._bar.remove_task(task_id)


_NAMES: Final[Mapping[str, str]] = {"eval_loss": "held-out loss"}
