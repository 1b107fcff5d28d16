"""The machine of rollouts: whatever is seen, it goes one step at a time, and back from everywhere."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.rollout import JUDGE, UNSERVED_S, Hold, Order, Rollout, Seen, Verb, duty_after, refusal, step
from registry.rollout_states import (
    Canary,
    Done,
    Duty,
    Loading,
    Pending,
    Plan,
    Promoted,
    Promoting,
    Reloading,
    RolledBack,
    RollingBack,
    Shadow,
    State,
    as_configured,
)
from tests.fakes.rollouts import BASE, adapter_release, rollout, verdict

PLAN = Plan(steps=(0.05, 0.25, 0.5), bake_s=1800.0, shadow_s=600.0, shadow_ratio=0.1)
FORWARD: dict[str, tuple[str, ...]] = {
    "pending": ("loading",),
    "loading": ("shadow",),
    "shadow": ("canary 1/3",),
    "canary 1/3": ("canary 2/3",),
    "canary 2/3": ("canary 3/3",),
    "canary 3/3": ("promoting",),
    "promoting": ("promoted",),
    "promoted": ("done",),
    # What cannot be loaded again stays as it is.
    "reloading": ("rolling back", "done"),
    "rolling back": ("rolled back",),
    "done": (),
    "rolled back": (),
}
BACK = {"pending": "rolled back", "loading": "rolled back"} | dict.fromkeys(
    ("shadow", "canary 1/3", "canary 2/3", "canary 3/3", "promoting", "promoted"), "rolling back"
)
RATIOS = {"canary 1/3": 0.05, "canary 2/3": 0.25, "canary 3/3": 0.5, "promoting": 0.5, "promoted": 1.0}
RATIOS |= {"done": 1.0, "reloading": 1.0}

STATES: list[State] = [
    Pending(0.0),
    Loading(0.0),
    Shadow(0.0),
    Canary(0.0, 0),
    Canary(0.0, 1),
    Canary(0.0, 2),
    Promoting(0.0),
    Promoted(0.0),
    Done(0.0),
    Reloading(0.0, "by hand", "anna"),
    RollingBack(0.0, "by hand", "anna"),
    RolledBack(0.0, "by hand", "anna"),
]
VERBS: tuple[Verb, ...] = ("promote", "hold", "resume", "roll_back")
SECONDS = st.one_of(st.just(0.0), st.floats(0, 1e9))

orders = st.builds(
    Order, st.integers(1, 9), st.sampled_from(VERBS), st.just("anna"), st.just(""), st.sampled_from(["", *FORWARD])
)
sightings = st.builds(
    Seen,
    verdict=st.sampled_from([None, *map(verdict, ("promote", "hold", "review", "roll_back"))]),  # type: ignore[arg-type]
    watched_s=SECONDS,
    is_in_force=st.booleans(),
    unserved_s=SECONDS,
    fault=st.sampled_from(["", "a digest does not match"]),
    are_loaded=st.booleans(),
    are_aliases_moved=st.booleans(),
    order=st.none() | orders,
)
rollouts = st.builds(
    lambda state, hold: rollout(state, plan=PLAN, canary=adapter_release(2)) if hold is None else replace(
        rollout(state, plan=PLAN), hold=hold
    ),
    st.sampled_from(STATES),
    st.sampled_from([None, Hold("anna", "lunch")]),
)  # fmt: skip


def stages(first: Rollout, *seen: Seen) -> list[str]:
    """The stages that follow from what is seen, each once."""
    found, now = [first.stage], first
    for number, each in enumerate(seen):
        now = step(now, each, float(number))
        if now.stage != found[-1]:
            found.append(now.stage)
    return found


@given(rollouts, st.lists(sightings, max_size=30))
def test_whatever_is_seen_no_step_is_passed_over(first: Rollout, seen: list[Seen]) -> None:
    now = first
    for each in seen:
        after = step(now, each, 1e9)
        if after.stage != now.stage:
            assert after.stage in (*FORWARD[now.stage], BACK.get(now.stage))
        now = after


@given(rollouts, sightings)
def test_the_share_is_the_plan_s_and_nothing_else(first: Rollout, seen: Seen) -> None:
    after = step(first, seen, 1.0)
    assert after.canary_ratio == RATIOS.get(after.stage, 0.0)


@given(rollouts, sightings)
def test_a_rollback_by_hand_goes_through_from_everywhere(first: Rollout, seen: Seen) -> None:
    after = step(first, replace(seen, order=Order(1, "roll_back", "anna", "complaints")), 1.0)
    if first.stage in BACK:
        assert after.stage == BACK[first.stage]
        assert (after.state.reason, after.state.by) == ("complaints", "anna")  # type: ignore[union-attr]
        assert after.hold is None
    else:
        assert after.canary_ratio == first.canary_ratio or after.canary_ratio == 0


@given(rollouts, sightings)
def test_what_is_over_stays_over(first: Rollout, seen: Seen) -> None:
    if first.is_over:
        assert step(first, seen, 1.0) == first


@given(rollouts, sightings)
def test_without_good_evidence_or_a_person_no_step_goes_on(first: Rollout, seen: Seen) -> None:
    after = step(first, seen, 1.0)
    if isinstance(first.state, Canary) and after.stage in FORWARD[first.stage]:
        is_ordered = seen.order is not None and seen.order.verb == "promote" and not refusal(first, seen)
        is_good = seen.verdict is not None and seen.verdict.answer == "promote" and seen.watched_s >= PLAN.bake_s
        assert seen.is_in_force
        assert seen.unserved_s == 0
        assert is_ordered or (is_good and first.hold is None)


@given(rollouts, sightings)
def test_a_verdict_against_it_takes_it_back_wherever_requests_go_to_it(first: Rollout, seen: Seen) -> None:
    after = step(first, replace(seen, verdict=verdict("roll_back"), order=None), 1.0)
    if isinstance(first.state, Shadow | Canary | Promoting | Promoted):
        assert after.state == RollingBack(1.0, "scripted: roll_back", JUDGE)


def test_the_whole_way_takes_each_step_its_own_evidence_and_time() -> None:
    good = Seen(watched_s=1800.0, is_in_force=True, verdict=verdict("promote"), are_loaded=True, are_aliases_moved=True)
    first = rollout(plan=replace(PLAN, loading_s=1e6))
    assert stages(first, *[good] * 9) == [
        "pending", "loading", "shadow", "canary 1/3", "canary 2/3", "canary 3/3", "promoting", "promoted", "done",
    ]  # fmt: skip
    early = replace(good, watched_s=1799.0)
    assert stages(rollout(Canary(0.0, 0), plan=PLAN), *[early] * 9) == ["canary 1/3"]
    unsure = replace(good, verdict=verdict("hold"))
    assert stages(rollout(Canary(0.0, 0), plan=PLAN), *[unsure] * 9) == ["canary 1/3"]


def test_a_review_waits_for_a_person() -> None:
    waiting = Seen(watched_s=1e6, is_in_force=True, verdict=verdict("review"))
    for state in (Shadow(0.0), Canary(0.0, 1), Promoted(0.0)):
        first = rollout(state, plan=PLAN)
        assert stages(first, waiting, waiting) == [first.stage]
        promote = replace(waiting, order=Order(1, "promote", "anna", stage=first.stage))
        assert stages(first, promote) == [first.stage, *FORWARD[first.stage]]


def test_an_order_for_a_step_that_has_passed_is_none_for_the_next() -> None:
    seen = Seen(is_in_force=True, order=Order(1, "promote", "anna", stage="canary 1/3"))
    second = rollout(Canary(0.0, 1), plan=PLAN)
    assert "moved on" in refusal(second, seen)
    assert step(second, seen, 1.0) == second


def test_a_canary_that_nobody_serves_is_held_and_says_why() -> None:
    first = rollout(Canary(0.0, 1), plan=PLAN)
    gone = Seen(watched_s=1e6, is_in_force=True, verdict=verdict("promote"), unserved_s=1.0)
    assert step(first, gone, 1.0) == first
    held = step(first, replace(gone, unserved_s=UNSERVED_S + 1), 1.0)
    assert held.hold is not None
    assert "no endpoint" in held.hold.reason
    assert held.canary_ratio == first.canary_ratio
    resumed = step(held, Seen(order=Order(1, "resume", "anna")), 2.0)
    assert resumed == first


@pytest.mark.parametrize("reason", ["a digest does not match", ""])
def test_what_cannot_be_loaded_is_given_up_before_anybody_sees_it(reason: str) -> None:
    first = rollout(Loading(0.0), plan=PLAN)
    seen = Seen(fault=reason, watched_s=0.0 if reason else PLAN.loading_s + 1)
    after = step(first, seen, 1.0)
    assert isinstance(after.state, RolledBack)
    assert after.state.reason == (reason or "not loaded and warm within 900 s")
    assert duty_after(None, after) is None


def test_files_that_were_fetched_are_remembered_before_the_engines_have_them() -> None:
    bare = replace(adapter_release(2), folder="")
    first = rollout(Loading(0.0), plan=PLAN, canary=bare)
    after = step(first, Seen(fetched=(adapter_release(2),)), 1.0)
    assert (after.stage, after.canary) == ("loading", adapter_release(2))
    assert step(first, Seen(are_loaded=True), 1.0) == first, "nothing is loaded without files"


def test_duties_follow_the_states() -> None:
    base = as_configured(BASE, name="hotline")
    before = Duty(adapter_release(1), base)
    way = rollout(plan=PLAN)
    way = replace(way, previous=base)
    assert duty_after(before, replace(way, state=Canary(0.0, 1))) == before
    assert duty_after(before, replace(way, state=Promoted(0.0))) == Duty(adapter_release(2), adapter_release(1))
    assert duty_after(Duty(way.canary, way.stable), replace(way, state=RollingBack(0.0, "", ""))) == before
    assert duty_after(None, replace(way, state=Shadow(0.0))) == before, "a name is on duty from its first traffic on"


@pytest.mark.parametrize("steps", [(), (0.5, 0.25), (0.25, 0.25), (0.0, 0.5), (0.5, 1.0)])
def test_steps_that_do_not_ascend_are_no_plan(steps: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="ascend"):
        Plan(steps=steps, bake_s=1.0)
