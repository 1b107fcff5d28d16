"""Runs of training in MLflow, in a real database: each figure once, none lost, and nobody waits for a registry."""

import shutil
import time
from pathlib import Path
from typing import Any

import pytest

from registry.mlflow_session import MlflowSession
from registry.run_spool import RunSpool
from registry.runs import TrainingRuns

# Nothing listens there.
_DOWN = "http://127.0.0.1:9"


@pytest.fixture
def session(tmp_path: Path, sqlite_template: Path) -> MlflowSession:
    shutil.copy(sqlite_template, tmp_path / "mlflow.db")
    return MlflowSession(f"sqlite:///{tmp_path / 'mlflow.db'}", 30)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "hotline-1"
    (path / "data").mkdir(parents=True)
    (path / "recipe.yaml").write_text("name: hotline\n")
    (path / "data" / "report.json").write_text("{}")
    return path


def runs_of(session: MlflowSession, folder: Path, said: list[str] | None = None) -> TrainingRuns:
    said = [] if said is None else said
    return TrainingRuns(session, str(folder.parent / "artifacts"), folder, said.append)


def all_runs(session: MlflowSession) -> list[Any]:
    def found(client: Any) -> list[Any]:
        experiments = [each.experiment_id for each in client.search_experiments()]
        return list(client.search_runs(experiments))

    return session.call(found)


def curve(session: MlflowSession, name: str) -> list[tuple[int, float]]:
    (run,) = all_runs(session)
    history = session.call(lambda client: client.get_metric_history(run.info.run_id, name))
    return sorted((metric.step, metric.value) for metric in history)


def test_a_run_has_its_parameters_curves_words_and_files(session: MlflowSession, folder: Path) -> None:
    runs = runs_of(session, folder)
    runs.begin("hotline-1", {"train.epochs": "3", "long": "x" * 9000}, {"fenzhen.adapter": "hotline"})
    for step in (1, 2, 3):
        runs.log({"train/loss": 1 / step}, step)
    runs.tag({"fenzhen.gates": "2 of 2 passed"})
    runs.end("FINISHED", ["recipe.yaml", "data/report.json", "data/tokens.png"])

    (run,) = all_runs(session)
    assert (run.info.run_name, run.info.status) == ("hotline-1", "FINISHED")
    assert run.data.params["train.epochs"] == "3"
    assert run.data.params["long"].startswith("xxx")
    assert run.data.tags["fenzhen.gates"] == "2 of 2 passed"
    assert curve(session, "train/loss") == [(1, 1.0), (2, 0.5), (3, 1 / 3)]
    artifacts = folder.parent / "artifacts" / run.info.run_id / "artifacts"
    assert sorted(str(path.relative_to(artifacts)) for path in artifacts.rglob("*") if path.is_file()) == [
        "data/report.json",
        "recipe.yaml",
    ]


def test_a_registry_that_is_down_ends_nothing_and_gets_everything_later(session: MlflowSession, folder: Path) -> None:
    said: list[str] = []
    down = runs_of(MlflowSession(_DOWN, 2), folder, said)
    began_s = time.monotonic()
    down.begin("hotline-1", {"seed": "1"}, {})
    for step in range(1, 51):
        down.log({"train/loss": float(step)}, step)
    assert time.monotonic() - began_s < 2
    down.end("FINISHED")

    assert len(said) == 1
    assert said[0].startswith(f"MLflow: the registry at {_DOWN} cannot be reached")
    assert len(RunSpool(folder).unsent(100)) == 52
    assert runs_of(session, folder).send()
    assert RunSpool(folder).unsent(100) == []
    assert curve(session, "train/loss") == [(step, float(step)) for step in range(1, 51)]
    assert all_runs(session)[0].info.status == "FINISHED"


def test_a_registry_that_is_still_down_is_told_once(folder: Path) -> None:
    RunSpool(folder).append("begin", at_ms=0, name="hotline-1", parameters={}, tags={})
    said: list[str] = []

    assert not runs_of(MlflowSession(_DOWN, 2), folder, said).send()
    assert len(said) == 1


def test_steps_that_a_resumed_run_takes_again_are_told_once(session: MlflowSession, folder: Path) -> None:
    first = runs_of(session, folder)
    first.begin("hotline-1", {}, {})
    first.log({"evaluation/loss": 9.0}, 0)
    for step in (1, 2, 3, 4):
        first.log({"train/loss": float(step)}, step)
    first.end("KILLED")
    with (folder / "mlflow.jsonl").open("a") as file:
        # What a kill leaves of a line.
        file.write('{"kind": "metr')
    second = runs_of(session, folder)
    second.begin("hotline-1", {}, {})
    for step in (3, 4, 5):
        second.log({"train/loss": float(step)}, step)
    second.log({"evaluation/loss": 5.0}, 5)
    second.end("FINISHED")

    assert curve(session, "train/loss") == [(1, 1.0), (2, 2.0), (3, 3.0), (4, 4.0), (5, 5.0)]
    assert curve(session, "evaluation/loss") == [(0, 9.0), (5, 5.0)]
    assert all_runs(session)[0].info.status == "FINISHED"


def test_a_kill_between_telling_and_noting_it_doubles_nothing(session: MlflowSession, folder: Path) -> None:
    runs = runs_of(session, folder)
    runs.begin("hotline-1", {"seed": "1"}, {})
    runs.log({"train/loss": 1.0}, 1)
    runs.end("KILLED")
    (folder / "mlflow.json").unlink()

    assert runs_of(session, folder).send()

    assert len(all_runs(session)) == 1
    assert curve(session, "train/loss") == [(1, 1.0)]


def test_a_full_disk_does_not_end_a_run(session: MlflowSession, folder: Path) -> None:
    said: list[str] = []
    runs = runs_of(session, folder, said)
    shutil.rmtree(folder)

    runs.log({"train/loss": 1.0}, 1)
    runs.log({"train/loss": 1.0}, 2)

    assert said == [f"MLflow: its figures cannot be kept in {folder}: No such file or directory; the run goes on"]


def test_a_run_that_somebody_has_deleted_in_mlflow_is_told(session: MlflowSession, folder: Path) -> None:
    runs = runs_of(session, folder)
    runs.begin("hotline-1", {}, {})
    runs.end("KILLED")
    (run,) = all_runs(session)
    session.call(lambda client: client.delete_run(run.info.run_id))
    said: list[str] = []
    again = runs_of(session, folder, said)
    again.begin("hotline-1", {}, {})
    again.log({"train/loss": 1.0}, 1)
    again.end("FINISHED")

    assert len(said) == 1
    assert "deleted" in said[0]
