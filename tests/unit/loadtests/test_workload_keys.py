"""In whose name requests are sent, and that no key comes to light."""

from collections.abc import Mapping

import pytest

from cluster.errors import UserError
from loadtests.arrivals.arrival import Arrival
from loadtests.plan import Plan
from loadtests.workload.crowd import Crowd
from loadtests.workload.turn import Turn

SECRET = "sk-not-for-anybody"


def plan_of(target: str | None = None, *tenants: Mapping[str, object]) -> Plan:
    stage = {"name": "a", "seconds": 60, "arrivals": {"kind": "constant", "rate_per_s": 10}}
    work = {"tenants": tenants or [{"name": "hotline"}]}
    return Plan.model_validate({"target": {"api_key_env": target}, "workload": work, "stages": [stage]})


def turns_of(plan: Plan, keys: Mapping[str, str]) -> list[Turn]:
    crowd = Crowd(plan, keys)
    return [crowd.due(Arrival(number / 10, 0)) for number in range(60)]


def test_no_key_is_sent_where_none_is_named() -> None:
    for turn in turns_of(plan_of(), {"SOME_KEY": SECRET}):
        assert turn.headers == (("x-fenzhen-group", "hotline"), ("x-fenzhen-level", "blue"))


def test_a_tenants_own_key_goes_before_the_targets() -> None:
    plan = plan_of("ALL_KEY", {"name": "tax", "api_key_env": "TAX_KEY", "levels": {"red": 1}}, {"name": "hotline"})
    headers = {turn.tenant: dict(turn.headers) for turn in turns_of(plan, {"ALL_KEY": "all", "TAX_KEY": SECRET})}
    assert headers["tax"] == {
        "authorization": f"Bearer {SECRET}", "x-fenzhen-group": "tax", "x-fenzhen-level": "red",
    }  # fmt: skip
    assert headers["hotline"]["authorization"] == "Bearer all"


def test_a_key_is_in_no_representation() -> None:
    crowd = Crowd(plan_of("ALL_KEY"), {"ALL_KEY": SECRET})
    turns = [crowd.due(Arrival(number / 10, 0)) for number in range(60)]
    assert {turn.kind for turn in turns} == {"stream", "conversation", "agent"}
    for turn in turns:
        assert SECRET in dict(turn.headers)["authorization"]
        assert SECRET not in repr(turn)
        assert SECRET.encode() not in turn.body
    assert SECRET not in repr(crowd) + repr(vars(crowd))


@pytest.mark.parametrize("keys", [{}, {"ALL_KEY": ""}])
def test_a_key_that_is_named_and_not_set_is_asked_for(keys: Mapping[str, str]) -> None:
    with pytest.raises(UserError, match="environment variable ALL_KEY, which is not set"):
        Crowd(plan_of("ALL_KEY"), keys)


@pytest.mark.parametrize("key", [f"{SECRET}\n", f"{SECRET}\r\nx-more: 1", f"{SECRET}密", f" {SECRET}"])
def test_a_key_that_no_header_can_carry_is_refused_without_showing_it(key: str) -> None:
    with pytest.raises(UserError, match="ALL_KEY has characters") as caught:
        Crowd(plan_of("ALL_KEY"), {"ALL_KEY": key})
    assert SECRET not in str(caught.value)
