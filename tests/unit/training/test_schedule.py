"""When a schedule is due: a plain function of what has happened, so every night can be lived through in a moment."""

from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from cluster.errors import UserError
from registry.drift import Level
from registry.drift_store import DriftEntry
from training.schedule import (
    Begin,
    Decision,
    GiveUp,
    GoOn,
    Schedule,
    Wait,
    Watching,
    decide,
    last_slot,
    next_slot,
    read_schedule,
)
from training.schedule_journal import Entry, What

CHINA = timezone(timedelta(hours=8))
HOUR = timedelta(hours=1)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=CHINA)


def monthly(**more: Any) -> Schedule:
    return Schedule.model_validate({"name": "hotline-monthly", "recipe": "r.yaml", "every": "month", **more})


def alert(entry_id: int, level: Level = "serious", taken_by: str = "") -> DriftEntry:
    return DriftEntry(entry_id, "hotline", 3, 0.0, 1.0, 1000, (), level, "", taken_by, None)


def entry(when: str, what: What, **more: Any) -> Entry:
    return Entry(at(when), what, "because", **more)


WATCHED = entry("2026-10-15 12:00", "watching")


def done(when: str, slot: str = "", run: str = "r1", drift: tuple[int, ...] = (), end: What = "canary") -> list[Entry]:
    """A run from its beginning to its end."""
    begun = entry(when, "begun", run=run, slot=slot, drift=drift)
    return [begun, Entry(at(when) + 3 * HOUR, end, "because", run)]


def begun_for(decision: Decision) -> str:
    assert isinstance(decision, Begin), decision
    return decision.slot


# The calendar.


def test_a_new_schedule_owes_nothing_for_the_past() -> None:
    assert isinstance(decide(monthly(), (), (), at("2026-11-20 12:00")), Watching)
    wait = decide(monthly(), [WATCHED], (), at("2026-10-20 12:00"))
    assert wait == Wait("next run 2026-11-01 02:00", at("2026-11-01 02:00"))


@pytest.mark.parametrize(
    ("every", "now", "last", "next_one"),
    [
        ("month", "2026-11-20 12:00", "2026-11-01 02:00", "2026-12-01 02:00"),
        ("month", "2026-12-31 23:59", "2026-12-01 02:00", "2027-01-01 02:00"),
        ("month", "2027-01-01 01:59", "2026-12-01 02:00", "2027-01-01 02:00"),
        ("month", "2027-01-01 02:00", "2027-01-01 02:00", "2027-02-01 02:00"),
        ("month", "2027-01-31 12:00", "2027-01-01 02:00", "2027-02-01 02:00"),
        ("month", "2028-02-29 12:00", "2028-02-01 02:00", "2028-03-01 02:00"),
        ("week", "2026-11-22 12:00", "2026-11-16 02:00", "2026-11-23 02:00"),
        ("week", "2026-11-23 01:00", "2026-11-16 02:00", "2026-11-23 02:00"),
        ("week", "2026-11-23 02:00", "2026-11-23 02:00", "2026-11-30 02:00"),
        ("day", "2026-11-23 01:59", "2026-11-22 02:00", "2026-11-23 02:00"),
        ("day", "2026-11-23 02:00", "2026-11-23 02:00", "2026-11-24 02:00"),
    ],
)
def test_slots_lie_on_the_first_on_mondays_and_on_each_day(every: str, now: str, last: str, next_one: str) -> None:
    schedule, moment = monthly(every=every), datetime.fromisoformat(now)
    assert last_slot(schedule, moment) == datetime.fromisoformat(last)
    assert next_slot(schedule, moment) == datetime.fromisoformat(next_one)


def test_the_month_s_slot_is_due_from_its_minute_on() -> None:
    assert isinstance(decide(monthly(), [WATCHED], (), at("2026-11-01 01:59:59")), Wait)
    assert begun_for(decide(monthly(), [WATCHED], (), at("2026-11-01 02:00"))) == "2026-11-01T02:00:00"


def test_what_was_done_for_a_slot_is_not_done_again() -> None:
    journal = [WATCHED, *done("2026-11-01 02:00", "2026-11-01T02:00:00")]
    assert isinstance(decide(monthly(), journal, (), at("2026-11-30 23:00")), Wait)
    assert begun_for(decide(monthly(), journal, (), at("2026-12-01 02:00:30"))) == "2026-12-01T02:00:00"


