"""Which endpoint takes a request, and for how long a broken one is left alone."""

from collections import Counter
from dataclasses import replace

from cluster.directory import Endpoint, Table
from router.affinity import home_of
from router.pools import DEFAULT_RETRY_AFTER_S, Pool, Pools
from router.slot import FIRST_PAUSE_S, MAX_BAD_ANSWERS, MAX_PAUSE_S

ENDPOINT = Endpoint("a", "small", "http://127.0.0.1:9001", "ready", "", 0, None, None, 9)


def pools(*endpoints: Endpoint) -> Pools:
    made = Pools(["small", "large"])
    made.update(Table(1, endpoints))
    return made


def pool_of(count: int) -> Pool:
    return pools(
        *(replace(ENDPOINT, endpoint_id=f"e{n}", base_url=f"http://127.0.0.1:{9001 + n}") for n in range(count))
    ).of("small")


def question(text: str, **more: object) -> dict[str, object]:
    return {"messages": [{"role": "system", "content": "Help."}, {"role": "user", "content": text}], **more}


def test_the_endpoint_with_the_fewest_requests_in_flight_is_picked() -> None:
    pool = pool_of(2)
    first, second = pool.slots
    first.in_flight = 2
    second.in_flight = 1
    assert pool.pick(0.0) is second
    assert pool.pick(0.0, tried=[second]) is first
    assert pool.pick(0.0, tried=[first, second]) is None
    assert pools(ENDPOINT).of("large").pick(0.0) is None


def test_idle_endpoints_take_turns() -> None:
    for count in (2, 16, 17, 100):
        pool = pool_of(count)
        assert len({pool.pick(0.0) for _ in range(count)}) >= count / 2


def test_in_a_large_pool_requests_spread_evenly_and_a_few_usable_ones_are_found() -> None:
    pool = pool_of(1000)
    for _ in range(5000):
        slot = pool.pick(0.0)
        assert slot is not None
        pool.take(slot)
    assert max(slot.in_flight for slot in pool.slots) <= 8
    for slot in pool.slots[:-1]:
        slot.failed(0.0)
    assert pool.pick(0.0) is pool.slots[-1]
    assert pool.pick(0.0, key=12345) is pool.slots[-1]


def test_only_a_ready_endpoint_is_picked() -> None:
    for state in ("starting", "draining", "restarting"):
        pool = pools(replace(ENDPOINT, state=state)).of("small")
        assert pool.pick(0.0) is None
        assert not pool.is_ready(0.0)
        assert pool.retry_after_s(0.0) == 9
    assert pools().of("small").retry_after_s(0.0) == DEFAULT_RETRY_AFTER_S


def test_a_broken_endpoint_is_left_alone_longer_each_time_up_to_a_limit() -> None:
    slot = pool_of(1).slots[0]
    slot.failed(100.0)
    assert slot.usable_from_s == 100.0 + FIRST_PAUSE_S
    pauses = []
    for _ in range(10):
        slot.failed(0.0)
        pauses.append(slot.paused_until_s)
    assert pauses == sorted(pauses)
    assert pauses[-1] == MAX_PAUSE_S
    slot.succeeded()
    slot.failed(0.0)
    assert slot.paused_until_s == FIRST_PAUSE_S


def test_after_its_pause_an_endpoint_is_tried_with_one_request_at_a_time() -> None:
    pool = pool_of(2)
    broken, well = pool.slots
    broken.failed(0.0)
    well.in_flight = 5
    assert pool.pick(1.0) is broken
    pool.take(broken)
    assert pool.pick(1.0) is well
    assert pool.pick(1.0, tried=[well]) is broken, "a trial beats no answer"
    broken.succeeded()
    assert pool.pick(1.0) is broken


def test_answers_of_failure_pause_an_endpoint_but_never_the_last_one() -> None:
    pool = pool_of(2)
    first, second = pool.slots
    for _ in range(MAX_BAD_ANSWERS):
        assert first.usable_from_s <= 0.0
        pool.answered_badly(first, 0.0)
    assert first.usable_from_s > 0.0
    for _ in range(3 * MAX_BAD_ANSWERS):
        pool.answered_badly(second, 0.0)
    assert second.usable_from_s <= 0.0


def test_good_answers_between_forgive_the_bad_ones() -> None:
    pool = pool_of(2)
    slot = pool.slots[0]
    for _ in range(5 * MAX_BAD_ANSWERS):
        pool.answered_badly(slot, 0.0)
        slot.succeeded()
    assert slot.usable_from_s <= 0.0


def test_a_new_table_keeps_counts_and_a_restart_ends_the_pause() -> None:
    made = pools(ENDPOINT)
    pool = made.of("small")
    slot = pool.slots[0]
    slot.in_flight = 3
    slot.failed(100.0)
    made.update(Table(2, (replace(ENDPOINT, detail="something else"),)))
    assert pool.slots[0] is slot
    assert slot.usable_from_s > 100.0
    made.update(Table(3, (replace(ENDPOINT, restarts=1),)))
    assert slot.usable_from_s <= 100.0
    assert slot.in_flight == 3
    made.update(Table(4, (replace(ENDPOINT, base_url="http://127.0.0.1:9009"),)))
    assert pool.slots[0].port == 9009
    made.update(Table(5, ()))
    assert pool.state == "starting: no engine has reported yet"


