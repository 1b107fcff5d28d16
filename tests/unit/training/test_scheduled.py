"""A schedule at work, with hands that do as they are told: what is written down, what is done, what is said."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from cluster.errors import OurFault, Unavailable, UserError
from registry.drift_store import DriftEntry
from registry.versions import Gate, Lineage, Version
from training.feedback_rows import FeedbackRows
from training.fitting import Interrupted
from training.recipe import Recipe
from training.rows import Message, Row
from training.run_folder import RunFolder
from training.schedule import Schedule
from training.schedule_journal import Entry
from training.scheduled import Scheduled, Turn, journal_of

CHINA = timezone(timedelta(hours=8))
RECIPE = Recipe.model_validate({"name": "hotline", "base": "small", "data": {"rows": ["rows.jsonl"]}})


class Killed(BaseException):
    """What a kill looks like from inside: nothing runs after it."""


@dataclass
class FakeHands:
    """Remembers what was done; each act can be told to fail or to be killed, before or after it is done."""

    folder: Path
    done: list[str] = field(default_factory=list)
    faults: dict[str, list[BaseException]] = field(default_factory=dict)
    kill_before: str = ""
    kill_after: str = ""
    is_good: bool = True
    rows: int = 0
    open_alerts: dict[int, str] = field(default_factory=dict)
    trained: list[Recipe] = field(default_factory=list)
    rollouts: list[int] = field(default_factory=list)
    runs: int = 0

    def recipe(self) -> Recipe:
        self._act("recipe")
        return RECIPE

    def require_possible(self, recipe: Recipe) -> None:
        self._act("require")

    def new_run(self, recipe: Recipe) -> str:
        self.runs += 1
        return f"hotline-{self.runs}"

    def run_of(self, name: str) -> RunFolder:
        return RunFolder(self.folder / "training" / name)

    def alerts(self) -> Sequence[DriftEntry]:
        self._act("alerts")
        return [
            DriftEntry(number, "hotline", 1, 0.0, 1.0, 9, (), "serious", "", by, None)
            for number, by in self.open_alerts.items()
        ]

    def take(self, entry_id: int, by: str) -> None:
        if self.open_alerts[entry_id] not in ("", by):
            raise UserError(f"Drift entry {entry_id} was taken by {self.open_alerts[entry_id]} already.")
        self.open_alerts[entry_id] = by
        self._act("take")

    def feedback(self) -> FeedbackRows:
        self._act("feedback")
        row = Row((Message("user", "问"), Message("assistant", "答")), "feedback")
        return FeedbackRows(tuple(row for _ in range(self.rows)), (), {}, (), self.rows)

    def train(self, recipe: Recipe | None, run: RunFolder) -> None:
        if recipe is not None:
            self.trained.append(recipe)
            if "begin" in self.faults:
                raise self.faults["begin"].pop(0)
            run.path.mkdir(parents=True)
            run.state.write_text("{}")
        self._act("train")

    def publish(self, run: RunFolder) -> Version:
        self._act("publish")
        gates = () if self.is_good else (Gate("exact_match", ">= 0.9", 0.5, False),)
        return Version("hotline", 7, "adapter", "small", "0" * 64, (), Lineage(), {}, gates, "", 0.0, ())

    def canary(self, version: Version, why: str) -> str:
        if not self.is_good:
            raise UserError("hotline 7 has not passed its gates: exact_match must be >= 0.9, is 0.5")
        if version.version not in self.rollouts:
            self.rollouts.append(version.version)
        self._act("canary")
        return "hotline: version 7 over version 6"

    def _act(self, name: str) -> None:
        if self.kill_before == name:
            self.kill_before = ""
            raise Killed
        if self.faults.get(name):
            raise self.faults[name].pop(0)
        self.done.append(name)
        if self.kill_after == name:
            self.kill_after = ""
            raise Killed


class Night:
    """A schedule, its hands, its clock."""

    def __init__(self, folder: Path, **more: Any) -> None:
        document = {"name": "monthly", "recipe": "r.yaml", "every": "month", "canary": True, **more}
        self.hands = FakeHands(folder)
        self.journal = journal_of(folder, "monthly")
        self.schedule = Schedule.model_validate(document)
        self.now = datetime(2026, 10, 20, 12, tzinfo=CHINA)

    def turn(self) -> Turn:
        """A new process each time: nothing is remembered but what is on the disk."""
        return Scheduled(self.schedule, self.journal, self.hands, lambda: self.now).turn()

    def until(self, text: str) -> "Night":
        self.now = datetime.fromisoformat(text).replace(tzinfo=CHINA)
        return self

    @property
    def whats(self) -> list[str]:
        return [entry.what for entry in self.journal.read()]

    def last(self) -> Entry:
        return self.journal.read()[-1]


@pytest.fixture
def night(tmp_path: Path) -> Callable[..., Night]:
    def made(**more: Any) -> Night:
        one = Night(tmp_path, **more)
        one.turn()
        return one

    return made


def test_a_month_goes_from_its_slot_to_its_canary(night: Callable[..., Night]) -> None:
    month = night()
    assert month.turn().wait is not None
    month.until("2026-11-01 02:00").turn()
    assert month.whats == ["watching", "begun", "published", "canary"]
    assert month.last().why == "hotline: version 7 over version 6"
    assert month.turn().wait is not None
    assert month.hands.rollouts == [7]


def test_nothing_is_written_while_nothing_is_due(night: Callable[..., Night]) -> None:
    month = night()
    for _ in range(5):
        assert month.turn().entries == ()
    assert month.whats == ["watching"]


def test_gates_that_are_not_passed_publish_and_say_why_no_canary_begins(night: Callable[..., Night]) -> None:
    month = night()
    month.hands.is_good = False
    month.until("2026-11-01 02:00").turn()
    assert month.whats[-2:] == ["published", "no_canary"]
    assert "exact_match must be >= 0.9" in month.last().why
    assert month.turn().wait is not None


def test_a_rollout_that_runs_already_is_the_reason(night: Callable[..., Night]) -> None:
    month = night()
    month.hands.faults["canary"] = [UserError("a rollout of hotline runs already: version 6, canary 25%")]
    month.until("2026-11-01 02:00").turn()
    assert (month.last().what, month.last().why[:33]) == ("no_canary", "a rollout of hotline runs already")


def test_a_schedule_without_canary_says_the_command(night: Callable[..., Night]) -> None:
    month = night(canary=False)
    month.until("2026-11-01 02:00").turn()
    assert month.last().what == "no_canary"
    assert "fenzhen rollout start hotline 7" in month.last().why


@pytest.mark.parametrize("act", ["recipe", "require", "begin"])
def test_bad_rows_a_bad_recipe_or_too_little_memory_end_it_with_the_sentence(
    night: Callable[..., Night], act: str
) -> None:
    month = night()
    month.hands.faults[act] = [UserError("rows.jsonl:12: the answer\nis empty")]
    month.until("2026-11-01 02:00")
    if act == "recipe":
        # The first look at the recipe is for the run's name: nothing has begun.
        with pytest.raises(UserError):
            month.turn()
        assert month.whats == ["watching"]
        return
    month.turn()
    assert (month.last().what, month.last().why) == ("not_trained", "rows.jsonl:12: the answer is empty")
    assert month.turn().wait is not None


@pytest.mark.parametrize("act", ["train", "publish", "canary"])
def test_what_is_away_is_tried_again_after_a_pause_in_the_same_run(night: Callable[..., Night], act: str) -> None:
    month = night()
    month.hands.faults[act] = [Unavailable("the registry does not answer"), OurFault("odd")]
    month.until("2026-11-01 02:00").turn()
    assert (month.last().what, month.last().why) == ("failed", "the registry does not answer")
    assert month.until("2026-11-01 02:30").turn().wait is not None
    month.until("2026-11-01 03:00").turn()
    assert month.last().what == "failed"
    month.until("2026-11-01 05:00").turn()
    assert month.last().what == "canary"
    assert month.hands.runs == 1
    assert len(month.hands.trained) == 1


def test_what_never_works_is_given_up_and_the_next_month_is_tried(night: Callable[..., Night]) -> None:
    month = night(retries=2)
    month.hands.faults["publish"] = [Unavailable("away")] * 3
    month.until("2026-11-01 02:00").turn()
    for _ in range(3):
        month.now += timedelta(hours=5)
        month.turn()
    assert month.last().what == "gave_up"
    month.until("2026-12-01 02:00").turn()
    assert month.last().what == "canary"
    assert month.hands.runs == 2


ACTS = ("require", "feedback", "take", "train", "publish", "canary")


@pytest.mark.parametrize("act", ACTS)
@pytest.mark.parametrize("moment", ["before", "after"])
def test_killed_before_or_after_any_act_it_ends_as_if_nothing_had_happened(
    night: Callable[..., Night], act: str, moment: str
) -> None:
    month = night(on_drift=True, feedback={"since": "90d", "min_rows": 2})
    month.hands.rows = 3
    month.hands.open_alerts = {4: ""}
    setattr(month.hands, f"kill_{moment}", act)
    month.until("2026-11-01 02:00")
    # A kill says nothing to the journal; the fake's does, as a fault of ours, which is taken out again.
    with pytest.raises(Killed):
        month.turn()
    _take_last_line_out(month)
    month.now += timedelta(minutes=1)
    month.turn()
    assert month.last().what == "canary"
    assert month.whats.count("begun") == 1
    assert month.hands.runs == 1
    assert month.hands.rollouts == [7]
    assert month.hands.open_alerts == {4: "schedule monthly, hotline-1"}


def _take_last_line_out(month: Night) -> None:
    path = journal_of(month.hands.folder, "monthly")._path
    lines = path.read_bytes().splitlines(keepends=True)
    assert b'"failed"' in lines[-1]
    path.write_bytes(b"".join(lines[:-1]))


def test_told_to_stop_it_says_so_and_goes_on_where_it_was(night: Callable[..., Night]) -> None:
    month = night()
    month.hands.faults["train"] = [Interrupted("saved")]
    month.until("2026-11-01 02:00")
    with pytest.raises(KeyboardInterrupt):
        month.turn()
    assert month.last().what == "interrupted"
    month.turn()
    assert month.last().what == "canary"
    assert len(month.hands.trained) == 1


def test_a_fault_of_ours_is_noted_without_its_words_and_raised(night: Callable[..., Night]) -> None:
    month = night()
    month.hands.faults["train"] = [ValueError("a row's text")]
    month.until("2026-11-01 02:00")
    with pytest.raises(ValueError, match="text"):
        month.turn()
    assert (month.last().what, month.last().why) == ("failed", "a fault of ours, ValueError")


# Feedback.


def test_too_few_new_rows_train_nothing_and_leave_alerts_to_others(night: Callable[..., Night]) -> None:
    month = night(on_drift=True, feedback={"since": "90d", "min_rows": 200})
    month.hands.rows = 37
    month.hands.open_alerts = {4: ""}
    month.until("2026-11-01 02:00").turn()
    assert month.last().what == "not_trained"
    assert month.last().why == "too few new rows: feedback gives 37, 200 are asked for"
    assert month.hands.open_alerts == {4: ""}
    assert month.turn().wait is not None


def test_feedback_s_rows_stand_beside_the_recipe_s_and_do_not_stay(night: Callable[..., Night], tmp_path: Path) -> None:
    month = night(feedback={"since": "90d", "min_rows": 2})
    month.hands.rows = 2
    month.until("2026-11-01 02:00").turn()
    (recipe,) = month.hands.trained
    assert [path.name for path in recipe.data.rows] == ["rows.jsonl", "feedback-hotline-1.jsonl"]
    assert not recipe.data.rows[1].exists()
    assert month.last().what == "canary"


# Drift.


def test_two_schedules_never_train_for_the_same_alert(night: Callable[..., Night]) -> None:
    month = night(every=None, on_drift=True)
    month.hands.open_alerts = {4: ""}
    take = month.hands.take

    def other_is_faster(entry_id: int, by: str) -> None:
        month.hands.open_alerts[entry_id] = "schedule elsewhere, hotline-9"
        take(entry_id, by)

    month.hands.take = other_is_faster  # type: ignore[method-assign]
    month.turn()
    assert month.last().what == "not_trained"
    assert "was taken by schedule elsewhere" in month.last().why
    assert month.hands.trained == []


def test_an_alert_is_taken_under_the_run_s_name(night: Callable[..., Night]) -> None:
    month = night(every=None, on_drift=True)
    month.hands.open_alerts = {4: ""}
    month.turn()
    assert month.last().what == "canary"
    assert month.hands.open_alerts[4] == "schedule monthly, hotline-1"
    assert month.turn().wait is not None


def test_the_calendar_does_not_wait_for_alerts_that_cannot_be_read(night: Callable[..., Night]) -> None:
    month = night(on_drift=True)
    month.hands.faults["alerts"] = [Unavailable("no database")]
    month.until("2026-11-01 02:00").turn()
    assert month.last().what == "canary"


def test_a_long_reason_stays_one_line(night: Callable[..., Night]) -> None:
    month = night()
    month.hands.faults["begin"] = [UserError("line\n" * 1000)]
    month.until("2026-11-01 02:00").turn()
    assert len(month.last().why) == 500
    assert "\n" not in month.last().why
