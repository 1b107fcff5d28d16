"""Endpoints that have an adapter loaded, as a view of their model's pool."""

from dataclasses import replace

from cluster.directory import Endpoint, Table
from cluster.traffic import Adapter, Side, Split, Traffic
from router.pools import Pools

NAME = "hotline@1-aaaaaaaa"
OTHER = "hotline@2-bbbbbbbb"


def endpoint(number: int, *adapters: str, model: str = "small") -> Endpoint:
    url = f"http://127.0.0.1:{9001 + number}"
    return Endpoint(f"{model}-{number}", model, url, "ready", "", 0, None, None, 9, adapters)


def traffic(*names: str, generation: int = 1) -> Traffic:
    return Traffic(generation, (), tuple(Adapter(name, "small", "/nowhere", "0" * 64, ()) for name in names))


TABLE = Table(1, (endpoint(0), endpoint(1, NAME), endpoint(2, NAME, OTHER), endpoint(0, model="large")))


def made(*names: str) -> Pools:
    pools = Pools(["small", "large"], {"small": 4})
    pools.update(TABLE)
    pools.direct(traffic(*names))
    return pools


def ids(pools: Pools, name: str) -> list[str]:
    return [slot.endpoint.endpoint_id for slot in pools.of(name).slots]


def test_an_adapter_has_the_endpoints_that_report_it_loaded() -> None:
    pools = made(NAME, OTHER)
    assert ids(pools, NAME) == ["small-1", "small-2"]
    assert ids(pools, OTHER) == ["small-2"]
    assert len(pools.of("small").slots) == 3
    assert pools.find("hotline@3-cccccccc") is None


def test_tables_and_traffic_may_come_in_any_order() -> None:
    pools = Pools(["small", "large"])
    pools.direct(traffic(NAME))
    assert pools.of(NAME).is_cold
    assert pools.of(NAME).pick(0.0) is None
    pools.update(TABLE)
    assert ids(pools, NAME) == ["small-1", "small-2"]
    before = pools.of(NAME)
    pools.direct(traffic(NAME, OTHER, generation=2))
    assert pools.of(NAME) is before
    pools.update(Table(2, (endpoint(0, NAME), endpoint(2))))
    assert ids(pools, NAME) == ["small-0"]
    assert pools.of(OTHER).is_cold


def test_a_side_of_a_split_is_known_even_if_nobody_is_to_load_it() -> None:
    pools = made()
    split = Split("hotline", Side(0, "small", "small"), Side(1, "small", NAME))
    pools.direct(Traffic(2, (split,), ()))
    assert ids(pools, NAME) == ["small-1", "small-2"]
    assert not pools.of("small").is_cold


def test_an_adapter_of_no_model_here_is_not_there() -> None:
    pools = made()
    pools.direct(Traffic(2, (), (Adapter("x@1-aaaaaaaa", "huge", "/nowhere", "0" * 64, ()),)))
    assert pools.find("x@1-aaaaaaaa") is None


def test_what_an_adapter_does_counts_in_its_models_pool_and_is_seen_by_other_adapters() -> None:
    pools = made(NAME, OTHER)
    base, adapter = pools.of("small"), pools.of(NAME)
    slot = adapter.pick(0.0)
    assert slot is not None
    assert slot in base.slots
    adapter.take(slot)
    assert (slot.in_flight, base.in_flight) == (1, 1)
    assert pools.seen(0.0)["small"].in_flight == 1
    assert set(pools.seen(0.0)) == {"small", "large"}
    assert adapter.seen(0.0) == (1, 8.0)
    # The idle one of the two goes next.
    assert adapter.pick(0.0) is not slot
    adapter.release(slot)
    assert (slot.in_flight, base.in_flight) == (0, 0)


def test_a_broken_endpoint_is_broken_for_all_that_it_serves() -> None:
    pools = made(NAME, OTHER)
    slot = pools.of(OTHER).slots[0]
    slot.failed(0.0)
    assert not pools.of(OTHER).is_ready(0.1)
    assert pools.of(NAME).pick(0.1) is not slot
    assert pools.of("small").pick(0.1) is not slot
    assert pools.of(OTHER).retry_after_s(0.0) >= 1


def test_a_conversation_with_an_adapter_stays_with_one_endpoint_until_that_is_too_busy() -> None:
    endpoints = tuple(endpoint(number, *([NAME] if number % 2 else [])) for number in range(8))
    pools = Pools(["small"])
    pools.direct(traffic(NAME))
    pools.update(Table(1, endpoints))
    adapter, base = pools.of(NAME), pools.of("small")
    home = adapter.pick(0.0, key=12345)
    assert home is not None
    assert all(adapter.pick(0.0, key=12345) is home for _ in range(20))
    # Others of the base model make it busy: they count as well.
    for _ in range(12):
        base.take(home)
    assert adapter.pick(0.0, key=12345) is not home
    # When all are as busy, it is at home again: what weighs is the mean of those that have the adapter.
    for slot in adapter.slots:
        if slot is not home:
            for _ in range(12):
                base.take(slot)
    assert adapter.pick(0.0, key=12345) is home


def test_what_is_in_flight_to_an_adapter_that_is_gone_ends_in_its_models_pool() -> None:
    pools = made(NAME)
    adapter, base = pools.of(NAME), pools.of("small")
    slot = adapter.slots[0]
    adapter.take(slot)
    pools.direct(traffic(generation=2))
    assert pools.find(NAME) is None
    adapter.release(slot)
    assert (slot.in_flight, base.in_flight) == (0, 0)


def test_people_read_that_no_engine_has_a_version() -> None:
    pools = made(NAME, "hotline@9-dddddddd")
    assert pools.of("hotline@9-dddddddd").state == "starting: no engine has this version loaded"
    assert pools.of(NAME).state == "ready"


def test_an_endpoint_that_moves_takes_its_adapters_along() -> None:
    pools = made(OTHER)
    pools.update(Table(2, (replace(endpoint(2, OTHER), base_url="http://127.0.0.1:9999"),)))
    assert [slot.port for slot in pools.of(OTHER).slots] == [9999]
