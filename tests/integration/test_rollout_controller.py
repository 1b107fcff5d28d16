"""The controller of rollouts, all around it in this process: what people, engines and registries do to it."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cluster.clock import MonotonicClock
from cluster.directory_holder import DirectoryHolder
from cluster.errors import Unavailable
from cluster.traffic import Traffic
from registry.controller import Controller
from registry.database import Database
from registry.leading import Pace
from registry.rollout import Rollout, Verb
from registry.rollout_states import Plan, Reloading, RolledBack
from registry.rollout_store import RolloutStore
from tests.fakes.rollouts import (
    BASE,
    NAME,
    STARTED,
    ScriptedEngines,
    ScriptedJudges,
    adapter_release,
    batch,
    outcome,
    prompt_rollout,
    registered,
    rollout,
)
from tests.fakes.version_store import FakeVersionStore

PLAN = Plan(steps=(0.25, 0.5), bake_s=0.0, shadow_s=0.0, shadow_ratio=0.5)
PACE = Pace(tick_s=0.02, lease_s=5.0, retry_s=0.05, keep_s=0.05)


class Stage:
    """A controller, two engines, a registry; tests play the people."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.directory = DirectoryHolder(MonotonicClock(), settle_s=0.0)
        self.store = RolloutStore(Database(f"sqlite:///{folder / 'rollouts.db'}"))
        self.versions = FakeVersionStore(folder / "registry")
        self.engines = ScriptedEngines(self.directory)
        self.judges = ScriptedJudges()
        self.is_asked = True
        self.controller = self.new_controller()
        self.tasks: list[asyncio.Task[None]] = []

    def new_controller(self, owner: str = "a") -> Controller:
        """One more, for the same store."""
        return Controller(
            self.store,
            self.directory,
            lambda: self.versions,
            self.folder / "versions",
            self.judges,
            owner=owner,
            pace=PACE,
        )

    async def traffic(self) -> Traffic:
        """What is in force."""
        found = (await self.directory.read(-1, 0.0)).traffic
        assert found is not None
        return found

    async def until(self, is_so: Callable[[Rollout], bool]) -> Rollout:
        """Wait for something of the rollout."""
        async with asyncio.timeout(15):
            while True:
                found = self.store.latest(NAME)
                if found and is_so(found[0]):
                    return found[0]
                await asyncio.sleep(0.01)

    async def until_stage(self, stage: str) -> Rollout:
        """Wait for a stage."""
        return await self.until(lambda rollout: rollout.stage == stage)

    async def until_waits(self, words: str) -> None:
        """Wait until `status` would say so."""

        def says(rollout: Rollout) -> bool:
            watch = self.store.watch(rollout.rollout_id)
            return watch is not None and watch.stage == rollout.stage and words in watch.document

        await self.until(says)

    async def order(self, verb: Verb, reason: str = "", stage: str = "") -> tuple[bool, str]:
        """Order as a person does, and wait for the answer."""
        (now,) = self.store.latest(NAME)
        number = self.store.give(now, verb, by="anna", reason=reason, stage=stage)
        async with asyncio.timeout(10):
            while (answer := self.store.answer(number)) is None:
                await asyncio.sleep(0.01)
        return answer.is_accepted, answer.said

    async def ask(self) -> None:
        """Requests come, while there is a canary."""
        while True:
            found = (await self.directory.read(-1, 0.0)).traffic
            for split in found.splits if found is not None and self.is_asked else ():
                if split.canary is not None:
                    await self.directory.tell(batch([outcome(split.rollout_id, is_canary=True)]))
            await asyncio.sleep(0.01)


@asynccontextmanager
async def staged(folder: Path) -> AsyncIterator[Stage]:
    stage = Stage(folder)
    tasks = [asyncio.create_task(run) for run in (stage.controller.run(), stage.engines.run(), stage.ask())]
    stage.tasks = tasks
    try:
        yield stage
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        stage.store.close()


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    async with staged(tmp_path) as made:
        yield made


