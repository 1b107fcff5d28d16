"""`fenzhen train publish` and `fenzhen train scheduled`: a real run, a real registry, a real database of rollouts."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from cluster.settings import Settings
from cluster.settings_file import read_settings
from fenzhen.__main__ import fenzhen
from fenzhen.errors import Invocation, exit_code_of
from registry.digests import folder_sha256
from registry.drift import Drift, Window
from registry.drift_store import Watched, open_drift
from registry.rollout_store import open_rollouts
from registry.stores import open_versions
from registry.versions import Gate
from tests.fakes.tiny_lm import make_tiny_lm
from training.run_folder import RunFolder
from training.run_state import read_state, write_state
from training.schedule_journal import Entry
from training.scheduled import journal_of

ROOT = Path(__file__).parents[2]
LIMIT_S = 100.0


@dataclass
class Said:
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        return json.loads(self.out)


class Office:
    """A home folder with a served base, rows, a recipe, and one run that has come to its end."""

    def __init__(self, home: Path) -> None:
        self.home = home
        base = make_tiny_lm(home / "base")
        # Each unlike the others: near duplicates of held-out rows would be left out.
        chance = random.Random(1)
        questions = [" ".join("".join(chance.choices("abcdefghij", k=6)) for _ in range(4)) for _ in range(30)]
        rows = [{"prompt": question, "answer": "It is red."} for question in questions]
        (home / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        source = {"kind": "folder", "path": str(base), "sha256": folder_sha256(base)}
        model = {
            "name": "tiny", "sources": [source], "languages": ["en"], "max_difficulty": 1.0, "context_tokens": 1024,
            "parameters_b": 0.0001, "disk_bytes": 1_000_000,
        }  # fmt: skip
        document = {
            "models": [model],
            "pools": [{"model": "tiny", "memory_bytes": 1_000_000_000, "max_adapters": 2}],
            "site": {"state_dir": str(home / "state"), "models_dir": str(home / "models")},
        }
        (home / "fenzhen.yaml").write_text(yaml.safe_dump(document), encoding="utf-8")
        self.recipe("colours")

    def recipe(self, name: str, rows: str = "rows.jsonl") -> None:
        document = {
            "name": name, "base": "tiny", "data": {"rows": [rows], "max_tokens": 256},
            "lora": {"rank": 4},
            "train": {"max_steps": 12, "batch_size": 2, "learning_rate": 0.01, "checkpoint_every_steps": 2},
            "evaluation": {"metric": "loss", "max_rows": 2, "max_general_rows": 2, "max_new_tokens": 2},
            "gates": ["loss_gain < 0"],
        }  # fmt: skip
        (self.home / f"{name}.yaml").write_text(yaml.safe_dump(document), encoding="utf-8")

    def schedule(self, name: str, **more: Any) -> str:
        document = {"name": f"{name}-schedule", "recipe": f"{name}.yaml", "every": "month", **more}
        file = self.home / f"{name}-schedule.yaml"
        file.write_text(yaml.safe_dump(document), encoding="utf-8")
        return str(file)

    def owe(self, name: str) -> None:
        """Let the schedule have been watched for two months, so that a run is due."""
        journal = journal_of(self.settings.site.state_dir, f"{name}-schedule")
        with journal.held():
            journal.add(Entry(datetime.now().astimezone() - timedelta(days=62), "watching", "watched from now on"))

    @property
    def settings(self) -> Settings:
        return read_settings(self.home / "fenzhen.yaml")

    def words(self, *words: str) -> list[str]:
        command, *rest = words
        return ["train", command, "--config", str(self.home / "fenzhen.yaml"), *rest]


def ran(words: list[str]) -> int:
    """Call the command in this process."""
    invocation = Invocation()
    return exit_code_of(lambda: fenzhen.main(words, "fenzhen", standalone_mode=False, obj=invocation), invocation)


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Office:
    made = Office(tmp_path_factory.mktemp("office"))
    assert ran(["models", "fetch", "tiny", "--config", str(made.home / "fenzhen.yaml")]) == 0
    return made


@dataclass
class Month:
    """What a schedule did in its first two lives."""

    file: str
    stopped: Said
    alert: int
    run: Path


@pytest.fixture(scope="module")
def month(office: Office) -> Month:
    """A month's run that was told to stop in the middle by SIGTERM, and went on."""
    plan = {"shadow": "0", "steps": [50], "bake": "1m"}
    file = office.schedule("colours", canary=True, on_drift=True, plan=plan)
    office.owe("colours")
    window = Window.empty(time.time() - 3600, time.time())
    drift = Drift((), "urgent", "train a new version at once")
    alert = open_drift(office.settings).compared("colours", 1, Watched(None, (), 0), window, drift)
    stopped = _stopped_by_sigterm(office, file)
    assert ran(office.words("scheduled", file, "--once")) == 0
    (run,) = (office.home / "state" / "training").glob("colours-*")
    return Month(file, stopped, alert.entry_id, run)


def _stopped_by_sigterm(office: Office, file: str) -> Said:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    words = [sys.executable, "-m", "fenzhen", *office.words("scheduled", file)]
    process = subprocess.Popen(words, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        deadline_s = time.monotonic() + LIMIT_S
        while not list((office.home / "state" / "training").glob("colours-*/checkpoints/step-*")):
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline_s
            time.sleep(0.02)
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=LIMIT_S)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    return Said(process.returncode, out, err)


