"""`fenzhen loadtest report`: a run's folder becomes its reports again."""

import json
from pathlib import Path

import pytest

from fenzhen.__main__ import fenzhen
from fenzhen.errors import Invocation, exit_code_of
from loadtests.records.run import Run
from loadtests.records.run_folder import RunFolder
from loadtests.records.sample import as_line
from tests.fakes.load_runs import load_run
from tests.unit.fenzhen.router_commands import CONFIG


def kept(run: Run, folder: RunFolder) -> None:
    folder.begin(run.plan)
    folder.samples.write_bytes(b"".join(as_line(sample) for sample in run.samples))
    folder.keep_ticks(run.ticks)
    folder.keep(run.about, run.marks, run.engines, run.gaps)


def call(tmp_path: Path, *words: object) -> int:
    config = tmp_path / "fenzhen.yaml"
    config.write_text(CONFIG.format(state_dir=tmp_path / "state"))
    invocation = Invocation()
    arguments = ["loadtest", "report", "--config", str(config), *map(str, words)]
    return exit_code_of(lambda: fenzhen.main(arguments, "fenzhen", standalone_mode=False, obj=invocation), invocation)


def test_the_reports_are_made_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = RunFolder(tmp_path / "run")
    kept(load_run(), folder)
    assert call(tmp_path, folder.path, "--json", "--output", tmp_path / "mail" / "peak.html") == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["verdict"]["is_met"] is False
    assert json.loads(folder.figures.read_bytes()) == json.loads(out)
    page = folder.page.read_text(encoding="utf-8")
    assert "未达标 SLO not met" in page
    assert (tmp_path / "mail" / "peak.html").read_text(encoding="utf-8") == page
    assert "peak.html" in err


def test_a_killed_run_has_a_report_on_what_it_had_written(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    kept(load_run(), folder)
    folder.run.unlink()
    folder.samples.write_bytes(folder.samples.read_bytes()[:-40])
    assert call(tmp_path, folder.path) == 0
    assert "the run was killed before its end" in folder.page.read_text(encoding="utf-8")


def test_a_run_that_is_not_there_is_said_in_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(tmp_path, "no-such-run") == 2
    assert "there is no run 'no-such-run'" in capsys.readouterr().err
