"""Training on a real Ray, on this machine: two workers over gloo, killed, stopped and told apart from one process."""

import ast
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from cluster.errors import Unavailable, UserError
from cluster.ray_place import Workers, connected
from cluster.ray_train import run_together
from tests.fakes.tiny_lm import make_tiny_lm
from tests.integration.cluster_ground import (
    Witness,
    long_recipe,
    refuse_in_one,
    some_rows,
)
from training.adapter import read_weights
from training.cluster_job import fit_on_cluster
from training.fitting import Interrupted, fit
from training.run_folder import RunFolder
from training.watch import Step

pytestmark = pytest.mark.timeout(400)


def never() -> bool:
    return False


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_lm(tmp_path_factory.mktemp("model") / "base")


@pytest.fixture(scope="module")
def ray_address() -> Iterator[str]:
    """One Ray for all tests."""
    with connected():
        import ray

        yield ray.get_runtime_context().gcs_address


def run_folder(path: Path) -> RunFolder:
    path.mkdir()
    return RunFolder(path)


def workers_alive() -> list[psutil.Process]:
    """The processes that train, found below the Ray of this process."""
    found = []
    for process in psutil.Process().children(recursive=True):
        try:
            if "RayTrainWorker" in " ".join(process.cmdline()):
                found.append(process)
        except psutil.Error:
            continue
    return found


def assert_same_weights(one: Path, other: Path) -> None:
    left, right = read_weights(one), read_weights(other)
    assert left.keys() == right.keys()
    assert max(float((left[name] - right[name]).abs().max()) for name in left) < 1e-5
    # They have learnt something: half of a fresh adapter's matrices are zeros.
    assert all(float(tensor.abs().max()) > 0 for tensor in left.values())


def assert_same_curve(one: Witness, other: Witness) -> None:
    expected = {step.number: step for step in one.steps}
    assert [step.number for step in other.steps] == sorted({step.number for step in other.steps})
    for step in other.steps:
        assert step.loss == pytest.approx(expected[step.number].loss, abs=1e-4)
        assert step.grad_norm == pytest.approx(expected[step.number].grad_norm, rel=1e-3)
        assert step.learning_rate == expected[step.number].learning_rate
        assert step.tokens == expected[step.number].tokens
    for number, loss in other.results.items():
        assert loss == pytest.approx(one.results[number], abs=1e-4)


def test_an_address_that_ray_train_cannot_use_is_told_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "ray://head:10001")
    with pytest.raises(UserError, match="ray job submit"):
        run_together(refuse_in_one, {}, Workers(2), tmp_path, lambda _: None, never)


def test_more_workers_than_there_is_room_for_are_refused_with_what_there_is(ray_address: str, tmp_path: Path) -> None:
    workers = Workers(64, cpus_each=2, gpus_each=1, placement_timeout_s=0.5)
    with pytest.raises(
        Unavailable, match=r"64 workers of 1 GPU and 2 CPU each .*128 CPUs and 64 GPUs.* the cluster has \d+ CPUs"
    ):
        run_together(refuse_in_one, {}, workers, tmp_path, lambda _: None, never)


def test_what_a_worker_says_must_be_mended_ends_all_at_once(ray_address: str, tmp_path: Path) -> None:
    told: list[object] = []
    with pytest.raises(UserError, match="take other rows"):
        run_together(
            refuse_in_one, {"sentence": "take other rows"}, Workers(2, max_failures=5), tmp_path, told.append, never
        )
    assert told == ["begun", "begun"]


def test_a_lost_driver_a_lost_worker_and_a_stop_change_nothing_of_what_is_learnt(
    ray_address: str, base: Path, tmp_path: Path
) -> None:
    alone = Witness()
    one = fit(long_recipe(base), some_rows(), base, run_folder(tmp_path / "one"), alone, never)
    run = run_folder(tmp_path / "two")

    # Two workers hold half of the base each. Their driver dies; the cluster does not, and they leave it.
    died = subprocess.run(
        [sys.executable, "-m", "tests.integration.dying_trainer", base, run.path, "12"],
        env={**os.environ, "RAY_ADDRESS": ray_address},
        check=False,
        timeout=180,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert died.returncode == -signal.SIGKILL
    until_s = time.monotonic() + 30
    while workers_alive() and time.monotonic() < until_s:
        time.sleep(0.1)
    assert workers_alive() == []
    said = [ast.literal_eval(line) for line in died.stdout.splitlines()]
    shared = Witness(steps=[Step(**each) for each in said if isinstance(each, dict)])
    assert [step.number for step in shared.steps] == list(range(1, 13))
    assert_same_curve(alone, shared)
    held = [float(line.removeprefix("holds ")) for line in said if isinstance(line, str) and line.startswith("holds ")]
    # The adapter, a seventh of this small a model, is whole on each.
    assert len(held) == 2
    assert all(0.5 < ratio < 0.6 for ratio in held)

    # The next driver goes on, with the base whole on each worker, through the loss of one, until it is told to stop.
    is_stopping = False

    def stop() -> None:
        nonlocal is_stopping
        is_stopping = True

    watch = Witness({35: lambda: workers_alive()[0].kill(), 48: stop})
    with pytest.raises(Interrupted, match=r"after step \d+ of 300") as interrupted:
        fit_on_cluster(long_recipe(base, "data_parallel"), some_rows(), base, run, watch, lambda: is_stopping)
    last = int(re.findall(r"after step (\d+)", str(interrupted.value))[0])
    (first,) = watch.first_steps
    assert first in (11, 21, 31)
    assert any(re.search(r"worker [01] was lost", note) for note in watch.notes)
    assert any(re.search(r"go on with step \d*1", note) for note in watch.notes)
    assert [step.number for step in watch.steps] == list(range(first, last + 1))
    assert max(path.name for path in run.checkpoints.glob("step-*")) == f"step-{last:08d}"

    # Where the cluster stopped, one process goes on.
    rest = Witness()
    two = fit(long_recipe(base), some_rows(), base, run, rest, never)
    assert [step.number for step in rest.steps] == list(range(last + 1, 301))
    assert_same_curve(alone, watch)
    assert_same_curve(alone, rest)
    assert_same_weights(one.adapter, two.adapter)
