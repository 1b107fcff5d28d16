"""What every table of endpoints keeps to: the one in this process and the one behind Ray."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace

import pytest

from cluster.clock import MonotonicClock
from cluster.directory import LEASE_S, Directory, Endpoint
from cluster.directory_holder import DirectoryHolder
from cluster.outcomes import Batch
from cluster.ray_runtime import RayRuntime
from cluster.settings import Site
from cluster.traffic import AS_CONFIGURED, Side, Split, Traffic

ENDPOINT = Endpoint("a", "small", "http://127.0.0.1:9001", "ready", "", 0, 1, 1.0, 5)


@pytest.fixture(scope="module")
def ray_runtime(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RayRuntime]:
    """One Ray for this module, as the stack starts it."""
    runtime = RayRuntime()
    runtime.start(Site(state_dir=tmp_path_factory.mktemp("ray")))
    yield runtime
    runtime.stop()


@pytest.fixture(params=["in process", "behind ray"])
def directory(request: pytest.FixtureRequest) -> Directory:
    if request.param == "in process":
        return DirectoryHolder(MonotonicClock(), settle_s=0.0)
    runtime: RayRuntime = request.getfixturevalue("ray_runtime")
    return runtime.start_directory()


async def test_a_reported_endpoint_is_read_and_a_forgotten_one_is_not(directory: Directory) -> None:
    await directory.report(ENDPOINT)
    await directory.report(replace(ENDPOINT, endpoint_id="b"))
    first = await directory.read(-1, 10)
    assert [endpoint.endpoint_id for endpoint in first.endpoints] == ["a", "b"]
    await directory.forget("a")
    await directory.forget("never there")
    second = await directory.read(first.version, 10)
    assert [endpoint.endpoint_id for endpoint in second.endpoints] == ["b"]


async def test_many_are_reported_and_forgotten_together_as_one_change_each(directory: Directory) -> None:
    many = [replace(ENDPOINT, endpoint_id=f"{number:04}") for number in range(1000)]
    await directory.report(*many)
    table = await directory.read(-1, 10)
    assert list(table.endpoints) == many
    await directory.report(*many[:999], replace(many[999], state="draining"))
    changed = await directory.read(table.version, 10)
    assert (changed.version, changed.endpoints[-1].state) == (table.version + 1, "draining")
    await directory.forget("never there", *(endpoint.endpoint_id for endpoint in many[1:]))
    left = await directory.read(changed.version, 10)
    assert (left.version, list(left.endpoints)) == (changed.version + 1, many[:1])


async def test_to_report_or_forget_nobody_is_no_change(directory: Directory) -> None:
    await directory.report(ENDPOINT)
    table = await directory.read(-1, 10)
    await directory.report()
    await directory.forget()
    assert await directory.read(table.version, 0.2) == table


async def test_a_reader_waits_for_a_change_and_gets_it_at_once(directory: Directory) -> None:
    await directory.report(ENDPOINT)
    table = await directory.read(-1, 10)
    waiting = asyncio.create_task(directory.read(table.version, 30))
    await asyncio.sleep(0.2)
    await directory.report(ENDPOINT)
    await asyncio.sleep(0.2)
    assert not waiting.done(), "a renewal that changes nothing is no change"
    await directory.report(replace(ENDPOINT, state="draining"))
    async with asyncio.timeout(5):
        changed = await waiting
    assert changed.version != table.version
    assert changed.endpoints[0].state == "draining"


async def test_a_reader_that_nothing_happens_to_gets_the_same_table_after_its_time_out(directory: Directory) -> None:
    await directory.report(ENDPOINT)
    table = await directory.read(-1, 10)
    assert await directory.read(table.version, 0.2) == table


class HandClock:
    """Time that passes when told."""

    def __init__(self) -> None:
        self.time_s = 100.0

    def now_s(self) -> float:
        return self.time_s


async def test_a_lease_that_is_not_renewed_runs_out() -> None:
    clock = HandClock()
    holder = DirectoryHolder(clock, settle_s=0.0)

    async def names() -> list[str]:
        return [endpoint.endpoint_id for endpoint in (await holder.read(-1, 1)).endpoints]

    await holder.report(ENDPOINT, replace(ENDPOINT, endpoint_id="c"))
    clock.time_s += 5
    await holder.report(replace(ENDPOINT, endpoint_id="b"), replace(ENDPOINT, endpoint_id="c"))
    clock.time_s = 100.0 + LEASE_S
    assert await names() == ["a", "b", "c"]
    clock.time_s += 0.1
    assert await names() == ["b", "c"]
    await holder.report(replace(ENDPOINT, endpoint_id="b"))
    clock.time_s = 105.1 + LEASE_S
    assert await names() == ["b"]
    clock.time_s += LEASE_S
    assert await names() == []
    await holder.report(ENDPOINT)
    assert await names() == ["a"]


async def test_a_lease_that_runs_out_wakes_who_waits() -> None:
    clock = HandClock()
    holder = DirectoryHolder(clock, settle_s=0.0)
    await holder.report(ENDPOINT)
    table = await holder.read(-1, 1)
    waiting = asyncio.create_task(holder.read(table.version, 30))
    await asyncio.sleep(0.1)
    clock.time_s += LEASE_S + 1
    async with asyncio.timeout(5):
        assert (await waiting).endpoints == ()


async def test_a_holder_that_was_born_again_never_says_a_version_twice() -> None:
    clock = HandClock()
    first = DirectoryHolder(clock, settle_s=0.0)
    await first.report(ENDPOINT)
    before = await first.read(-1, 1)
    clock.time_s += 3
    second = DirectoryHolder(clock, settle_s=0.0)
    await second.report(replace(ENDPOINT, state="draining"))
    assert (await second.read(before.version, 1)).version > before.version


async def test_a_holder_that_was_born_again_lets_no_reader_see_an_empty_table() -> None:
    holder = DirectoryHolder(MonotonicClock(), settle_s=0.5)
    waiting = asyncio.create_task(holder.read(57, 10))
    await asyncio.sleep(0.1)
    assert not waiting.done()
    await holder.report(ENDPOINT)
    assert (await waiting).endpoints == (ENDPOINT,)


SPLIT = Split("small", Side(AS_CONFIGURED, "small", "small"), Side(3, "small", "small@3-1a2b3c4d"), 0.05, 0.0, "r1")


async def test_splits_reach_a_waiting_reader_at_once_and_endpoints_that_change_leave_them(directory: Directory) -> None:
    await directory.report(ENDPOINT)
    table = await directory.read(-1, 10)
    assert table.traffic is None
    waiting = asyncio.create_task(directory.read(table.version, 30))
    await asyncio.sleep(0.2)
    await directory.direct(Traffic(7, (SPLIT,), ()))
    async with asyncio.timeout(5):
        directed = await waiting
    assert directed.traffic == Traffic(7, (SPLIT,), ())
    await directory.report(replace(ENDPOINT, state="draining"))
    later = await directory.read(directed.version, 10)
    assert (later.traffic, later.endpoints[0].state) == (directed.traffic, "draining")


async def test_an_earlier_decision_never_replaces_a_later_one(directory: Directory) -> None:
    await directory.direct(Traffic(7, (SPLIT,), ()))
    table = await directory.read(-1, 10)
    await directory.direct(Traffic(6, (), ()))
    await directory.direct(Traffic(7, (), ()))
    assert await directory.read(table.version, 0.2) == table


async def test_what_is_told_is_fetched_once_in_order(directory: Directory) -> None:
    batches = tuple(Batch(f"replica {number}", (), (), (), 0, number) for number in range(3))
    for batch in batches:
        await directory.tell(batch)
    assert await directory.fetch() == batches
    assert await directory.fetch() == ()


async def test_word_that_nobody_fetches_is_kept_up_to_a_bound_and_the_oldest_goes_first() -> None:
    holder = DirectoryHolder(MonotonicClock())
    for number in range(5000):
        await holder.tell(Batch("a", (), (), (), 0, number))
    kept = await holder.fetch()
    assert len(kept) <= 2000
    assert kept[-1].generation == 4999
