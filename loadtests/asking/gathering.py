"""What the workers of a run report, put together: merged seconds in order, and in the end the outcome."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from loadtests.records.gaps import Gaps, added
from loadtests.records.run import Outcome
from loadtests.records.tick import Tick, merged


@dataclass(frozen=True, slots=True)
class Total:
    """What became of the whole run."""

    outcome: Outcome
    message: str
    saturated_at_s: float | None
    gaps: Mapping[tuple[int, str], Gaps]
    workers: int


@dataclass(slots=True)
class _Part:
    """What one worker has said."""

    heard: int = -1
    """The last second it has reported."""
    is_ended: bool = False
    is_lost: bool = False
    gaps: Mapping[tuple[int, str], Gaps] = field(default_factory=dict)
    unsettled: int = 0
    note: str = ""


class Gathering:
    """Plain: no clock and no channel. `tell` gets each second once all that are alive have reported it."""

    def __init__(self, parts: Sequence[str], tell: Callable[[Sequence[Tick]], None]) -> None:
        self.ticks: list[Tick] = []
        """Of all workers together, those that have been told."""
        self._parts = {name: _Part() for name in parts}
        self._tell = tell
        self._waiting: list[Tick] = []

    @property
    def is_over(self) -> bool:
        """Whether nobody is left who could report anything."""
        return all(part.is_ended or part.is_lost for part in self._parts.values())

    @property
    def running(self) -> tuple[str, ...]:
        """Those of whom more is to come."""
        return tuple(name for name, part in self._parts.items() if not part.is_ended and not part.is_lost)

    def second(self, name: str, tick: Tick) -> None:
        """A worker has closed a second. One that was thought lost is back by this."""
        part = self._parts.get(name)
        if part is None:
            return
        part.is_lost = False
        part.heard = tick.at_s
        # A second that has been told already cannot be told again: what comes late counts for the next one.
        first_s = self.ticks[-1].at_s + 1 if self.ticks else 0
        self._waiting.append(tick._replace(at_s=max(tick.at_s, first_s)))
        self._look()

    def ended(self, name: str, gaps: Mapping[tuple[int, str], Gaps], unsettled: int, note: str) -> None:
        """A worker is done."""
        part = self._parts.get(name)
        if part is None:
            return
        part.is_ended, part.gaps, part.unsettled, part.note = True, gaps, unsettled, note
        self._look()

    def lost(self, name: str) -> None:
        """Nothing more is expected of a worker."""
        self._parts[name].is_lost = True
        self._look()

    def total(self, *, is_interrupted: bool, saturated: tuple[float, str] | None) -> Total:
        """The outcome; call it once, at the end."""
        parts = self._parts.values()
        outcome, sentences = self._judged(is_interrupted=is_interrupted, saturated=saturated)
        gaps = {key: added(part.gaps[key] for part in parts if key in part.gaps) for part in parts for key in part.gaps}
        return Total(outcome, " ".join(sentences), saturated[0] if saturated else None, gaps, len(self._parts))

    def _judged(self, *, is_interrupted: bool, saturated: tuple[float, str] | None) -> tuple[Outcome, list[str]]:
        sentences = []
        lost = {name: part.heard for name, part in self._parts.items() if not part.is_ended}
        if lost:
            last_s = min(lost.values()) + 1
            sentences.append(
                f"{len(lost)} of {len(self._parts)} workers went away after {last_s} s: their load is missing since."
            )
        if unsettled := sum(part.unsettled for part in self._parts.values()):
            sentences.append(f"{unsettled} requests were in flight when it ended, and are not counted.")
        sentences += sorted({f"The generator: {part.note}." for part in self._parts.values() if part.note})
        if is_interrupted:
            return "interrupted", sentences
        if len(lost) == len(self._parts):
            return "failed", ["All workers of the generator are gone."]
        if saturated:
            return "saturated", [saturated[1], *sentences]
        return "finished", sentences

    def _look(self) -> None:
        """Tell the seconds that nobody can add to any more."""
        heard = [part.heard for part in self._parts.values() if not part.is_ended and not part.is_lost]
        until_s = min(heard) if heard else max((tick.at_s for tick in self._waiting), default=-1)
        ready = merged([tick for tick in self._waiting if tick.at_s <= until_s])
        if ready:
            self._waiting = [tick for tick in self._waiting if tick.at_s > until_s]
            self.ticks += ready
            self._tell(ready)
