"""What every table of endpoints keeps to: the one in this process and the one behind Ray."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace

import pytest

from cluster.clock import MonotonicClock
from cluster.directory import LEASE_S, Directory, Endpoint, Lease, renewed, unexpired
from cluster.directory_holder import DirectoryHolder
from cluster.ray_runtime import RayRuntime
from cluster.settings import Site

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


def test_a_lease_that_is_not_renewed_runs_out() -> None:
    leases = renewed((), ENDPOINT, 100.0)
    leases = renewed(leases, replace(ENDPOINT, endpoint_id="b"), 105.0)
    assert unexpired(leases, 100.0 + LEASE_S) == leases
    assert [lease.endpoint.endpoint_id for lease in unexpired(leases, 100.1 + LEASE_S)] == ["b"]
    assert renewed(leases, ENDPOINT, 107.0)[0] == Lease(ENDPOINT, 107.0)


async def test_a_holder_that_was_born_again_lets_no_reader_see_an_empty_table() -> None:
    holder = DirectoryHolder(MonotonicClock(), settle_s=0.5)
    waiting = asyncio.create_task(holder.read(57, 10))
    await asyncio.sleep(0.1)
    assert not waiting.done()
    await holder.report(ENDPOINT)
    assert (await waiting).endpoints == (ENDPOINT,)
