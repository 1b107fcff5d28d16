"""Which endpoint takes a request, and for how long a broken one is left alone."""

from dataclasses import replace

from cluster.directory import Endpoint, Table
from router.pools import DEFAULT_RETRY_AFTER_S, FIRST_PAUSE_S, MAX_PAUSE_S, Pools

ENDPOINT = Endpoint("a", "small", "http://127.0.0.1:9001", "ready", "", 0, None, None, 9)


def pools(*endpoints: Endpoint) -> Pools:
    made = Pools(["small", "large"])
    made.update(Table(1, endpoints))
    return made


def test_the_endpoint_with_the_fewest_requests_in_flight_is_picked() -> None:
    made = pools(ENDPOINT, replace(ENDPOINT, endpoint_id="b", base_url="http://127.0.0.1:9002"))
    first, second = made.slots("small")
    first.in_flight = 2
    second.in_flight = 1
    assert made.pick("small", 0.0) is second
    assert made.pick("small", 0.0, tried=[second]) is first
    assert made.pick("large", 0.0) is None


def test_only_a_ready_endpoint_is_picked() -> None:
    for state in ("starting", "draining", "restarting"):
        made = pools(replace(ENDPOINT, state=state))
        assert made.pick("small", 0.0) is None
        assert made.retry_after_s("small", 0.0) == 9
    assert pools().retry_after_s("small", 0.0) == DEFAULT_RETRY_AFTER_S


def test_a_broken_endpoint_is_left_alone_longer_each_time_up_to_a_limit() -> None:
    made = pools(ENDPOINT)
    slot = made.slots("small")[0]
    slot.failed(100.0)
    assert not slot.is_usable(100.0 + FIRST_PAUSE_S * 0.9)
    assert slot.is_usable(100.0 + FIRST_PAUSE_S)
    pauses = []
    for _ in range(10):
        slot.failed(0.0)
        pauses.append(slot.paused_until_s)
    assert pauses == sorted(pauses)
    assert pauses[-1] == MAX_PAUSE_S
    slot.succeeded()
    slot.failed(0.0)
    assert slot.paused_until_s == FIRST_PAUSE_S


def test_a_new_table_keeps_counts_and_a_restart_ends_the_pause() -> None:
    made = pools(ENDPOINT)
    slot = made.slots("small")[0]
    slot.in_flight = 3
    slot.failed(100.0)
    made.update(Table(2, (replace(ENDPOINT, detail="something else"),)))
    assert made.slots("small")[0] is slot
    assert not slot.is_usable(100.0)
    made.update(Table(3, (replace(ENDPOINT, restarts=1),)))
    assert slot.is_usable(100.0)
    assert slot.in_flight == 3
    made.update(Table(4, (replace(ENDPOINT, base_url="http://127.0.0.1:9009"),)))
    assert made.slots("small")[0].port == 9009
    made.update(Table(5, ()))
    assert made.state("small") == "starting: no engine has reported yet"


def test_endpoints_of_models_that_this_router_does_not_serve_are_passed_over() -> None:
    made = pools(replace(ENDPOINT, model="other"))
    assert made.slots("small") == []
