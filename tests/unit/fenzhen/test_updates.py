"""The supervisor's side of an update, with a Serve that does as it is told."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import cast

import pytest

from cluster.clock import MonotonicClock
from cluster.directory_holder import DirectoryHolder
from cluster.errors import Unavailable
from cluster.ray_runtime import Part, RayRuntime
from cluster.settings import Settings
from cluster.settings_file import profile
from fenzhen.orders import Order, Outcome, read_outcome, write_order
from fenzhen.updates import Updates
from tests.unit.fenzhen.test_changes import with_router

STARTED_S = 1.5


class FakeRuntime:
    """Fails as often as it is told to."""

    def __init__(self, failures: int = 0) -> None:
        self.failures = failures
        self.replaced: list[float] = []

    def replace(self, part: Part) -> None:
        self.replaced.append(part.drain_s)
        if self.failures:
            self.failures -= 1
            raise Unavailable("its new replicas do not start: no room")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    tiny = profile("tiny")
    return tiny.model_copy(update={"site": tiny.site.model_copy(update={"state_dir": tmp_path})})


@asynccontextmanager
async def obeying(settings: Settings, runtime: FakeRuntime, *, is_ready: bool = True) -> AsyncIterator[list[Order]]:
    adopted: list[Order] = []
    directory = DirectoryHolder(MonotonicClock())
    updates = Updates(settings, cast(RayRuntime, runtime), directory, STARTED_S)
    task = asyncio.create_task(updates.obey(lambda: is_ready, adopted.append))
    yield adopted
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def order_for(settings: Settings, **more: object) -> Order:
    values = {"pid": os.getpid(), "pid_started_s": STARTED_S, "settings": settings, "settings_from": "a test"}
    return Order.model_validate(values | more)


async def final(state_dir: Path, order: Order) -> Outcome:
    async with asyncio.timeout(5):
        while (
            (outcome := read_outcome(state_dir)) is None or outcome.order_id != order.order_id or not outcome.is_final
        ):
            await asyncio.sleep(0.01)
    return outcome


async def test_a_changed_router_is_replaced_once_and_then_there_is_nothing_to_do(
    settings: Settings, tmp_path: Path
) -> None:
    runtime = FakeRuntime()
    async with obeying(settings, runtime) as adopted:
        first, second = (order_for(with_router(settings, drain_s=5.0)) for _ in range(2))
        write_order(tmp_path, first)
        assert (await final(tmp_path, first)).phase == "done"
        write_order(tmp_path, second)
        assert (await final(tmp_path, second)).phase == "unchanged"
    assert runtime.replaced == [5.0]
    assert adopted == [first]


async def test_a_forced_order_replaces_what_has_not_changed(settings: Settings, tmp_path: Path) -> None:
    runtime = FakeRuntime()
    async with obeying(settings, runtime):
        write_order(tmp_path, order := order_for(settings, is_forced=True))
        assert (await final(tmp_path, order)).phase == "done"
    assert runtime.replaced == [30.0]


async def test_an_update_that_fails_is_taken_back_and_the_old_settings_go_on(
    settings: Settings, tmp_path: Path
) -> None:
    runtime = FakeRuntime(failures=1)
    async with obeying(settings, runtime) as adopted:
        write_order(tmp_path, order := order_for(with_router(settings, drain_s=5.0)))
        outcome = await final(tmp_path, order)
    assert outcome.phase == "failed"
    assert outcome.message == ("its new replicas do not start: no room; the router runs on with the old configuration")
    assert runtime.replaced == [5.0, 30.0]
    assert adopted == []


async def test_if_it_cannot_even_be_taken_back_that_is_said(settings: Settings, tmp_path: Path) -> None:
    async with obeying(settings, FakeRuntime(failures=2)):
        write_order(tmp_path, order := order_for(with_router(settings, drain_s=5.0)))
        assert "the old replicas serve on, but none can be started anew" in (await final(tmp_path, order)).message


@pytest.mark.parametrize(
    ("changed", "is_ready", "words"),
    [({"port": 9000}, True, "router.port: 8000 → 9000"), ({"drain_s": 5.0}, False, "not ready yet")],
)
async def test_what_cannot_be_done_is_refused_and_nothing_happens(
    settings: Settings, tmp_path: Path, changed: dict[str, object], is_ready: bool, words: str
) -> None:
    runtime = FakeRuntime()
    async with obeying(settings, runtime, is_ready=is_ready) as adopted:
        write_order(tmp_path, order := order_for(with_router(settings, **changed)))
        outcome = await final(tmp_path, order)
    assert outcome.phase == "refused"
    assert words in outcome.message
    assert runtime.replaced == []
    assert adopted == []


async def test_an_order_for_a_supervisor_that_is_gone_is_obeyed_by_nobody(settings: Settings, tmp_path: Path) -> None:
    runtime = FakeRuntime()
    write_order(tmp_path, order_for(settings, is_forced=True, pid_started_s=STARTED_S - 1))
    (tmp_path / "outcome.json").write_text("not json")
    async with obeying(settings, runtime):
        await asyncio.sleep(0.2)
        # A file that cannot be read is no order, and no reason to end.
        (tmp_path / "order.json").write_text("{")
        await asyncio.sleep(0.7)
    assert runtime.replaced == []
    assert read_outcome(tmp_path) is None


async def test_a_changed_controller_of_rollouts_is_replaced_and_the_router_left_alone(
    settings: Settings, tmp_path: Path
) -> None:
    runtime = FakeRuntime()
    slower = settings.model_copy(update={"rollouts": settings.rollouts.model_copy(update={"lease_s": 9.0})})
    async with obeying(settings, runtime) as adopted:
        order = order_for(slower)
        write_order(tmp_path, order)
        outcome = await final(tmp_path, order)
        assert (outcome.phase, outcome.message) == (
            "done",
            "the controller of rollouts runs with the new configuration",
        )
        # The router's drain time is another.
        assert runtime.replaced == [0]
        assert adopted == [order]


async def test_a_controller_that_cannot_be_replaced_takes_the_router_s_change_back(
    settings: Settings, tmp_path: Path
) -> None:
    class Stubborn(FakeRuntime):
        def replace(self, part: Part) -> None:
            self.failures = int(part.name == "rollouts" and len(self.replaced) == 1)
            super().replace(part)

    runtime = Stubborn()
    wanted = with_router(settings, drain_s=5.0)
    wanted = wanted.model_copy(update={"rollouts": settings.rollouts.model_copy(update={"lease_s": 9.0})})
    async with obeying(settings, runtime) as adopted:
        order = order_for(wanted)
        write_order(tmp_path, order)
        assert (await final(tmp_path, order)).phase == "failed"
        assert runtime.replaced == [5.0, 0, 0, settings.router.drain_s]
        assert adopted == []
