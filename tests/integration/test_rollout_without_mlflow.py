"""A real MLflow server that dies in the middle of a rollout: traffic goes on, nothing is half-moved."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from cluster.clock import MonotonicClock
from cluster.directory_holder import DirectoryHolder
from cluster.traffic import Split
from registry.controller import Controller
from registry.database import Database
from registry.leading import Pace
from registry.mlflow_store import MlflowStore
from registry.rollout import Verb
from registry.rollout_states import Plan
from registry.rollout_store import RolloutStore
from registry.versions import Alias
from tests.fakes.mlflow_server import MlflowServer
from tests.fakes.rollouts import (
    BASE,
    NAME,
    STARTED,
    ScriptedEngines,
    ScriptedJudges,
    batch,
    outcome,
    prompt_rollout,
    registered,
)

PLAN = Plan(steps=(0.25, 0.5), bake_s=0.0, shadow_s=0.0, shadow_ratio=0.5)
PACE = Pace(tick_s=0.05, lease_s=5.0, retry_s=0.2, keep_s=0.1)
TIMEOUT_S = 3.0


class Scene:
    """A controller and scripted engines over a real registry; the test plays requests and people."""

    def __init__(self, folder: Path, server: MlflowServer) -> None:
        self.directory = DirectoryHolder(MonotonicClock(), settle_s=0.0)
        self.store = RolloutStore(Database(f"sqlite:///{folder / 'rollouts.db'}"))
        self.versions = MlflowStore(server.url, str(folder / "unused"), folder / "lists", TIMEOUT_S)
        self.judges = ScriptedJudges(needed=10**9)
        self._controller = Controller(
            self.store, self.directory, lambda: self.versions, folder / "versions", self.judges, owner="a", pace=PACE
        )

    async def run(self) -> None:
        """Until it is cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._controller.run())
            group.create_task(ScriptedEngines(self.directory).run())
            group.create_task(self._ask())

    async def _ask(self) -> None:
        while True:
            for split in await self.splits():
                if split.canary is not None:
                    await self.directory.tell(batch([outcome(split.rollout_id, is_canary=True)]))
            await asyncio.sleep(0.02)

    async def splits(self) -> tuple[Split, ...]:
        """In force."""
        traffic = (await self.directory.read(-1, 0.0)).traffic
        return () if traffic is None else traffic.splits

    async def aliases(self) -> dict[Alias, int]:
        """As the registry has them."""
        versions = await asyncio.to_thread(self.versions.versions, NAME)
        return {alias: version.version for version in versions for alias in version.aliases}

    async def until(self, is_so: Callable[[], bool]) -> None:
        """Wait for it."""
        async with asyncio.timeout(60):
            while not is_so():
                await asyncio.sleep(0.05)

    def stage(self) -> str:
        """Of the last rollout."""
        return self.store.latest(NAME)[0].stage

    def waits_for_registry(self) -> bool:
        """Whether `status` says what it waits for."""
        watch = self.store.watch(self.store.latest(NAME)[0].rollout_id)
        return watch is not None and watch.stage == self.stage() and "the registry must move" in watch.document

    def order(self, verb: Verb) -> None:
        """As a person does."""
        self.store.give(self.store.latest(NAME)[0], verb, by="anna", reason="complaints")


@pytest.mark.timeout(300)
async def test_a_server_that_dies_in_a_rollout_delays_the_promotion_and_not_a_rollback(tmp_path: Path) -> None:
    with MlflowServer(tmp_path / "server") as server:
        scene = Scene(tmp_path, server)
        version = await asyncio.to_thread(registered, scene.versions, tmp_path, "Be kind.")
        scene.store.start(prompt_rollout(version, PLAN), STARTED)
        running = asyncio.create_task(scene.run())
        try:
            await scene.until(lambda: scene.stage() == "canary 1/2")
            async with asyncio.timeout(30):
                while await scene.aliases() != {"canary": 1}:
                    await asyncio.sleep(0.1)

            server.kill()
            scene.judges.needed = 1
            await scene.until(lambda: scene.stage() == "promoting")
            await scene.until(scene.waits_for_registry)
            (split,) = await scene.splits()
            assert (split.canary_ratio, split.stable.served_name) == (0.5, BASE), "the traffic stays at the last step"

            await asyncio.to_thread(server.start)
            await scene.until(lambda: scene.stage() == "done")
            assert await scene.aliases() == {"stable": 1}

            # The same once more, back instead of on.
            scene.judges.needed = 10**9
            later = await asyncio.to_thread(registered, scene.versions, tmp_path, "Be brief.")
            duty = scene.store.snapshot().duties[NAME]
            scene.store.start(prompt_rollout(later, PLAN, "r2", duty), STARTED)
            await scene.until(lambda: scene.stage() == "canary 1/2")
            async with asyncio.timeout(30):
                while await scene.aliases() != {"stable": 1, "canary": 2}:
                    await asyncio.sleep(0.1)
            server.kill()
            scene.order("roll_back")
            await scene.until(lambda: scene.stage() == "rolling back")
            await scene.until(scene.waits_for_registry)
            (split,) = await scene.splits()
            assert (split.canary, split.stable.version) == (None, 1), "the traffic is back at once"
            await asyncio.to_thread(server.start)
            await scene.until(lambda: scene.stage() == "rolled back")
            assert await scene.aliases() == {"stable": 1}
        finally:
            running.cancel()
            await asyncio.wait({running})
            scene.store.close()