@pytest.mark.parametrize("end", ["no_canary", "not_trained", "gave_up"])
def test_a_slot_that_came_to_nothing_is_settled_as_well(end: What) -> None:
    journal = [WATCHED, *done("2026-11-01 02:00", "2026-11-01T02:00:00", end=end)]
    assert isinstance(decide(monthly(), journal, (), at("2026-11-02 02:00")), Wait)


def test_missed_months_are_caught_up_with_one_run() -> None:
    journal = [WATCHED, *done("2026-11-01 02:00", "2026-11-01T02:00:00")]
    now = at("2027-09-17 12:00")
    assert begun_for(decide(monthly(), journal, (), now)) == "2027-09-01T02:00:00"
    journal += done("2027-09-17 12:00", "2027-09-01T02:00:00", run="r2")
    wait = decide(monthly(), journal, (), at("2027-09-17 16:00"))
    assert isinstance(wait, Wait)
    assert wait.until == at("2027-10-01 02:00")


def test_a_run_that_lasts_beyond_the_next_slot_is_followed_by_one_more() -> None:
    schedule = monthly(every="day")
    begun = entry("2026-11-01 02:00", "begun", run="r1", slot="2026-11-01T02:00:00")
    ended = entry("2026-11-03 07:00", "canary", run="r1")
    assert begun_for(decide(schedule, [WATCHED, begun, ended], (), at("2026-11-03 07:01"))) == "2026-11-03T02:00:00"


# Clocks.


@pytest.mark.parametrize("back", [timedelta(seconds=30), HOUR, timedelta(hours=20)])
def test_a_clock_that_steps_back_over_a_slot_makes_no_second_run(back: timedelta) -> None:
    journal = [WATCHED, *done("2026-11-01 02:00", "2026-11-01T02:00:00")]
    now = at("2026-11-01 02:00:10") - back
    assert isinstance(decide(monthly(), journal, (), now), Wait)
    assert isinstance(decide(monthly(), journal, (), at("2026-11-01 02:00:10")), Wait)


def test_a_clock_that_stood_years_ahead_does_not_silence_the_schedule() -> None:
    journal = [WATCHED, *done("2031-05-01 02:00", "2031-05-01T02:00:00")]
    now = at("2026-11-20 12:00")
    said = decide(monthly(), journal, (), now)
    assert isinstance(said, Watching)
    journal.append(Entry(now, "watching", said.why))
    assert isinstance(decide(monthly(), journal, (), at("2026-11-30 12:00")), Wait)
    assert begun_for(decide(monthly(), journal, (), at("2026-12-01 03:00"))) == "2026-12-01T02:00:00"


def test_a_failure_noted_by_a_clock_years_ahead_is_not_waited_for() -> None:
    begun = entry("2031-05-01 02:00", "begun", run="r1", slot="2031-05-01T02:00:00")
    failed = entry("2031-05-01 03:00", "failed", run="r1")
    journal = [WATCHED, begun, failed, entry("2026-11-20 12:00", "watching")]
    assert isinstance(decide(monthly(), journal, (), at("2026-11-20 12:01")), GoOn)


def test_a_slot_in_the_hour_that_summer_time_leaves_out_comes_with_the_hour_after() -> None:
    # On 2027-03-28 Berlin's clocks go from 02:00 to 03:00: 02:30 is never shown.
    schedule = monthly(every="day", at="02:30")
    journal = [Entry(datetime.fromisoformat("2027-03-27T12:00:00+01:00"), "watching", "")]
    before, after = (
        datetime.fromisoformat("2027-03-28T01:59:00+01:00"),
        datetime.fromisoformat("2027-03-28T03:00:00+02:00"),
    )
    assert isinstance(decide(schedule, journal, (), before), Wait)
    assert begun_for(decide(schedule, journal, (), after)) == "2027-03-28T02:30:00"


def test_a_slot_in_the_hour_that_winter_time_repeats_comes_once() -> None:
    # On 2026-10-25 Berlin's clocks show 02:30 twice.
    schedule = monthly(every="day", at="02:30")
    first, second = (datetime.fromisoformat(f"2026-10-25T02:30:00+0{hours}:00") for hours in (2, 1))
    journal = [Entry(datetime.fromisoformat("2026-10-24T12:00:00+02:00"), "watching", "")]
    slot = begun_for(decide(schedule, journal, (), first))
    journal += [Entry(first, "begun", "", "r1", slot), Entry(first, "canary", "", "r1")]
    assert isinstance(decide(schedule, journal, (), second), Wait)


# Drift.


