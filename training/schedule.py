"""When to train again: a schedule as a closed YAML file, and what is due as a plain function of what has happened.

nothing yet            -> watched from now on: slots of the past are nobody's
begun, no end          -> the same run goes on, at once after a kill, after a pause after a failure, up to a bound
a slot has passed      -> one run, however many slots were missed
an alert of drift      -> one run for all alerts that nobody has taken
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import BeforeValidator, Field, ValidationError, field_validator, model_validator

from cluster.closed import Closed, Name
from cluster.durations import seconds_of
from cluster.errors import UserError
from cluster.settings_errors import sentences
from cluster.yaml_nodes import MAX_BYTES, read_yaml
from registry.drift_store import DriftEntry
from registry.rollout_states import Plan
from training.schedule_journal import Attempt, Entry, attempt_of

Seconds = Annotated[float, BeforeValidator(seconds_of)]

_START: Final = "docs/training-publish.md has one to start from"
# A clock that was set by less is taken for one that was corrected: what was done in that time is done.
_SET_BACK: Final = timedelta(days=1)
_LONGEST_PAUSE: Final = timedelta(days=1)
# Below these an alert asks for a look or an evaluation, `registry.drift`.
_TRAINS: Final = ("serious", "urgent")
_SAID: Final = {"month": "monthly", "week": "weekly", "day": "daily"}


def lasting(default: str, **more: Any) -> Any:
    """A key of a duration; its default is written as people write it."""
    return Field(default=default, **more)


class FeedbackPart(Closed):
    """Rows of what people said of answers, beside those of the recipe."""

    since: Seconds = lasting("90d", gt=0, description="How far back: 90d.")
    min_rows: int = Field(default=200, ge=1, description="With fewer nothing is trained, and the reason says so.")
    min_rating: int = Field(default=5, ge=1, le=5, description="From it on an answer is learnt as it was given.")


class CanaryPlan(Closed):
    """How its rollout goes: what `fenzhen rollout start` is told."""

    shadow: Seconds = lasting("10m", ge=0, description="First copies only, so long.")
    shadow_ratio: float = Field(default=0.1, ge=0, le=1, description="Requests copied.")
    steps: tuple[float, ...] = Field(default=(5, 25, 50), min_length=1, description="Percent of the conversations.")
    bake: Seconds = lasting("30m", ge=0, description="Each step lasts at least so long.")
    loading: Seconds = lasting("15m", gt=0, description="Given up if not loaded by then.")

    @field_validator("steps")
    @classmethod
    def _ascend(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if list(value) != sorted(set(value)) or not 0 < value[0] <= value[-1] < 100:
            raise ValueError("must ascend and lie above 0 and below 100 percent")
        return value

    def plan(self, started_by: str, why: str) -> Plan:
        """As the controller takes it."""
        steps = tuple(step / 100 for step in self.steps)
        return Plan(steps, self.bake, self.shadow, self.shadow_ratio, self.loading, started_by, why)


class Schedule(Closed):
    """All of a schedule."""

    name: Name = Field(description="What its journal is called, and who takes alerts.")
    recipe: Path = Field(description="How to train; relative to this file.")
    every: Literal["month", "week", "day"] | None = Field(
        default=None, description="On the first of the month, on Monday, or each day. Without it: on alerts only."
    )
    at: str = Field(default="02:00", pattern=r"^([01]\d|2[0-3]):[0-5]\d$", description="Local time, in quotes.")
    on_drift: bool = Field(
        default=False, description="On an alert of level serious or urgent of the recipe's name as well."
    )
    drift_pause: Seconds = lasting("7d", ge=0, description="Alerts that come sooner after the last run wait so long.")
    feedback: FeedbackPart | None = Field(default=None, description="Without it: the recipe's rows only.")
    canary: bool = Field(default=False, description="Start the rollout of what has passed its gates.")
    plan: CanaryPlan = CanaryPlan()
    serves: Name | None = Field(default=None, description="The served model below it. [default: the recipe's base]")
    retries: int = Field(default=3, ge=0, le=20, description="So often a run that failed is gone on with.")
    retry_pause: Seconds = lasting("1h", ge=60, description="Before it; twice as long each time.")

    @field_validator("at", mode="before")
    @classmethod
    def _quoted(cls, value: object) -> object:
        if isinstance(value, int):
            raise ValueError('must be in quotes, at: "12:30": YAML reads it as a number')  # noqa: TRY004
        return value

    @model_validator(mode="after")
    def _ever_due(self) -> "Schedule":
        if self.every is None and not self.on_drift:
            raise ValueError("every: without it and without on_drift nothing is ever due")
        return self


@dataclass(frozen=True, slots=True)
class Watching:
    """To be written down: from this moment on slots count."""

    why: str


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing is due."""

    why: str
    until: datetime | None
    """None: until something happens."""


@dataclass(frozen=True, slots=True)
class Begin:
    """A new run."""

    why: str
    slot: str
    """The slot that it is for, as the journal keeps it; empty: for alerts only."""
    drift: tuple[int, ...]
    """Alerts that it takes, if nobody has before."""


@dataclass(frozen=True, slots=True)
class GoOn:
    """The run that has not come to its end."""

    why: str
    attempt: Attempt


@dataclass(frozen=True, slots=True)
class GiveUp:
    """The run that will not come to its end."""

    why: str
    attempt: Attempt


Decision = Watching | Wait | Begin | GoOn | GiveUp


