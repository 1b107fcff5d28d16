from pathlib import Path

import pytest

from cluster.errors import NotFound, UserError
from loadtests.plan import Plan, Poisson, Stage, Target
from loadtests.records.run import About, EngineReading, EnginesSeen, Mark
from loadtests.records.run_folder import RunFolder, find_run, new_run, read_run, run_folders
from loadtests.records.sample import Sample, as_line
from loadtests.records.tick import Tick

PLAN = Plan(
    name="office", target=Target(model="small"), stages=(Stage(name="a", seconds=5, arrivals=Poisson(rate_per_s=2)),)
)
SAMPLE = Sample(
    at_s=1.25, lag_s=0.001, stage=0, worker=0, kind="stream", turn=0, person=3, question="police-zh", language="zh",
    difficulty="easy", tenant="hotline", level="red", asked="auto", answered_by="small", reason="easy: small answers",
    status=200, error="", ttft_s=0.2, tpot_s=0.05, e2e_s=1.5, max_itl_s=0.09, prompt_tokens=20, completion_tokens=27,
    cached_tokens=None, finish="stop", tool_calls=0, is_right=True,
)  # fmt: skip
TICK = Tick(0, 2, 2, 1, 0, 1, 0.002, 0.1, 20)
ABOUT = About(started_unix_s=1.0, outcome="finished", target_url="http://127.0.0.1:8000", tested="")


def written(path: Path) -> RunFolder:
    folder = RunFolder(path).begin(PLAN)
    folder.samples.write_bytes(as_line(SAMPLE) * 2)
    folder.keep_ticks([TICK])
    folder.keep_ticks([TICK._replace(at_s=1)])
    return folder


def test_a_run_is_read_back_as_it_was_kept(tmp_path: Path) -> None:
    folder = written(tmp_path / "run")
    marks = [Mark(at_s=2.0, kind="kill-engine", text="engine of small killed")]
    engines = EnginesSeen(readings=(EngineReading(at_s=1.0, engine="small", running=2, waiting=1),), router={"a": 1.0})
    folder.keep(ABOUT, marks, engines, {(0, "small"): {700: 26}})
    run = read_run(folder)
    assert run.plan == PLAN
    assert run.samples == (SAMPLE, SAMPLE)
    assert run.ticks == (TICK, TICK._replace(at_s=1))
    assert run.about == ABOUT
    assert (run.marks, run.engines) == (tuple(marks), engines)
    assert run.gaps == {(0, "small"): {700: 26}}


def test_what_a_killed_run_wrote_is_read(tmp_path: Path) -> None:
    folder = written(tmp_path / "run")
    with folder.samples.open("ab") as file:
        file.write(as_line(SAMPLE)[:40])
    run = read_run(folder)
    assert len(run.samples) == 2
    assert run.about.outcome == "failed"
    assert run.about.message == "the run was killed before its end"


def test_a_last_second_that_a_kill_has_cut_off_is_left_out(tmp_path: Path) -> None:
    folder = written(tmp_path / "run")
    with folder.ticks.open("ab") as file:
        file.write(b"[2,1,")
    assert len(read_run(folder).ticks) == 2


def test_a_damaged_line_in_the_middle_is_told(tmp_path: Path) -> None:
    folder = written(tmp_path / "run")
    folder.samples.write_bytes(b"[1,2\n" + as_line(SAMPLE))
    with pytest.raises(UserError, match="damaged run: a line of samples"):
        read_run(folder)


def test_a_run_is_never_written_over(tmp_path: Path) -> None:
    written(tmp_path / "run")
    with pytest.raises(UserError, match="name another folder with --output"):
        RunFolder(tmp_path / "run").begin(PLAN)


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        RunFolder(tmp_path / "file" / "run").begin(PLAN)


def test_a_folder_without_a_run_is_said(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"holds no plan\.yaml"):
        read_run(tmp_path)


def test_a_run_is_found_by_name_beginning_folder_and_as_the_last(tmp_path: Path) -> None:
    first = written(tmp_path / "loadtests" / "office-1")
    second = written(tmp_path / "loadtests" / "peak-2")
    assert find_run(tmp_path, "office-1") == first
    assert find_run(tmp_path, "pe") == second
    assert find_run(tmp_path, str(first.path)) == first
    assert find_run(tmp_path, "last").path in {first.path, second.path}
    assert {run.path for run in run_folders(tmp_path)} == {first.path, second.path}


def test_a_name_that_fits_none_or_several_is_refused_with_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="there are none"):
        find_run(tmp_path, "office")
    written(tmp_path / "loadtests" / "office-1")
    written(tmp_path / "loadtests" / "office-2")
    with pytest.raises(NotFound, match=r"office-1.*office-2|office-2.*office-1"):
        find_run(tmp_path, "peak")
    with pytest.raises(UserError, match="begins the names of 2 runs"):
        find_run(tmp_path, "office")


def test_two_runs_of_one_second_get_two_folders(tmp_path: Path) -> None:
    first = new_run(tmp_path, "office")
    first.begin(PLAN)
    second = new_run(tmp_path, "office")
    assert second.path != first.path
