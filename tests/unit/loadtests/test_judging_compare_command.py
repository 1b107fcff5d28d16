"""`fenzhen loadtest compare`: a table, JSON, and an exit code that CI can ask."""

import json
from pathlib import Path

import pytest

from fenzhen.__main__ import fenzhen
from fenzhen.errors import Invocation, exit_code_of
from loadtests.records.run import Run
from loadtests.records.run_folder import RUNS, RunFolder
from loadtests.records.sample import as_line
from tests.unit.loadtests.test_judging_comparison import queue_run

CONFIG = """\
site: {{state_dir: {state_dir}}}
models:
  - {{name: small, languages: [en, zh], max_difficulty: 1, context_tokens: 2048, parameters_b: 0.5}}
pools:
  - {{model: small, endpoints: ["http://127.0.0.1:9001"]}}
"""


class Desk:
    """A folder with runs, and the command as a person calls it there."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder = folder
        self.config = folder / "fenzhen.yaml"
        self.config.write_text(CONFIG.format(state_dir=folder / "state"))
        self._capsys = capsys
        self.out = self.err = ""

    def keep(self, name: str, run: Run) -> Path:
        folder = RunFolder(self.folder / "state" / RUNS / name).begin(run.plan)
        folder.samples.write_bytes(b"".join(as_line(sample) for sample in run.samples))
        folder.keep(run.about, run.marks, run.engines, run.gaps)
        return folder.path

    def compare(self, *words: object) -> int:
        arguments = ["loadtest", "compare", "--config", str(self.config), *map(str, words)]
        invocation = Invocation()
        code = exit_code_of(
            lambda: fenzhen.main(arguments, "fenzhen", standalone_mode=False, obj=invocation), invocation
        )
        self.out, self.err = self._capsys.readouterr()
        return code


@pytest.fixture
def desk(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Desk:
    # A terminal as wide as the table.
    monkeypatch.setenv("COLUMNS", "200")
    desk = Desk(tmp_path, capsys)
    desk.keep("before", queue_run(1, seconds=60))
    return desk


def test_what_is_worse_is_said_and_makes_the_exit_code_1(desk: Desk) -> None:
    desk.keep("after", queue_run(2, 1.5, seconds=60))
    assert desk.compare("before", "after") == 1
    assert "A: before\nB: after\nB against A: " in desk.out
    line = next(line for line in desk.out.splitlines() if line.startswith("TPOT p50"))
    assert line.rstrip().endswith("worse")
    assert "+50" in line or "+49" in line


def test_nothing_worse_is_exit_code_0(desk: Desk) -> None:
    desk.keep("after", queue_run(2, 0.7, seconds=60))
    assert desk.compare("before", "after") == 0
    assert "better" in desk.out


def test_the_document_names_both_runs(desk: Desk) -> None:
    after = desk.keep("after", queue_run(2, 1.5, seconds=60))
    assert desk.compare("before", after, "--json") == 1
    document = json.loads(desk.out)
    assert document["b"] == str(after)
    assert document["is_worse"] is True
    assert {"name", "a", "b", "low", "high", "finding"} <= document["rows"][0].keys()


def test_a_page_is_written_where_it_is_asked_for(desk: Desk) -> None:
    pytest.importorskip("matplotlib")
    desk.keep("after", queue_run(2, seconds=60))
    page = desk.folder / "page.html"
    assert desk.compare("before", "after", "--page", page) == 0
    assert page.read_text(encoding="utf-8").lower().startswith("<!doctype html>")
    assert str(page) in desk.err


def test_a_page_that_cannot_be_written_is_one_sentence(desk: Desk) -> None:
    pytest.importorskip("matplotlib")
    desk.keep("after", queue_run(2, seconds=60))
    (desk.folder / "file").write_text("")
    assert desk.compare("before", "after", "--page", desk.folder / "file" / "page.html") != 0
    assert "cannot be written" in desk.err


def test_runs_of_different_plans_are_refused_unless_allowed(desk: Desk) -> None:
    desk.keep("after", queue_run(2, seconds=90))
    assert desk.compare("before", "after") not in (0, 1)
    assert "stages.0.seconds: 60.0 against 90.0" in desk.err
    assert desk.compare("before", "after", "--allow-different") in (0, 1)
    assert "The plans differ in stages.0.seconds: 60.0 against 90.0." in desk.out


def test_a_run_is_not_compared_with_itself(desk: Desk) -> None:
    assert desk.compare("before", "last") not in (0, 1)
    assert "before and last are the same run" in desk.err


def test_a_run_that_does_not_exist_is_said_not_to(desk: Desk) -> None:
    assert desk.compare("before", "never") not in (0, 1)
    assert "there is no run 'never'" in desk.err
