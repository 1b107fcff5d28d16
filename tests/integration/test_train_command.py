"""`fenzhen train run` on the tiny model: the real command, the real trainer, a real registry, a real kill."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from registry.digests import folder_sha256
from tests.fakes.tiny_lm import make_tiny_lm
from training.adapter import read_weights
from training.shipped_rows import HOTLINE_ROWS

ROOT = Path(__file__).parents[2]
_LIMIT_S = 200.0
# Each test starts whole processes with torch in them: 5 s each on two idle cores, ten times that on busy ones.
pytestmark = pytest.mark.timeout(240)
CONFIGURATION = """\
models:
  - name: tiny
    languages: [zh]
    max_difficulty: 1
    context_tokens: 1024
    parameters_b: 0.0001
    disk_bytes: 1000000
    sources: [{{kind: folder, path: {base}, sha256: {sha256}}}]
pools: [{{model: tiny, memory_bytes: 1000000000, max_adapters: 2}}]
site: {{state_dir: {home}/state, models_dir: {home}/models}}
"""
RECIPE = """\
name: colours
base: tiny
data: {rows: [rows.jsonl], max_tokens: 256}
lora: {rank: 4}
train: {max_steps: 24, batch_size: 4, learning_rate: 0.01, checkpoint_every_steps: 4}
evaluation: {metric: loss, max_rows: 4, max_general_rows: 4, max_new_tokens: 4}
gates: [loss_gain < 0]
"""


class Office:
    """A home folder from which the command is called."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self._started: list[subprocess.Popen[str]] = []
        base = make_tiny_lm(home / "base")
        rows = HOTLINE_ROWS.read_text(encoding="utf-8").splitlines()[::6]
        self.prompts: list[str] = [json.loads(row)["prompt"] for row in rows]
        (home / "rows.jsonl").write_text("\n".join(rows) + "\n", encoding="utf-8")
        (home / "recipe.yaml").write_text(RECIPE)
        (home / "fenzhen.yaml").write_text(CONFIGURATION.format(home=home, base=base, sha256=folder_sha256(base)))

    def start(self, *words: str) -> subprocess.Popen[str]:
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
        process = subprocess.Popen(
            [sys.executable, "-m", "fenzhen", *words],
            cwd=self.home, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        self._started.append(process)
        return process

    def call(self, *words: str) -> tuple[int, str, str]:
        process = self.start(*words)
        out, err = process.communicate(timeout=_LIMIT_S)
        return process.returncode, out, err

    def close(self) -> None:
        """End what a failed test has left."""
        for process in self._started:
            if process.poll() is None:
                process.kill()
                process.communicate(timeout=30)


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    office = Office(tmp_path_factory.mktemp("office"))
    try:
        code, _, err = office.call("models", "fetch", "tiny")
        assert code == 0, err
        yield office
    finally:
        office.close()


@pytest.fixture(scope="module")
def undisturbed(office: Office) -> Path:
    """A run that came to its end in one life."""
    folder = office.home / "undisturbed"
    code, out, err = office.call("train", "run", "recipe.yaml", "--output", str(folder), "--publish", "--json")
    assert code == 0, err
    document = json.loads(out)
    assert document["results"]["loss"] < document["results"]["loss_before"] - 0.1
    assert document["gates"][0]["is_passed"]
    assert document["version"] == 1
    assert "training: 24 steps" in err
    assert "tokens" in err
    return folder


def until(check: object, process: subprocess.Popen[str]) -> None:
    assert callable(check)
    deadline_s = time.monotonic() + _LIMIT_S
    while not check():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline_s
        time.sleep(0.01)


def test_a_dry_run_says_what_it_would_take_and_writes_nothing(office: Office) -> None:
    code, out, err = office.call("train", "run", "recipe.yaml", "--dry-run", "--json", "--output", "dry")

    assert code == 0, err
    plan = json.loads(out)
    assert (plan["steps"], plan["rows"] + plan["held_out"], plan["parameters"]) == (24, 64, 107200)
    assert plan["trainable"] == 8192
    assert not (office.home / "dry").exists()


def test_killed_in_the_middle_and_resumed_a_run_makes_the_same_adapter(office: Office, undisturbed: Path) -> None:
    folder = office.home / "killed"
    process = office.start("train", "run", "recipe.yaml", "--output", str(folder))
    until(lambda: (folder / "checkpoints" / "step-00000008").exists(), process)
    process.kill()
    process.communicate(timeout=30)
    assert not (folder / "adapter").exists()
    # Neither the recipe nor the rows are needed any more.
    (office.home / "rows.jsonl").rename(office.home / "moved.jsonl")
    try:
        _, listed, _ = office.call("train", "runs", str(folder))
        assert "killed in fit" in listed
        code, out, err = office.call("train", "run", "--resume", str(folder))
    finally:
        (office.home / "moved.jsonl").rename(office.home / "rows.jsonl")

    assert code == 0, err
    assert "going on with step" in err
    assert "gate loss_gain < 0: passed" in out
    made, expected = read_weights(folder / "adapter"), read_weights(undisturbed / "adapter")
    assert made.keys() == expected.keys()
    for name in made:
        assert made[name].sub(expected[name]).abs().max() < 1e-5


def test_ctrl_c_saves_a_checkpoint_and_says_how_to_go_on(office: Office) -> None:
    folder = office.home / "stopped"
    process = office.start("train", "run", "recipe.yaml", "--output", str(folder), "--set", "train.max_steps=4000")
    until(lambda: (folder / "checkpoints" / "step-00000004").exists(), process)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)

    assert process.returncode == 130
    assert "saving a checkpoint" in err
    assert f"To go on: fenzhen train run --resume {folder}" in err
    state = json.loads((folder / "run.json").read_text())
    assert state["phase"] == "interrupted"


