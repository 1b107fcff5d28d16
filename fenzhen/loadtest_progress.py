"""How a load test goes: a moving view on a terminal, a plain line every 5 s elsewhere.

steady, 0:35 of 3:00: 12.0/s due, 11.8/s done, 9 in flight, no errors, 412 tokens/s, lag 1 ms
"""

from collections.abc import Sequence
from types import TracebackType
from typing import Final, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from loadtests.judging.generator_limits import CPU_LIMIT_RATIO
from loadtests.judging.saturation import saturation
from loadtests.plan import Plan
from loadtests.records.tick import Tick

_LINE_EVERY_S: Final = 5
# Single seconds jump: what is shown is the mean of the last few.
_SHOWN_S: Final = 5
_TAIL_S: Final = 60
"""So many seconds are in the little curves."""
# One late request is the kernel's doing; a generator that is short of processor is late in most seconds.
_LATE_S: Final = 0.05
_BAD_SECONDS: Final = 3
_BARS: Final = "▁▂▃▄▅▆▇█"


class LoadView:
    """What is seen of a test that runs. A context manager: leaving it takes the moving view away and sums up."""

    def __init__(self, console: Console, plan: Plan) -> None:
        self._console = console
        self._plan = plan
        self._ticks: dict[int, Tick] = {}
        self._said_s = -1
        self._said_warnings: set[str] = set()
        self._live: Live | None = None

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            # Redrawn when a second is shown, and by no thread of its own.
            self._live = Live(console=self._console, auto_refresh=False, transient=True)
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None
        if self._ticks:
            self._print(self._summary())

    def show(self, ticks: Sequence[Tick]) -> None:
        """Show how it stands. `ticks` are the new seconds; those known already may be among them."""
        self._ticks.update((tick.at_s, tick) for tick in ticks)
        if not self._ticks:
            return
        if self._live is not None:
            self._live.update(self._view(), refresh=True)
            return
        last_s = max(self._ticks)
        if self._said_s < 0 or last_s - self._said_s >= _LINE_EVERY_S:
            self._said_s = last_s
            self._print(self._line())
            for warning in self._warnings():
                # A log needs it once, not every 5 s.
                kind = warning.partition(":")[0]
                if kind not in self._said_warnings:
                    self._said_warnings.add(kind)
                    self._print(f"  warning: {warning}")

    def say(self, text: str) -> None:
        """Say one line, above the moving view where there is one."""
        self._print(text)

    def _print(self, text: str) -> None:
        self._console.print(Text(text), soft_wrap=True)

    def _recent(self, seconds: int) -> list[Tick]:
        """The last seconds; None of the run's seconds is left out, so silent ones count as 0."""
        last_s = max(self._ticks)
        silent = Tick(0, 0, 0, 0, 0, self._ticks[last_s].in_flight, 0.0, 0.0, 0)
        first_s = max(min(self._ticks), last_s - seconds + 1)
        return [self._ticks.get(at_s, silent._replace(at_s=at_s)) for at_s in range(first_s, last_s + 1)]

    def _stage(self) -> tuple[str, str]:
        """Name of the stage and which of how many."""
        end_s = 0.0
        for number, stage in enumerate(self._plan.stages, 1):
            end_s += stage.seconds
            if max(self._ticks) < end_s:
                warm = ", warm-up" if stage.is_warm_up else ""
                loop = "open loop" if stage.arrivals is not None else "closed loop"
                return stage.name, f"stage {number} of {len(self._plan.stages)}, {loop}{warm}"
        return "drain", "nothing new is sent; waiting for the last answers"

    def _line(self) -> str:
        recent = self._recent(_SHOWN_S)
        last, count = recent[-1], len(recent)
        lag_s = max(tick.lag_max_s for tick in recent)
        return (
            f"{self._stage()[0]}, {_clock(last.at_s + 1)} of {_clock(self._plan.seconds)}: "
            f"{sum(tick.due for tick in recent) / count:,.1f}/s due, "
            f"{sum(tick.done for tick in recent) / count:,.1f}/s done, {last.in_flight:,} in flight, {self._errors()}, "
            f"{sum(tick.tokens for tick in recent) / count:,.0f} tokens/s, lag {_duration(lag_s)}"
        )

    def _view(self) -> RenderableType:
        recent, tail = self._recent(_SHOWN_S), self._recent(_TAIL_S)
        last, count = recent[-1], len(recent)
        name, about = self._stage()
        head = Table.grid(padding=(0, 2), expand=True)
        head.add_column(no_wrap=True)
        head.add_column(ratio=1)
        head.add_column(no_wrap=True, justify="right")
        bar = ProgressBar(total=self._plan.seconds, completed=min(last.at_s + 1, self._plan.seconds))
        head.add_row(Text(name, "bold"), bar, f"{_clock(last.at_s + 1)} of {_clock(self._plan.seconds)}")
        body = Table.grid(padding=(0, 2))
        for justify in ("left", "right", "left") * 2:
            body.add_column(no_wrap=True, justify="right" if justify == "right" else "left")
        due = sum(tick.due for tick in recent) / count
        done = sum(tick.done for tick in recent) / count
        failed = sum(tick.errors for tick in self._ticks.values())
        lag_s = max(tick.lag_max_s for tick in recent)
        cpu_ratio = sum(tick.cpu_ratio for tick in recent) / count
        body.add_row(
            "due", f"{due:,.1f}/s", _curve([tick.due for tick in tail]),
            "in flight", f"{last.in_flight:,}", _curve([tick.in_flight for tick in tail]),
        )  # fmt: skip
        body.add_row(
            "done", f"{done:,.1f}/s", _curve([tick.done for tick in tail]),
            "errors", Text(f"{failed:,}", "red" if failed else ""), _curve([tick.errors for tick in tail]),
        )  # fmt: skip
        body.add_row(
            "tokens", f"{sum(tick.tokens for tick in recent) / count:,.0f}/s", _curve([tick.tokens for tick in tail]),
            "lag", _duration(lag_s), f"generator's processor {cpu_ratio:.0%}",
        )  # fmt: skip
        lines: list[RenderableType] = [head, Text(about, "dim"), body]
        lines += [Text(f"! {warning}", "yellow") for warning in self._warnings()]
        return Group(*lines)

    def _errors(self) -> str:
        failed = sum(tick.errors for tick in self._ticks.values())
        return f"{failed:,} error{'s' if failed != 1 else ''}" if failed else "no errors"

    def _warnings(self) -> list[str]:
        """What must be known of the figures just now: the generator is the limit, or the queue only grows."""
        recent, found = self._recent(_SHOWN_S), []
        late_s = [tick.lag_max_s for tick in recent if tick.lag_max_s > _LATE_S]
        busy = [tick.cpu_ratio for tick in recent if tick.cpu_ratio > CPU_LIMIT_RATIO]
        if len(busy) >= _BAD_SECONDS:
            found.append(
                f"the generator is the limit: a process of it uses {max(busy):.0%} of a core; give it more --processes"
            )
        elif len(late_s) >= _BAD_SECONDS:
            found.append(
                f"the generator sends late: by up to {_duration(max(late_s))}; the machine is busy with other things"
            )
        # In a closed loop people wait, and the queue is as long as there are people.
        is_open = all(stage.arrivals is not None for stage in self._plan.stages)
        if is_open and max(self._ticks) < self._plan.seconds:
            seen = saturation([self._ticks[at_s] for at_s in sorted(self._ticks)])
            found += [seen.sentence] if seen is not None else []
        return found

    def _summary(self) -> str:
        ticks = self._ticks.values()
        sent, done, failed = (sum(counts) for counts in zip(*((t.sent, t.done, t.errors) for t in ticks), strict=True))
        open_ = sent - done
        left = f", {open_:,} still open" if open_ > 0 else ""
        return f"{sent:,} sent, {done - failed:,} answered, {self._errors()}{left}, in {_clock(max(self._ticks) + 1)}"


def _curve(values: Sequence[int]) -> str:
    """A little curve of one character a second, from 0 to the most."""
    most = max(values, default=0)
    if not most:
        return ""
    # Two seconds a character: it must fit beside another one on 100 columns.
    pairs = [max(values[at : at + 2]) for at in range(len(values) % 2, len(values), 2)]
    return "".join(_BARS[round(value / most * (len(_BARS) - 1))] for value in pairs)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def _duration(value_s: float) -> str:
    return f"{value_s * 1000:.0f} ms" if value_s < 1 else f"{value_s:.1f} s"