def begun(stage: Stage, plan: Plan = PLAN, text: str = "Be kind.", rollout_id: str = "r1") -> Rollout:
    duty = stage.store.snapshot().duties.get(NAME)
    version = registered(stage.versions, stage.folder, text)
    made = prompt_rollout(version, plan, rollout_id, duty)
    stage.store.start(made, STARTED)
    return made


async def test_without_evidence_nothing_goes_on_and_the_reason_is_said(stage: Stage) -> None:
    stage.is_asked = False
    begun(stage)
    await stage.until_stage("canary 1/2")
    await stage.until_waits("needs more evidence")
    await asyncio.sleep(0.3)
    assert stage.store.latest(NAME)[0].stage == "canary 1/2"
    assert (await stage.traffic()).splits[0].canary_ratio == 0.25


async def test_each_step_needs_evidence_of_its_own(stage: Stage) -> None:
    begun(stage)
    await stage.until_stage("canary 1/2")
    stage.is_asked = False
    await asyncio.sleep(0.3)
    assert stage.store.latest(NAME)[0].stage in ("canary 1/2", "canary 2/2")
    at = stage.store.latest(NAME)[0].stage
    await asyncio.sleep(0.3)
    assert stage.store.latest(NAME)[0].stage == at


async def test_a_person_promotes_holds_and_resumes(stage: Stage) -> None:
    stage.is_asked = False
    begun(stage)
    await stage.until_stage("canary 1/2")
    await stage.until_waits("evidence")
    assert await stage.order("hold", "lunch") == (True, "canary 1/2")
    accepted, words = await stage.order("promote", stage="canary 1/2")
    assert not accepted
    assert "lunch" in words
    assert await stage.order("resume") == (True, "canary 1/2")
    assert await stage.order("promote", stage="canary 1/2") == (True, "canary 2/2")
    await stage.until_stage("canary 2/2")
    refused, words = await stage.order("promote", stage="canary 1/2")
    assert not refused
    assert "moved on" in words
    by_whom = [
        entry.note.by for entry in stage.store.history() if entry.note.event in ("held", "resumed", "canary 2/2")
    ]
    assert by_whom == ["anna", "anna", "anna"]


async def test_a_rollback_by_hand_moves_the_traffic_though_the_registry_is_down(stage: Stage) -> None:
    stage.is_asked = False
    begun(stage)
    await stage.until_stage("canary 1/2")
    await stage.until(lambda _: stage.versions.aliases == {NAME: {"canary": 1}})
    stage.versions.is_down = True
    assert await stage.order("roll_back", "complaints") == (True, "rolling back")
    await stage.until_waits("the registry must move the aliases: the registry does not answer")
    split = (await stage.traffic()).splits[0]
    assert (split.canary, split.stable.served_name) == (None, BASE)
    assert stage.versions.aliases == {NAME: {"canary": 1}}, "nothing is half-moved"
    stage.versions.is_down = False
    over = await stage.until_stage("rolled back")
    assert isinstance(over.state, RolledBack)
    assert over.state.reason == "complaints"
    assert stage.versions.aliases == {}


async def test_a_promotion_waits_for_the_registry_and_comes_through(stage: Stage) -> None:
    begun(stage)
    await stage.until(lambda now: now.stage == "canary 1/2" and stage.versions.aliases == {NAME: {"canary": 1}})
    stage.versions.is_down = True
    await stage.until_stage("promoting")
    await stage.until_waits("the registry must move the aliases: the registry does not answer")
    assert (await stage.traffic()).splits[0].canary_ratio == 0.5, "the traffic stays at the last step"
    assert stage.versions.aliases == {NAME: {"canary": 1}}
    stage.versions.is_down = False
    await stage.until_stage("done")
    assert stage.versions.aliases == {NAME: {"stable": 1}}


