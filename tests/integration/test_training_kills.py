"""A run is killed again and again, at any moment, and ends as if nothing had happened."""

import json
import multiprocessing
import os
import random
import signal
import time
from collections.abc import Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.tiny_lm import make_tiny_lm
from tests.fakes.training import INTERRUPTED, live, recipe_of
from training.adapter import read_weights

KILLS = 10
STEPS = 16
# Every step writes a checkpoint: a good part of all moments lies within one.
RECIPE = recipe_of(
    {"max_steps": STEPS, "epochs": 100, "checkpoint_every_steps": 1, "evaluate_every_steps": 4, "early_stop_after": 9},
    lora={"dropout_ratio": 0.1},
)
_LIFE_S = 100


class Lives:
    """Starts lives of runs. They are forked from a process that has imported everything and calculated nothing."""

    def __init__(self, folder: Path) -> None:
        os.environ["OMP_NUM_THREADS"] = "1"
        self._context: Any = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(["tests.fakes.training", "training.lesson"])
        self._folder, self._living = folder, list[BaseProcess]()
        self.base = make_tiny_lm(folder / "tiny")
        # The first waits for the imports.
        process: BaseProcess = self._context.Process(target=int)
        process.start()
        process.join(_LIFE_S)

    def begin(self, run: str, dies_at: tuple[str, int] | None = None) -> BaseProcess:
        """One more life of a run."""
        places = (str(self.base), str(self._folder / run), str(self.diary(run)))
        process: BaseProcess = self._context.Process(target=live, args=(RECIPE.model_dump_json(), *places, dies_at))
        process.start()
        self._living.append(process)
        return process

    def finish(self, run: str) -> None:
        """A life that nobody disturbs."""
        process = self.begin(run)
        process.join(_LIFE_S)
        assert process.exitcode == 0

    def diary(self, run: str) -> Path:
        return self._folder / f"{run}.diary"

    def losses(self, run: str) -> dict[int, float]:
        """By step, as told last. The line that a kill cut off was told again."""
        lines = self.diary(run).read_text(encoding="utf-8").splitlines() if self.diary(run).exists() else []
        return dict(json.loads(line) for line in lines if line.endswith("]"))

    def adapter(self, run: str) -> dict[str, Any]:
        return read_weights(self._folder / run / "adapter")

    def halves(self, run: str) -> list[str]:
        """What a killed life was about to write."""
        return [path.name for path in (self._folder / run).rglob(".partial-*")]

    def checkpoints(self, run: str) -> list[str]:
        return sorted(path.name for path in (self._folder / run / "checkpoints").iterdir())

    def end(self) -> None:
        for process in self._living:
            if process.is_alive():
                process.kill()
            process.join(_LIFE_S)


@pytest.fixture(scope="module")
def lives(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lives]:
    lives = Lives(tmp_path_factory.mktemp("lives"))
    yield lives
    lives.end()


@pytest.fixture(scope="module")
def undisturbed(lives: Lives) -> tuple[dict[str, Any], dict[int, float], float]:
    """Its adapter, its losses, and how long it took."""
    began = time.monotonic()
    lives.finish("undisturbed")
    return lives.adapter("undisturbed"), lives.losses("undisturbed"), time.monotonic() - began


@pytest.mark.timeout(600)
def test_a_run_killed_ten_times_at_random_moments_ends_with_the_same_adapter(
    lives: Lives, undisturbed: tuple[dict[str, Any], dict[int, float], float]
) -> None:
    adapter, losses, life_s = undisturbed
    chance = random.Random(20)
    kills, runs = 0, 1
    while kills < KILLS:
        process = lives.begin(f"killed-{runs}")
        process.join(chance.uniform(0, life_s))
        process.kill()
        process.join(_LIFE_S)
        if process.exitcode == -signal.SIGKILL:
            kills += 1
        else:
            # It was quicker than we: the next kills meet another run.
            assert process.exitcode == 0
            runs += 1
    lives.finish(f"killed-{runs}")
    for number in range(1, runs + 1):
        name = f"killed-{number}"
        assert lives.losses(name) == losses
        assert lives.adapter(name).keys() == adapter.keys()
        assert all(lives.adapter(name)[weight].equal(adapter[weight]) for weight in adapter)


@pytest.mark.timeout(300)
def test_a_run_killed_while_it_writes_ends_with_the_same_adapter(
    lives: Lives, undisturbed: tuple[dict[str, Any], dict[int, float], float]
) -> None:
    adapter, losses, _ = undisturbed
    # In the middle of the first checkpoint, in another, before one gets its name, and before the adapter gets its own.
    # By then four have theirs, and the adapter's turn is after all others.
    for moment in (("fsync", 3), ("fsync", 29), ("rename", 2), ("rename", STEPS - 4 + 1)):
        process = lives.begin("writing", moment)
        process.join(_LIFE_S)
        assert process.exitcode == -signal.SIGKILL
        assert len(lives.halves("writing")) == 1
    assert lives.halves("writing") == [".partial-adapter"]
    lives.finish("writing")
    assert lives.halves("writing") == []
    assert lives.losses("writing") == losses
    assert all(lives.adapter("writing")[weight].equal(adapter[weight]) for weight in adapter)


@pytest.mark.timeout(300)
def test_sigterm_saves_the_very_step_and_the_run_goes_on_from_there(
    lives: Lives, undisturbed: tuple[dict[str, Any], dict[int, float], float]
) -> None:
    adapter, losses, _ = undisturbed
    process = lives.begin("told")
    deadline = time.monotonic() + _LIFE_S
    while len(lives.losses("told")) < 3:
        assert time.monotonic() < deadline
        assert process.exitcode is None
        time.sleep(0.01)
    process.terminate()
    process.join(_LIFE_S)
    assert process.exitcode == INTERRUPTED
    last = max(lives.losses("told"))
    assert last < STEPS
    assert lives.checkpoints("told")[-1] == f"step-{last:08d}"
    lives.finish("told")
    assert lives.losses("told") == losses
    assert all(lives.adapter("told")[weight].equal(adapter[weight]) for weight in adapter)
