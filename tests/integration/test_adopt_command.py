"""`fenzhen router adopt` as it is typed: figures, exit codes, and what lies in the state folder afterwards."""

import json
import os
import random
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from router.estimate import Judge
from router.judge_file import DEFAULT, load, save
from router.judge_folder import JudgeFolder
from router.query import Query
from tests.fakes import judges

ROOT = Path(__file__).parents[2]
CONFIGURATION = """\
models:
  - {{name: small, languages: [en], max_difficulty: 0.5, context_tokens: 2048, parameters_b: 0.1}}
  - {{name: large, languages: [en], max_difficulty: 1, context_tokens: 2048, parameters_b: 1}}
pools:
  - {{model: small, endpoints: ["http://127.0.0.1:1"]}}
  - {{model: large, endpoints: ["http://127.0.0.1:2"]}}
site: {{state_dir: {home}/state}}
"""
WORDS = (
    "permit", "tax", "school", "noise", "letter", "form", "house", "child", "car", "road", "water", "fee", "office",
    "rule", "week", "person",
)  # fmt: skip


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "fenzhen.yaml").write_text(CONFIGURATION.format(home=tmp_path))
    return tmp_path


def adopt(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    # The real home, where the compiled functions lie: to compile them anew takes ten seconds.
    env = {"PATH": os.environ["PATH"], "HOME": str(Path.home()), "PYTHONPATH": str(ROOT), "LANG": "C.UTF-8"}
    command = [sys.executable, "-m", "fenzhen", "router", "adopt", *arguments]
    return subprocess.run(command, cwd=home, env=env, capture_output=True, text=True, timeout=100, check=False)


def candidate_made(home: Path, seed: int = 1) -> JudgeFolder:
    folder = JudgeFolder(home / "state")
    folder.folder.mkdir(parents=True, exist_ok=True)
    save(judges.weights(seed), folder.candidate)
    os.utime(folder.candidate, (1000, 1000))
    return folder


def rows_as_seen_by(home: Path, judge: Judge, count: int = 300) -> None:
    """Rows stored while serving: the small model fails where this judge says so."""
    generator = random.Random(0)
    prompts = [" ".join(generator.choices(WORDS, k=12)) for _ in range(count)]
    difficulties = sorted(judge.estimate(Query(prompt)).difficulty for prompt in prompts)
    border = difficulties[count // 2]
    now = datetime.now(UTC).isoformat()
    lines = []
    for prompt in prompts:
        small = float(judge.estimate(Query(prompt)).difficulty < border)
        lines.append(json.dumps({"prompt": prompt, "small": small, "large": 1.0, "at": now}))
    folder = home / "state" / "rows"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "20260101-aa-0001.jsonl").write_text("\n".join(lines) + "\n")


def test_a_better_candidate_is_checked_adopted_and_taken_back(home: Path) -> None:
    folder = candidate_made(home)
    rows_as_seen_by(home, Judge(judges.weights(1)))
    checked = adopt(home, "--check")
    assert checked.returncode == 0, checked.stderr
    assert "The candidate is better; without --check it is adopted." in checked.stdout
    assert not folder.in_use.exists()
    done = adopt(home, "--json")
    assert done.returncode == 0
    document = json.loads(done.stdout)
    assert (document["rows"], document["is_better"], document["is_adopted"]) == (300, True, True)
    assert document["ci_low"] > 0
    assert not folder.candidate.exists()
    assert load(folder.in_use).card.name == "test"
    back = adopt(home, "--back")
    assert (back.returncode, back.stdout.replace("\n", "")) == (0, f"In use again: {DEFAULT}.")
    assert not folder.in_use.exists()


def test_a_candidate_that_is_no_better_is_refused_with_the_figures(home: Path) -> None:
    folder = candidate_made(home)
    rows_as_seen_by(home, Judge(load(DEFAULT)))
    done = adopt(home)
    assert done.returncode == 1
    assert "On 300 rows that neither has learned from:" in done.stdout
    assert "Not adopted: the candidate is worse." in done.stdout
    assert folder.candidate.exists()
    assert not folder.in_use.exists()


def test_too_few_rows_change_nothing(home: Path) -> None:
    folder = candidate_made(home)
    rows_as_seen_by(home, Judge(judges.weights(1)), count=60)
    done = adopt(home)
    assert done.returncode == 2
    assert done.stderr.startswith("fenzhen: There are 60 rows that no judge has learned from.")
    assert folder.candidate.exists()


def _named(home: Path) -> None:
    candidate_made(home)
    (home / "fenzhen.yaml").write_text(CONFIGURATION.format(home=home) + "judging: {judge: /some.judge}\n")


def _broken(home: Path) -> None:
    rows_as_seen_by(home, Judge(judges.weights(1)))
    candidate_made(home).candidate.write_bytes(b"nonsense")


@pytest.mark.parametrize(
    ("prepare", "arguments", "says"),
    [
        (lambda home: None, (), "There is no candidate at"),
        (lambda home: None, ("--back",), "there is nothing to go back to"),
        (lambda home: None, ("--back", "--check"), "--check and --back exclude each other"),
        (candidate_made, (), "There are 0 rows that no judge has learned from. At least 100 are needed"),
        (candidate_made, ("--rows", "away.jsonl"), "away.jsonl cannot be read"),
        (_named, (), "judging.judge names /some.judge, and that is what the router uses"),
        (_broken, (), "is not a judge"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(
    home: Path, prepare: Callable[[Path], object], arguments: tuple[str, ...], says: str
) -> None:
    prepare(home)
    done = adopt(home, *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert not JudgeFolder(home / "state").in_use.exists()