class Desk:
    """Where commands are given, in this process."""

    def __init__(self, office: Office, capsys: pytest.CaptureFixture[str]) -> None:
        self.office = office
        self._capsys = capsys

    def __call__(self, *words: str) -> Said:
        code = ran(self.office.words(*words))
        said = self._capsys.readouterr()
        return Said(code, said.out, said.err)


@pytest.fixture
def desk(office: Office, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Desk:
    monkeypatch.setattr("fenzhen.rollout_start.ANSWER_S", 0.1)
    return Desk(office, capsys)


def test_a_new_schedule_only_watches(desk: Desk) -> None:
    desk.office.recipe("young")
    first = desk("scheduled", desk.office.schedule("young"), "--once", "--json")
    assert first.code == 0, first.err
    assert [entry["what"] for entry in first.document["journal"]] == ["watching"]
    assert first.document["waits"]["why"].startswith("next run ")


def test_sigterm_saves_a_checkpoint_and_the_same_run_goes_on_to_its_canary(desk: Desk, month: Month) -> None:
    assert month.stopped.code == 0, month.stopped.err
    assert "the same command goes on" in month.stopped.err
    said = desk("scheduled", month.file, "--once", "--json")
    assert said.document["done"] == []
    journal = said.document["journal"]
    assert [entry["what"] for entry in journal] == [
        "watching", "begun", "interrupted", "resumed", "published", "canary",
    ]  # fmt: skip
    assert {entry["run"] for entry in journal if "run" in entry} == {month.run.name}
    assert len(open_versions(desk.office.settings).versions("colours")) == 1
    (rollout,) = open_rollouts(desk.office.settings).snapshot().rollouts
    assert (rollout.name, rollout.canary.side.version, rollout.plan.bake_s) == ("colours", 1, 60.0)
    assert rollout.plan.why == "scheduled by colours-schedule"
    assert "canary" in desk("scheduled", month.file, "--history").out


def test_the_alert_is_taken_by_the_run_that_trains_for_it(desk: Desk, month: Month) -> None:
    (entry,) = open_drift(desk.office.settings).entries_since(name="colours")
    assert (entry.entry_id, entry.taken_by) == (month.alert, f"schedule colours-schedule, {month.run.name}")


def test_rows_that_are_not_there_end_it_with_the_sentence_and_exit_code_1(desk: Desk) -> None:
    desk.office.recipe("spoiled", rows="none.jsonl")
    file = desk.office.schedule("spoiled")
    desk.office.owe("spoiled")
    said = desk("scheduled", file, "--once", "--json")
    assert said.code == 1
    assert said.document["done"][-1]["what"] == "not_trained"
    assert "none.jsonl" in said.document["done"][-1]["why"]


def test_a_run_that_is_published_already_is_the_same_version_and_one_rollout_runs(desk: Desk, month: Month) -> None:
    again = desk("publish", month.run.name, "--json")
    assert again.code == 0, again.err
    assert (again.document["name"], again.document["version"], again.document["kind"]) == ("colours", 1, "adapter")
    refused = desk("publish", str(month.run), "--canary")
    assert refused.code == 2
    assert "runs already: version 1" in refused.err


def test_gates_that_are_not_passed_keep_the_version_and_refuse_the_canary(desk: Desk, month: Month) -> None:
    run = RunFolder(desk.office.home / "strict-run")
    shutil.copytree(month.run, run.path)
    run.recipe.write_text(run.recipe.read_text("utf-8").replace("name: colours", "name: strict"), "utf-8")
    gates = (Gate("loss", "< 0.0001", 2.5, False),)
    changes = {"name": "strict", "gates": gates, "published_version": None}
    write_state(run, read_state(run).model_copy(update=changes))
    assert desk("publish", str(run.path)).code == 1
    refused = desk("publish", str(run.path), "--canary", "--json")
    assert refused.code == 2
    assert "has not passed its gates: loss must be < 0.0001" in refused.err
    assert refused.document["version"] == 1
    # No controller runs here: the rollout is written down, and that is said.
    allowed = desk("publish", str(run.path), "--canary", "--steps", "50", "--despite-gates", "a try on Sunday")
    assert allowed.code == 3
    assert "no controller of rollouts runs" in allowed.err
    (rollout,) = [one for one in open_rollouts(desk.office.settings).snapshot().rollouts if one.name == "strict"]
    assert "despite its gates: a try on Sunday" in rollout.plan.why
    assert rollout.plan.steps == (0.5,)


@pytest.mark.parametrize("form", ["merged", "nf4"])
def test_a_form_of_its_own_is_measured_and_registered_as_a_model(desk: Desk, month: Month, form: str) -> None:
    words = ("--merge",) if form == "merged" else ("--quantise", form)
    said = desk("publish", str(month.run), *words, "--json")
    assert said.code == 0, said.err
    document = said.document
    assert (document["kind"], document["serves"]) == ("model", f"colours-{form}")
    assert document["results"]["loss"] < document["results"]["loss_before"]
    assert f"sha256: {folder_sha256(month.run / form)}" in said.err
    assert (month.run / "evaluation" / f"{form}.json").is_file()
    assert desk("publish", str(month.run), *words, "--json").document == document
    refused = desk("publish", str(month.run), *words, "--canary")
    assert refused.code == 2
    assert f"needs a pool that has them, colours-{form}" in refused.err


def test_what_cannot_be_published_is_told(desk: Desk, month: Month) -> None:
    assert "there is no run" in desk("publish", "nowhere").err
    wrong = desk("publish", str(month.run), "--quantise", "gptq")
    assert wrong.code == 2
    assert "pip install" in wrong.err
    assert desk("publish", str(month.run), "--despite-gates", "x").code == 2