def on_drift(**more: Any) -> Schedule:
    return Schedule.model_validate({"name": "drift", "recipe": "r.yaml", "on_drift": True, **more})


def test_alerts_begin_one_run_for_all_of_them() -> None:
    decision = decide(on_drift(), [WATCHED], [alert(4), alert(7, "urgent")], at("2026-10-20 12:00"))
    assert isinstance(decision, Begin)
    assert (decision.slot, decision.drift) == ("", (4, 7))


@pytest.mark.parametrize("level", ["notice", "warning"])
def test_alerts_that_ask_for_a_look_only_do_not_train(level: Level) -> None:
    assert isinstance(decide(on_drift(), [WATCHED], [alert(4, level)], at("2026-10-20 12:00")), Wait)


def test_an_alert_that_somebody_sees_to_is_left_to_them() -> None:
    assert isinstance(decide(on_drift(), [WATCHED], [alert(4, taken_by="anna")], at("2026-10-20 12:00")), Wait)


def test_an_alert_for_which_nothing_was_trained_is_not_looked_at_each_minute() -> None:
    journal = [WATCHED, *done("2026-10-20 12:00", drift=(4,), end="not_trained")]
    assert isinstance(decide(on_drift(), journal, [alert(4)], at("2026-12-20 12:00")), Wait)
    assert isinstance(decide(on_drift(), journal, [alert(4), alert(5)], at("2026-12-20 12:00")), Begin)


def test_alerts_soon_after_a_run_wait_for_the_pause() -> None:
    journal = [WATCHED, *done("2026-10-20 12:00", drift=(4,))]
    wait = decide(on_drift(drift_pause="7d"), journal, [alert(5)], at("2026-10-22 12:00"))
    assert isinstance(wait, Wait)
    assert wait.until == at("2026-10-27 12:00")
    assert isinstance(decide(on_drift(), journal, [alert(5)], at("2026-10-27 12:00")), Begin)


def test_the_calendar_does_not_wait_for_the_pause_and_takes_alerts_along() -> None:
    schedule = monthly(on_drift=True)
    journal = [WATCHED, *done("2026-10-30 12:00", drift=(4,))]
    decision = decide(schedule, journal, [alert(5)], at("2026-11-01 02:00"))
    assert isinstance(decision, Begin)
    assert (decision.slot, decision.drift) == ("2026-11-01T02:00:00", (5,))


def test_a_schedule_without_drift_does_not_look_at_alerts() -> None:
    assert isinstance(decide(monthly(), [WATCHED], [alert(5)], at("2026-10-20 12:00")), Wait)


def test_a_schedule_on_drift_alone_waits_for_no_date() -> None:
    assert decide(on_drift(), [WATCHED], (), at("2026-10-20 12:00")) == Wait("no alert of drift", None)


# Runs that did not end.

AGAIN: tuple[What, ...] = ("resumed", "failed")
BEGUN = entry("2026-11-01 02:00", "begun", run="r1", slot="2026-11-01T02:00:00")


def steps(*whats: What) -> list[Entry]:
    """What followed the beginning, an hour after each other."""
    later = [Entry(BEGUN.at + HOUR * number, what, "disk full", "r1") for number, what in enumerate(whats, start=1)]
    return [WATCHED, BEGUN, *later]


def after(journal: Sequence[Entry], passed: timedelta, **more: Any) -> Decision:
    return decide(monthly(**more), journal, (), journal[-1].at + passed)


def test_a_run_killed_right_after_it_was_written_down_goes_on_under_the_same_name() -> None:
    decision = after([WATCHED, BEGUN], timedelta(seconds=1))
    assert isinstance(decision, GoOn)
    assert decision.attempt.run == "r1"
    assert decision.attempt.slot == "2026-11-01T02:00:00"


def test_a_half_done_run_goes_on_even_when_the_next_slot_has_come() -> None:
    decision = decide(monthly(), [WATCHED, BEGUN], [alert(9)], at("2027-02-01 02:00"))
    assert isinstance(decision, GoOn)


def test_an_interrupted_run_goes_on_at_once_however_often() -> None:
    again: tuple[What, ...] = ("interrupted", "resumed")
    journal = steps(*(again * 10), "interrupted")
    assert isinstance(after(journal, timedelta(seconds=1)), GoOn)


def test_a_run_killed_between_publishing_and_canary_goes_on() -> None:
    assert isinstance(after(steps("published"), timedelta(seconds=1)), GoOn)