async def test_after_the_end_one_goes_back_once_the_version_before_is_loaded(stage: Stage) -> None:
    begun(stage)
    await stage.until_stage("done")
    begun(stage, text="Be brief.", rollout_id="r2")
    await stage.until(lambda now: now.rollout_id == "r2" and now.stage == "done")
    assert stage.versions.aliases == {NAME: {"stable": 2, "previous": 1}}
    duty = stage.store.snapshot().duties[NAME]
    assert duty.previous is not None
    back = replace(
        prompt_rollout(stage.versions.version(NAME, 2), PLAN, "r3"),
        stable=duty.previous,
        canary=duty.stable,
        state=Reloading(0.0, "complaints", "anna"),
    )
    stage.store.start(back, STARTED)
    await stage.until(lambda now: now.rollout_id == "r3" and now.stage == "rolled back")
    assert stage.versions.aliases == {NAME: {"stable": 1}}
    assert (await stage.traffic()).splits[0].stable.prompt == "Be kind."


async def test_damaged_files_are_never_loaded(stage: Stage) -> None:
    version = registered(stage.versions, stage.folder, "Be kind.")
    (file,) = stage.versions.folder_of(NAME, 1).iterdir()
    file.write_text("Be rude.", encoding="utf-8")
    stage.store.start(prompt_rollout(version, PLAN), STARTED)
    over = await stage.until_stage("rolled back")
    assert isinstance(over.state, RolledBack)
    assert NAME in over.state.reason
    assert (await stage.traffic()).splits == ()


async def test_an_adapter_that_an_engine_cannot_load_is_given_up(stage: Stage) -> None:
    first, second = adapter_release(1), adapter_release(2)
    stage.engines.faults = {second.side.served_name: "its rank is 64, the pool's is 16"}
    stage.store.start(rollout(plan=PLAN, stable=first, canary=second), STARTED)
    over = await stage.until_stage("rolled back")
    assert isinstance(over.state, RolledBack)
    assert "its rank is 64" in over.state.reason


async def test_adapters_of_both_sides_are_loaded_before_anybody_is_asked(stage: Stage) -> None:
    stage.is_asked = False
    stage.store.start(rollout(plan=PLAN), STARTED)
    await stage.until_stage("canary 1/2")
    names = [adapter_release(version).side.served_name for version in (1, 2)]
    assert all(list(each.adapters) == names for each in stage.engines.endpoints)
    await stage.order("roll_back")
    await stage.until(lambda _: all(list(each.adapters) == names[:1] for each in stage.engines.endpoints))


