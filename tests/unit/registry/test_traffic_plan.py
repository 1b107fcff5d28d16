"""What is stored becomes splits and adapters, always the same ones."""

from dataclasses import replace

import pytest

from cluster.directory import Endpoint
from cluster.traffic import Side, Split, Traffic
from registry.demand import Demand
from registry.rollout import Rollout
from registry.rollout_states import (
    Canary,
    Done,
    Duty,
    Loading,
    Pending,
    Promoted,
    Promoting,
    Release,
    Reloading,
    RolledBack,
    RollingBack,
    Shadow,
    State,
    as_configured,
)
from registry.traffic_plan import is_ready, is_served, load_fault, planned
from tests.fakes.rollouts import BASE, NAME, adapter_release, batch, rollout

ENGINE = Endpoint("small-0", BASE, "http://127.0.0.1:9000", "ready", "", 0, None, None, 1, max_adapters=2)
OLD, NEW = adapter_release(1), adapter_release(2)
STABLE = Split(NAME, OLD.side)


def plan(*rollouts: Rollout, duties: dict[str, Duty] | None = None, demand: Demand | None = None) -> Traffic:
    return planned(7, rollouts, duties or {}, [ENGINE], demand or Demand(), 1000.0)


def watched(ratio: float, shadow: float = 0.0) -> Split:
    return Split(NAME, OLD.side, NEW.side, ratio, shadow, "r1")


@pytest.mark.parametrize(
    ("state", "split"),
    [
        (Pending(0.0), STABLE),
        (Loading(0.0), STABLE),
        (Shadow(0.0), watched(0.0, 0.1)),
        (Canary(0.0, 0), watched(0.05)),
        (Canary(0.0, 2), watched(0.5)),
        (Promoting(0.0), watched(0.5)),
        (Promoted(0.0), watched(1.0)),
        (RollingBack(0.0, "", ""), STABLE),
        (RolledBack(0.0, "", ""), STABLE),
    ],
)
def test_each_state_has_its_split(state: State, split: Split) -> None:
    assert plan(rollout(state), duties={NAME: Duty(OLD)}).splits == (split,)


def test_after_the_end_the_duty_says_where_requests_go() -> None:
    assert plan(rollout(Done(0.0)), duties={NAME: Duty(NEW, OLD)}).splits == (Split(NAME, NEW.side),)
    back = rollout(Reloading(0.0, "", ""), stable=OLD, canary=NEW)
    assert plan(back, duties={NAME: Duty(NEW, OLD)}).splits == (Split(NAME, NEW.side),), "until the old one is there"


def test_a_name_that_was_never_let_in_has_no_split() -> None:
    assert plan(rollout(Loading(0.0))).splits == ()


def test_a_split_that_says_nothing_is_left_out() -> None:
    duties = {BASE: Duty(as_configured(BASE, name=BASE)), "auto": Duty(as_configured("", name="auto"))}
    assert plan(duties=duties).splits == ()
    # For a name that is no model's, even the bare model is news.
    assert plan(duties={NAME: Duty(as_configured(BASE, name=NAME))}).splits == (Split(NAME, Side(0, BASE, BASE)),)


@pytest.mark.parametrize(
    ("state", "carried"),
    [
        (Pending(0.0), {OLD}),
        (Loading(0.0), {OLD, NEW}),
        (Canary(0.0, 0), {OLD, NEW}),
        (Promoted(0.0), {OLD, NEW}),
        (RollingBack(0.0, "", ""), {OLD}),
    ],
)
def test_both_sides_are_carried_as_long_as_traffic_can_come_to_them(state: State, carried: set[Release]) -> None:
    adapters = plan(rollout(state), duties={NAME: Duty(OLD)}).adapters
    assert {each.served_name for each in adapters if each.endpoint_ids} == {each.side.served_name for each in carried}
    assert all(each.folder and each.sha256 for each in adapters)


def test_what_a_rollout_needs_comes_before_what_others_ask_for() -> None:
    demand = Demand()
    duties = {name: Duty(adapter_release(1, name)) for name in ("busy", "quiet", NAME)}
    demand.take([batch([], ((duties["busy"].stable.side.served_name, 1000),))], 1000.0)
    placed = {each.served_name: each.endpoint_ids for each in plan(duties=duties, demand=demand).adapters}
    assert placed[duties["busy"].stable.side.served_name] == (ENGINE.endpoint_id,)
    placed = {
        each.served_name: each.endpoint_ids
        for each in plan(rollout(Canary(0.0, 0)), duties=duties, demand=demand).adapters
    }
    assert [name for name, places in placed.items() if places] == [OLD.side.served_name, NEW.side.served_name]


def test_an_adapter_is_ready_when_every_engine_that_shall_carry_it_says_so() -> None:
    adapters = plan(rollout(Loading(0.0))).adapters
    has_one = replace(ENGINE, adapters=(NEW.side.served_name,))
    assert is_ready(NEW, [has_one], adapters)
    assert not is_ready(NEW, [ENGINE], adapters)
    assert not is_ready(NEW, [replace(has_one, state="restarting")], adapters)
    assert not is_ready(NEW, [], adapters), "an engine that is gone has nothing loaded"
    assert not is_ready(NEW, [has_one], ()), "nobody was asked to carry it yet"
    assert is_served(NEW, [has_one, ENGINE])
    assert not is_served(NEW, [ENGINE])


def test_a_prompt_needs_its_model_and_a_judge_nothing() -> None:
    prompt = Release(Side(1, BASE, BASE, "Be kind."), "prompt", "d", "/f")
    assert is_ready(prompt, [ENGINE], ())
    assert not is_ready(prompt, [replace(ENGINE, model="large")], ())
    judge = Release(Side(1, "", "", judge="/f/auto.judge"), "judge", "d", "/f")
    assert is_ready(judge, [], ())
    assert is_served(judge, [])


def test_an_engine_that_cannot_load_it_is_named() -> None:
    bad = replace(ENGINE, adapter_faults=((NEW.side.served_name, "its rank is 64, the pool's is 16"),))
    assert (
        load_fault([OLD, NEW], [bad]) == f"small-0 cannot load {NEW.side.served_name}: its rank is 64, the pool's is 16"
    )
    assert load_fault([OLD], [bad]) == ""


def test_demand_fades() -> None:
    demand = Demand()
    demand.take([batch([], (("a", 60),))], 0.0)
    assert demand.per_s("a", 0.0) == pytest.approx(1.0)
    assert demand.per_s("a", 60.0) == pytest.approx(0.368, abs=0.001)
    assert (demand.per_s("b", 0.0), demand.last_used_s("a"), demand.last_used_s("b")) == (0.0, 0.0, 0.0)