def test_a_failed_run_is_tried_again_after_a_pause_that_doubles() -> None:
    assert isinstance(after(steps("failed"), timedelta(minutes=59)), Wait)
    assert isinstance(after(steps("failed"), HOUR), GoOn)
    twice = steps("failed", "resumed", "failed")
    assert isinstance(after(twice, 2 * HOUR - timedelta(seconds=1)), Wait)
    assert isinstance(after(twice, 2 * HOUR), GoOn)


def test_no_pause_is_longer_than_a_day() -> None:
    journal = steps("failed", *(AGAIN * 12))
    assert isinstance(after(journal, timedelta(days=1), retries=20), GoOn)


def test_a_run_that_fails_too_often_is_given_up() -> None:
    journal = steps("failed", *(AGAIN * 3))
    decision = after(journal, timedelta(days=30))
    assert isinstance(decision, GiveUp)
    assert "4 times" in decision.why
    assert "disk full" in decision.why
    journal.append(Entry(journal[-1].at, "gave_up", decision.why, "r1"))
    assert isinstance(after(journal, HOUR), Wait)


def test_a_run_that_kills_its_process_each_time_is_not_tried_for_ever() -> None:
    assert isinstance(after(steps("resumed"), timedelta(minutes=1)), Wait)
    assert isinstance(after(steps("resumed"), 2 * HOUR), GoOn)
    assert isinstance(after(steps("resumed", "resumed", "resumed"), timedelta(days=9)), GiveUp)


def test_waiting_for_a_retry_says_what_went_wrong() -> None:
    wait = after(steps("failed"), timedelta(minutes=1))
    assert isinstance(wait, Wait)
    assert "disk full" in wait.why
    assert wait.until == at("2026-11-01 04:00")


def test_looking_twice_at_the_same_moment_decides_the_same() -> None:
    for journal in ([], [WATCHED], [WATCHED, BEGUN], steps("failed"), steps("canary")):
        now = at("2026-11-20 12:00")
        assert decide(monthly(), journal, (), now) == decide(monthly(), journal, (), now)


# The file.


def test_a_schedule_is_read_with_its_recipe_beside_it(tmp_path: Path) -> None:
    file = tmp_path / "hotline-monthly.yaml"
    file.write_text(
        'name: hotline-monthly\nrecipe: hotline.yaml\nevery: month\nat: "02:30"\non_drift: true\n'
        "feedback: {since: 90d, min_rows: 200}\ncanary: true\nplan: {shadow: 10m, steps: [5, 50], bake: 1h30m}\n",
        encoding="utf-8",
    )
    schedule = read_schedule(file)
    assert schedule.recipe == tmp_path / "hotline.yaml"
    assert schedule.feedback is not None
    assert schedule.feedback.since == 90 * 86400
    plan = schedule.plan.plan("anna", "monthly")
    assert (plan.steps, plan.bake_s, plan.shadow_s) == ((0.05, 0.5), 5400.0, 600.0)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("recipe: r.yaml\nevery: month\n", "name: this key is missing"),
        ("name: a\nevery: month\n", "recipe: this key is missing"),
        ("name: a\nrecipe: r.yaml\n", "nothing is ever due"),
        ("name: a\nrecipe: r.yaml\nevery: year\n", "line 3: every"),
        ("name: a\nrecipe: r.yaml\nevery: month\nat: 12:30\n", 'in quotes, at: "12:30"'),
        ('name: a\nrecipe: r.yaml\nevery: month\nat: "25:00"\n', "line 4: at"),
        ("name: a\nrecipe: r.yaml\nevery: month\nfeedback: {since: 3 weeks}\n", "is no duration"),
        ("name: a\nrecipe: r.yaml\nevery: month\nfeedback: {min_row: 3}\n", "did you mean min_rows?"),
        ("name: a\nrecipe: r.yaml\nevery: month\nplan: {steps: [50, 5]}\n", "must ascend"),
        ("name: a\nrecipe: r.yaml\nevery: month\ncanery: true\n", "did you mean canary?"),
        ("name: a\nrecipe: r.yaml\nevery: month\nretry_pause: 1s\n", "retry_pause"),
        ("", "is empty"),
    ],
)
def test_a_wrong_schedule_is_told_with_what_to_mend(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "s.yaml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(UserError) as caught:
        read_schedule(file)
    assert said in str(caught.value)
    assert "s.yaml" in str(caught.value)


def test_a_schedule_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist"):
        read_schedule(tmp_path / "none.yaml")