async def test_engines_that_go_stop_the_ramp_until_a_person_looks(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("registry.rollout.UNSERVED_S", 0.3)
    stage.is_asked = False
    stage.store.start(rollout(plan=PLAN), STARTED)
    await stage.until_stage("canary 1/2")
    stage.engines.is_up = False
    await stage.until_waits("no endpoint has the new version ready")
    stage.is_asked = True
    held = await stage.until(lambda now: now.hold is not None)
    assert held.stage == "canary 1/2"
    stage.engines.is_up = True
    await asyncio.sleep(0.3)
    assert stage.store.latest(NAME)[0].stage == "canary 1/2"
    async with asyncio.timeout(10):
        while not (await stage.order("resume"))[0]:
            await asyncio.sleep(0.05)
    # Its versions are in no registry, so it ends there.
    await stage.until_stage("promoting")


async def test_a_table_that_is_born_again_learns_the_traffic(stage: Stage) -> None:
    stage.is_asked = False
    begun(stage)
    await stage.until_stage("canary 1/2")
    before = await stage.traffic()
    stage.directory.__init__(MonotonicClock(), settle_s=0.1)  # type: ignore[misc]
    async with asyncio.timeout(3):
        while (table := await stage.directory.read(-1, 0.0)).traffic is None:
            await asyncio.sleep(0.01)
    assert table.traffic == before


async def test_a_registry_that_hangs_holds_up_nothing_else(tmp_path: Path) -> None:
    is_open = threading.Event()

    async with staged(tmp_path) as stage:
        stage.is_asked = False
        begun(stage)
        await stage.until_stage("canary 1/2")
        hanging = stage.versions.set_alias

        def hang(*arguments: Any) -> None:
            is_open.wait(20)
            hanging(*arguments)

        stage.versions.set_alias = hang  # type: ignore[assignment, method-assign]
        assert await stage.order("promote", stage="canary 1/2") == (True, "canary 2/2")
        assert await stage.order("promote", stage="canary 2/2") == (True, "promoting")
        began_s = asyncio.get_running_loop().time()
        assert await stage.order("roll_back", "it hangs") == (True, "rolling back")
        assert (await stage.traffic()).splits[0].canary is None
        assert asyncio.get_running_loop().time() - began_s < 2.0
        is_open.set()
        await stage.until_stage("rolled back")
        # What the promotion would have moved late was not moved after the rollback.
        assert stage.versions.aliases == {}


async def test_while_the_database_is_away_the_traffic_stays(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    stage.is_asked = False
    begun(stage)
    await stage.until_stage("canary 1/2")
    before = await stage.traffic()

    def away() -> None:
        raise Unavailable("the database of rollouts does not answer")

    with monkeypatch.context() as patched:
        patched.setattr(stage.store, "snapshot", away)
        await asyncio.sleep(0.2)
        stage.directory.__init__(MonotonicClock(), settle_s=0.0)  # type: ignore[misc]
        async with asyncio.timeout(3):
            while (await stage.directory.read(-1, 0.0)).traffic != before:
                await asyncio.sleep(0.01)
    assert await stage.order("roll_back") == (True, "rolling back")


async def test_a_new_database_s_numbers_go_above_those_in_force(stage: Stage) -> None:
    await stage.directory.direct(Traffic(1000, (), ()))
    stage.is_asked = False
    begun(stage)
    await stage.until_stage("canary 1/2")
    async with asyncio.timeout(5):
        while not (await stage.traffic()).splits:
            await asyncio.sleep(0.01)
    assert (await stage.traffic()).generation > 1000


async def test_a_stopped_controller_lets_the_next_one_begin_at_once(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        async with asyncio.timeout(5):
            while stage.store.snapshot().leader != "a":
                await asyncio.sleep(0.01)
        other = asyncio.create_task(stage.new_controller(owner="b").run())
        await asyncio.sleep(0.2)
        assert stage.store.snapshot().leader == "a"
        first = stage.tasks[0]
        first.cancel()
        async with asyncio.timeout(2):
            while stage.store.snapshot().leader != "b":
                await asyncio.sleep(0.01)
        other.cancel()
        await asyncio.wait({other, first})


async def test_evidence_goes_on_with_the_next_controller(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        begun(stage, replace(PLAN, bake_s=60.0))
        await stage.until_stage("canary 1/2")
        async with asyncio.timeout(5):
            while (watch := stage.store.watch("r1")) is None or watch.stage != "canary 1/2" or watch.watched_s < 0.2:
                await asyncio.sleep(0.02)
        counted = stage.judges.made[-1].in_step
        assert counted > 0
    async with staged(tmp_path) as stage:
        stage.is_asked = False
        async with asyncio.timeout(5):
            while (watch := stage.store.watch("r1")) is None or not stage.judges.made:
                await asyncio.sleep(0.02)
        assert stage.judges.made[-1].in_step > 0
        assert watch.watched_s >= 0.2


async def test_outcomes_of_other_rollouts_are_not_counted(stage: Stage) -> None:
    stage.is_asked = False
    begun(stage)
    await stage.until_stage("canary 1/2")
    await stage.directory.tell(batch([outcome("another", is_canary=True)]))
    await asyncio.sleep(0.2)
    assert stage.judges.made[-1].in_all == 0