def test_endpoints_of_models_that_this_router_does_not_serve_are_passed_over() -> None:
    made = pools(replace(ENDPOINT, model="other"))
    assert made.of("small").slots == []


def test_a_conversation_stays_with_its_endpoint_in_every_replica() -> None:
    first_turn = question("Where do I register a company?")
    later_turn = {"messages": [*first_turn["messages"], {"role": "assistant", "content": "At the counter."},  # type: ignore[misc]
                               {"role": "user", "content": "And on Sundays?"}]}  # fmt: skip
    assert home_of(first_turn) == home_of(later_turn)
    here, there = pool_of(8), pool_of(8)
    picked = {pool.pick(0.0, key=home_of(turn)) for pool in (here, there) for turn in (first_turn, later_turn)}
    assert len({slot.endpoint.endpoint_id for slot in picked if slot}) == 1


def test_different_conversations_spread_over_the_pool() -> None:
    pool = pool_of(8)
    homes = Counter(pool.pick(0.0, key=home_of(question(f"Question {n}"))) for n in range(4000))
    assert len(homes) == 8
    assert max(homes.values()) < 2.5 * 4000 / 8


def test_a_busy_home_yields_to_a_neighbour_and_is_returned_to() -> None:
    pool = pool_of(4)
    key = home_of(question("Always the same"))
    home = pool.pick(0.0, key=key)
    assert home is not None
    for _ in range(100):
        slot = pool.pick(0.0, key=key)
        assert slot is not None
        pool.take(slot)
    loads = [slot.in_flight for slot in pool.slots]
    assert max(loads) <= 1.25 * 101 / 4 + 3
    for slot in pool.slots:
        while slot.in_flight:
            pool.release(slot)
    assert pool.in_flight == 0
    assert pool.pick(0.0, key=key) is home


def test_an_endpoint_that_goes_takes_only_its_own_conversations_along() -> None:
    made = pools(*(replace(ENDPOINT, endpoint_id=f"e{n}", base_url=f"http://127.0.0.1:{9001 + n}") for n in range(8)))
    pool = made.of("small")
    keys = [home_of(question(f"Question {n}")) for n in range(1000)]

    def homes() -> list[str]:
        picked = [pool.pick(0.0, key=key) for key in keys]
        return [slot.endpoint.endpoint_id for slot in picked if slot is not None]

    before = homes()
    made.update(Table(2, tuple(slot.endpoint for slot in pool.slots[1:])))
    after = homes()
    assert len(before) == len(after) == 1000
    assert all(new == old for old, new in zip(before, after, strict=True) if old != "e0")
    assert "e0" not in after


def test_the_caller_may_name_what_belongs_together() -> None:
    one = home_of(question("a", prompt_cache_key="case-17"))
    other = home_of(question("b", prompt_cache_key="case-17"))
    assert one == other != home_of(question("a"))


def test_completions_have_a_place_by_their_beginning_and_token_ids_have_none() -> None:
    long = "x" * 5000
    assert home_of({"prompt": long + "a"}) == home_of({"prompt": long + "b"}) is not None
    assert home_of({"prompt": [1, 2, 3]}) is None
    assert home_of({"input": "text"}) is None


def test_pictures_count_and_what_cannot_be_written_does_no_harm() -> None:
    nested: list[object] = []
    for _ in range(300):
        nested = [nested]
    parts = [{"type": "text", "text": "What is this?"}, {"type": "image_url", "image_url": {"url": "data:a"}}]
    other = [parts[0], {"type": "image_url", "image_url": {"url": "data:b"}}]
    assert home_of({"messages": [{"role": "user", "content": parts}]}) != home_of(
        {"messages": [{"role": "user", "content": other}]}
    )
    assert home_of({"messages": [{"role": "user", "content": nested}]}) is not None
    assert home_of({"messages": [{"role": "user", "content": "\ud800"}]}) is not None


def test_a_pool_is_as_large_as_its_usable_endpoints_together() -> None:
    three = [replace(ENDPOINT, endpoint_id=f"e{n}", base_url=f"http://127.0.0.1:{9001 + n}") for n in range(3)]
    made = Pools(["small", "large"], {"small": 16})
    made.update(Table(1, (*three[:2], replace(three[2], state="starting"))))
    pool = made.of("small")
    pool.take(pool.slots[0])
    assert made.seen(0.0) == {"small": (1, 32), "large": (0, 0)}
    pool.slots[0].failed(0.0)
    assert pool.seen(0.0).capacity == 16
    # Where nobody has said when it is full it never is.
    assert pools(ENDPOINT).of("small").seen(0.0).capacity == float("inf")