def decide(schedule: Schedule, journal: Sequence[Entry], alerts: Sequence[DriftEntry], now: datetime) -> Decision:
    """What is due at this moment, which carries its time zone."""
    if not journal:
        return Watching("watched from now on")
    if _is_ahead(journal[-1], now):
        return Watching(f"the clock was set back from {journal[-1].at:%Y-%m-%d}: slots count from now on")
    if (attempt := attempt_of(journal)) is not None:
        return _go_on(schedule, attempt, now)
    untaken = tuple(each.entry_id for each in alerts if each.level in _TRAINS and not each.taken_by)
    slot = last_slot(schedule, _local(now))
    if slot is not None and slot > _settled(journal, now):
        return Begin(f"the {_SAID[schedule.every or 'day']} run of {slot:%Y-%m-%d %H:%M}", slot.isoformat(), untaken)
    return _on_drift(schedule, journal, untaken, now)


def last_slot(schedule: Schedule, now: datetime) -> datetime | None:
    """The latest slot of the calendar that has come, by the wall clock."""
    return None if schedule.every is None else _slot(schedule, now, is_next=False)


def next_slot(schedule: Schedule, now: datetime) -> datetime | None:
    """The first slot of the calendar that is still to come, by the wall clock."""
    return None if schedule.every is None else _slot(schedule, now, is_next=True)


def read_schedule(path: Path) -> Schedule:
    """The schedule in a file. Raises UserError if it cannot be read or is wrong."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except FileNotFoundError as error:
        raise UserError(f"{path} does not exist; {_START}") from error
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from error
    document = read_yaml(data, str(path), first_key="recipe", start=_START)
    try:
        schedule = Schedule.model_validate(document.value)
    except ValidationError as error:
        raise UserError("\n".join(sentences(error, document, Schedule))) from error
    recipe = path.absolute().parent / schedule.recipe.expanduser()
    return schedule.model_copy(update={"recipe": recipe})


def _go_on(schedule: Schedule, attempt: Attempt, now: datetime) -> Decision:
    last = attempt.last
    if attempt.faults > schedule.retries:
        return GiveUp(f"{attempt.run} has come to no end {attempt.faults} times; {last.why}", attempt)
    if not attempt.faults or last.what == "interrupted":
        return GoOn("it was interrupted", attempt)
    if attempt.faults == 1 and last.what != "failed":
        return GoOn("it was killed", attempt)
    pause = min(timedelta(seconds=schedule.retry_pause) * 2 ** (attempt.faults - 1), _LONGEST_PAUSE)
    if now < last.at + pause and not _is_ahead(last, now):
        return Wait(f"{attempt.run} is tried again later: {last.why}", last.at + pause)
    return GoOn(f"tried again, failed {attempt.faults} times", attempt)


def _on_drift(schedule: Schedule, journal: Sequence[Entry], untaken: tuple[int, ...], now: datetime) -> Decision:
    upcoming = next_slot(schedule, _local(now))
    until = None if upcoming is None else upcoming.replace(tzinfo=now.tzinfo)
    # What was looked at and not trained for is not looked at each minute.
    seen = {entry_id for entry in journal for entry_id in entry.drift}
    new = tuple(entry_id for entry_id in untaken if entry_id not in seen)
    if not (schedule.on_drift and new):
        return Wait(f"next run {upcoming:%Y-%m-%d %H:%M}" if upcoming else "no alert of drift", until)
    begun = [entry.at for entry in journal if entry.what == "begun" and not _is_ahead(entry, now)]
    earliest = begun[-1] + timedelta(seconds=schedule.drift_pause) if begun else now
    if now < earliest:
        said = f"alerts of drift wait until {earliest:%Y-%m-%d %H:%M}: the last run is not long ago"
        return Wait(said, earliest if until is None else min(earliest, until))
    return Begin(f"drift: alert {', '.join(map(str, new))}", "", new)


def _settled(journal: Sequence[Entry], now: datetime) -> datetime:
    """The slot, or the moment, up to which nothing is owed any more."""
    first = max(number for number, entry in enumerate(journal) if entry.what == "watching")
    slots = [datetime.fromisoformat(entry.slot) for entry in journal[first:] if entry.slot]
    return max([_local(journal[first].at.astimezone(now.tzinfo)), *slots])


def _is_ahead(entry: Entry, now: datetime) -> bool:
    """Whether it was written by a clock that stood wrong then, or stands wrong now."""
    return entry.at > now + _SET_BACK


def _local(now: datetime) -> datetime:
    """By the wall clock: an hour that a summer's night leaves out or says twice makes no slot more or less."""
    return now.replace(tzinfo=None)


def _slot(schedule: Schedule, now: datetime, *, is_next: bool) -> datetime:
    at = time.fromisoformat(schedule.at)
    today = now.date()
    match schedule.every:
        case "month":
            first = today.replace(day=1)
            days = [(first - timedelta(days=1)).replace(day=1), first, (first + timedelta(days=32)).replace(day=1)]
        case "week":
            monday = today - timedelta(days=today.weekday())
            days = [monday - timedelta(days=7), monday, monday + timedelta(days=7)]
        case _:
            days = [today - timedelta(days=1), today, today + timedelta(days=1)]
    slots = [datetime.combine(day, at) for day in days]
    return min(slot for slot in slots if slot > now) if is_next else max(slot for slot in slots if slot <= now)
