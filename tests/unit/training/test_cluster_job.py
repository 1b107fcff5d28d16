"""What training on a cluster does around Ray: the worker's part runs in this process, as the only worker."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from cluster.errors import Unavailable, UserError
from cluster.ray_place import Workers
from cluster.ray_train import Work
from tests.integration.cluster_ground import Witness, recipe_of, some_rows
from training.cluster_job import fit_on_cluster
from training.cluster_worker import LinkWatch
from training.fitting import Fitted, Interrupted
from training.prepared import Prepared
from training.recipe import Recipe
from training.run_folder import RunFolder
from training.watch import Step, Watch


class FakeLink:
    """A worker's line that ends here."""

    def __init__(self, told: Callable[[Any], None]) -> None:
        self.is_stopping = False
        self.flushed = 0
        self.tell = told

    def flush(self) -> None:
        self.flushed += 1


class FakeCluster:
    """Takes what is to be done on a cluster, and does it here."""

    def __init__(self, spoil: Callable[[dict[str, str]], None] = lambda _: None, *, has_room: bool = True) -> None:
        self.arguments: dict[str, str] = {}
        self._spoil = spoil
        self._has_room = has_room

    def run_together(
        self,
        work: Work,
        arguments: Mapping[str, str],
        workers: Workers,
        storage: Path,
        told: Callable[[Any], None],
        stop: Callable[[], bool],
    ) -> Any:
        self.arguments = dict(arguments)
        if not self._has_room:
            raise Unavailable("there is no room")
        self._spoil(self.arguments)
        return work(self.arguments, FakeLink(told))  # type: ignore[arg-type]


def a_base(folder: Path) -> Path:
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"weights")
    return folder


def a_recipe(folder: Path) -> Recipe:
    return recipe_of(folder / "base", {}, {"workers": 2, "gpus_per_worker": 0, "storage": str(folder / "storage")})


def fake_fit(
    recipe: Recipe, prepared: Prepared, base: Path, run: RunFolder, watch: Watch, stop: Callable[[], bool]
) -> Fitted:
    """Learns the number of rows."""
    watch.began(2, 1)
    run.adapter.mkdir(parents=True)
    (run.adapter / "rows").write_text(str(len(prepared.train)))
    return Fitted(run.adapter, 2, 7, 1.0, 7.0, 1, 0.5, False)


@pytest.fixture
def fitted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[FakeCluster], tuple[Fitted, Witness]]:
    """Trains on such a cluster, with the run in `run` and the shared folder in `storage`."""
    a_base(tmp_path / "base")
    (tmp_path / "run").mkdir()
    monkeypatch.setattr("training.cluster_worker.fit", fake_fit)
    # accelerate, which takes seconds to import, would be told of a worker.
    monkeypatch.setattr("training.cluster_worker._introduce", lambda recipe: None)

    def fit(cluster: FakeCluster, *, is_stopping: bool = False) -> tuple[Fitted, Witness]:
        monkeypatch.setattr("training.cluster_job.run_together", cluster.run_together)
        watch = Witness()
        run = RunFolder(tmp_path / "run")
        recipe = a_recipe(tmp_path)
        return fit_on_cluster(recipe, some_rows(), tmp_path / "base", run, watch, lambda: is_stopping), watch

    return fit


def test_rows_go_to_the_shared_folder_and_the_adapter_comes_home(fitted: Any, tmp_path: Path) -> None:
    cluster = FakeCluster()
    made, watch = fitted(cluster)
    assert cluster.arguments["rows"].startswith(str(tmp_path / "storage" / "run-"))
    assert made.adapter == tmp_path / "run" / "adapter"
    assert (made.adapter / "rows").read_text() == "45"
    assert (made.steps, watch.first_steps) == (2, [1])
    assert list((tmp_path / "storage").iterdir()) == []


def test_a_machine_that_does_not_see_the_rows_says_what_to_share(fitted: Any, tmp_path: Path) -> None:
    def hide(arguments: dict[str, str]) -> None:
        Path(arguments["rows"]).unlink()

    with pytest.raises(UserError, match=r"does not see .*rows\.json: .* `cluster: storage:`"):
        fitted(FakeCluster(hide))
    assert not (tmp_path / "run" / "adapter").exists()


def test_a_machine_that_sees_other_rows_is_named_and_their_text_is_not(fitted: Any) -> None:
    def change(arguments: dict[str, str]) -> None:
        path = Path(arguments["rows"])
        path.write_text(path.read_text().replace("How much", "How little"))

    with pytest.raises(UserError, match=r"sees another rows\.json") as error:
        fitted(FakeCluster(change))
    assert "How little" not in str(error.value)


def test_a_machine_with_another_base_under_the_path_is_named(fitted: Any, tmp_path: Path) -> None:
    def change(arguments: dict[str, str]) -> None:
        (tmp_path / "base" / "model.safetensors").write_bytes(b"other weights")

    with pytest.raises(UserError, match="has not the base in"):
        fitted(FakeCluster(change))


def test_a_stop_before_there_is_room_is_an_interruption(fitted: Any) -> None:
    with pytest.raises(Interrupted, match="before its workers had begun"):
        fitted(FakeCluster(has_room=False), is_stopping=True)
    with pytest.raises(Unavailable, match="no room"):
        fitted(FakeCluster(has_room=False))


def test_steps_that_new_workers_repeat_are_told_once(tmp_path: Path, fitted: Any, monkeypatch: Any) -> None:
    def twice(*arguments: Any) -> Fitted:
        watch = arguments[4]
        for first in (1, 3):
            watch.began(4, first)
            for number in range(first, 5):
                watch.step(Step(number, 1.0, 0.1, 1.0, number, 1.0))
            watch.measured({"eval_loss": float(first)}, 4)
        return fake_fit(*arguments)

    monkeypatch.setattr("training.cluster_worker.fit", twice)
    _, watch = fitted(FakeCluster())
    assert watch.first_steps == [1]
    assert [step.number for step in watch.steps] == [1, 2, 3, 4]
    assert watch.results == {4: 1.0}
    assert "new workers go on with step 3" in watch.notes


def test_what_was_told_is_with_the_driver_before_a_checkpoint_is_written() -> None:
    link = FakeLink(lambda _: None)
    watch = LinkWatch(link, 2)  # type: ignore[arg-type]
    for number in range(1, 6):
        watch.step(Step(number, 1.0, 0.1, 1.0, number, 1.0))
    watch.measured({"eval_loss": 1.0}, 4)
    assert link.flushed == 3


@pytest.mark.parametrize(
    ("cluster", "sentence"),
    [
        ({"workers": 1, "strategy": "fsdp"}, "2 or more"),
        ({"workers": 2, "gpus_per_worker": 2}, "one GPU"),
        ({"workers": 2, "gpus_per_worker": 0.5, "strategy": "fsdp"}, "whole GPU"),
        ({"workers": 3}, "8 rows a step cannot be shared out evenly by 3 workers"),
    ],
)
def test_a_cluster_that_cannot_be_is_refused_with_the_recipe(cluster: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        recipe_of(Path("base"), {}, cluster)