def test_every_run_is_in_mlflow_once_and_no_row_is(office: Office, undisturbed: Path) -> None:
    with sqlite3.connect(office.home / "state" / "registry" / "registry.db") as database:
        rows = database.execute("SELECT run_uuid, status FROM runs WHERE name = 'undisturbed'").fetchall()
        assert [status for _, status in rows] == ["FINISHED"]
        run = rows[0][0]
        steps = database.execute(
            "SELECT count(*), min(step), max(step) FROM metrics WHERE run_uuid = ? AND key = 'train/loss'", (run,)
        ).fetchone()
        assert steps == (24, 1, 24)
        parameters = dict(database.execute("SELECT key, value FROM params WHERE run_uuid = ?", (run,)).fetchall())
    assert parameters["lora.rank"] == "4"
    assert len(parameters["data.train.sha256"]) == 64
    assert parameters["environment.torch"] != "not installed"
    files = [path for path in (office.home / "state" / "registry" / "artifacts" / run).rglob("*") if path.is_file()]
    assert {path.name for path in files} == {"recipe.yaml", "run.json", "report.json", "report.txt", "tokens.png"}
    told = b"".join(path.read_bytes() for path in files)
    assert [prompt for prompt in office.prompts if prompt.encode() in told] == []


def test_the_list_of_runs_tells_before_and_after(office: Office, undisturbed: Path) -> None:
    code, out, _ = office.call("train", "runs", str(undisturbed), "--json")

    assert code == 0
    document = json.loads(out)
    assert (document["state"], document["metric"], document["published_version"]) == ("done", "loss", 1)
    assert document["results"]["loss_before"] > document["results"]["loss"]


def test_bad_rows_are_told_with_their_lines_and_leave_nothing(office: Office) -> None:
    (office.home / "bad.jsonl").write_text('{"prompt": "a", "answer": "b"}\n{"prompt": "a"}\n')

    code, _, err = office.call("train", "run", "recipe.yaml", "--set", "data.rows=[bad.jsonl]", "--output", "bad")

    assert code == 2
    assert "bad.jsonl, line 2: answer is missing" in err
    assert not (office.home / "bad").exists()
