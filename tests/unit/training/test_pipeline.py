"""A run's stages: what is done is done once, whatever ends a life."""

import json
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from cluster.errors import FenzhenError, OurFault, Unavailable, UserError
from cluster.settings_file import profile
from tests.fakes.training_stages import PLAN, FakeStages, ListWatch
from training.fitting import Interrupted
from training.pipeline import RunResult, plan_recipe, run_recipe, stored_recipe
from training.recipe import Recipe
from training.recipe_file import parse_recipe
from training.run_folder import RunFolder
from training.run_state import find_run, is_locked, locked, new_run, read_state, run_folders
from training.watch import Step, Watch

ALL = ["before", "fit", "after", "gates", "page"]


def recipe(more: str = "") -> Recipe:
    text = f"name: hotline\nbase: small\ndata: {{rows: [rows.jsonl]}}\nevaluation: {{metric: loss}}\n{more}"
    return parse_recipe(text.encode(), "r.yaml", Path("/recipes"))


def run(stages: FakeStages, folder: RunFolder, watch: ListWatch | None = None, more: str = "") -> RunResult:
    return run_recipe(
        recipe(more), profile("tiny"), folder, watch or ListWatch(), lambda: False, stages=stages.stages()
    )


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunFolder(tmp_path / "run")


def test_a_run_goes_through_its_stages_and_writes_down_what_it_found(folder: RunFolder) -> None:
    stages, watch = FakeStages(), ListWatch()

    result = run(stages, folder, watch)

    assert stages.calls == ["base", "prepare", "plan", "require_same", *ALL]
    assert result.is_good_enough
    state = read_state(folder)
    assert (state.phase, state.next_stage, state.published_version) == ("done", None, None)
    assert state.results["loss_gain"] == -1.0
    assert state.fitted is not None
    assert state.fitted.steps == 3
    assert state.rows == {"train": 1, "test": 1, "general": 0}
    assert stages.log.ended == ["FINISHED"]
    assert (0, {"evaluation/loss": 2.0}) in stages.log.metrics
    assert (3, {"evaluation/loss": 1.0}) in stages.log.metrics
    assert any("3" in line and line.startswith("steps") for line in watch.lines)
    assert stored_recipe(folder) == recipe()


def test_nobody_else_may_read_a_run(folder: RunFolder) -> None:
    run(FakeStages(), folder)

    assert stat.S_IMODE(folder.path.stat().st_mode) == 0o700


@pytest.mark.parametrize("stage", ALL)
def test_a_life_that_ends_in_a_stage_is_followed_by_one_that_begins_there(stage: str, folder: RunFolder) -> None:
    stages = FakeStages(failing={stage: Unavailable("the judge model does not answer")})
    with pytest.raises(Unavailable):
        run(stages, folder)
    assert (read_state(folder).phase, read_state(folder).problem) == ("failed", "the judge model does not answer")
    done = stages.calls.copy()

    again = FakeStages()
    result = run(again, folder)

    assert [name for name in done if name in ALL] == ALL[: ALL.index(stage) + 1]
    assert [name for name in again.calls if name in ALL] == ALL[ALL.index(stage) :]
    assert (result.state.phase, result.state.problem) == ("done", "")
    assert result.before.figures["loss"].value == 2.0
    assert result.after.figures["loss"].value == 1.0
    assert result.fitted.tokens == 15


def test_a_run_that_is_done_is_only_read_again(folder: RunFolder) -> None:
    run(FakeStages(), folder)
    again = FakeStages(failing={name: OurFault("done twice") for name in ("base", "prepare", *ALL)})

    assert run(again, folder).is_good_enough
    assert again.calls == []


def test_told_to_stop_it_says_so_and_can_go_on(folder: RunFolder) -> None:
    stages = FakeStages(failing={"fit": Interrupted("stopped after step 2")})
    with pytest.raises(Interrupted):
        run(stages, folder)
    assert read_state(folder).phase == "interrupted"
    assert stages.log.ended == ["KILLED"]

    assert run(FakeStages(), folder).state.phase == "done"


def test_told_to_stop_between_two_stages_it_begins_no_other(folder: RunFolder) -> None:
    is_asked = []
    stages = FakeStages(on_fit=lambda watch, stop: is_asked.append(True))

    with pytest.raises(Interrupted, match="stopped before anything of `after` was done"):
        run_recipe(recipe(), profile("tiny"), folder, ListWatch(), lambda: bool(is_asked), stages=stages.stages())

    assert stages.calls[-1] == "fit"
    assert read_state(folder).next_stage == "after"


@pytest.mark.parametrize("stage", ["base", "prepare", "plan"])
def test_nothing_is_left_of_a_run_that_could_not_begin(stage: str, folder: RunFolder) -> None:
    with pytest.raises(UserError):
        run(FakeStages(failing={stage: UserError("line 3 has no answer")}), folder)

    assert not folder.path.exists()


def test_a_folder_with_something_else_in_it_is_left_alone(folder: RunFolder) -> None:
    folder.path.mkdir()
    (folder.path / "thesis.txt").write_text("mine")

    with pytest.raises(UserError, match=r"is not empty: it has thesis.txt; name a folder that is"):
        run(FakeStages(), folder)

    assert (folder.path / "thesis.txt").read_text() == "mine"


def test_two_processes_never_work_on_one_run(folder: RunFolder) -> None:
    with locked(folder):
        assert is_locked(folder)
        with pytest.raises(UserError, match="another process works on this run"):
            run(FakeStages(), folder)
    assert not is_locked(folder)


def test_a_folder_of_another_recipe_is_not_gone_on_with(folder: RunFolder) -> None:
    run(FakeStages(), folder)

    with pytest.raises(UserError, match="holds a run of another recipe"):
        run(FakeStages(), folder, more="train: {epochs: 9}")


def test_rows_that_were_changed_under_a_run_end_it(folder: RunFolder) -> None:
    with pytest.raises(OurFault):
        run(FakeStages(failing={"before": OurFault("broken")}), folder)
    stages = FakeStages()
    stages.prepared = replace(stages.prepared, sha256={"train": "other"})

    with pytest.raises(UserError, match="holds other rows than the run was begun with"):
        run(stages, folder)


def test_a_base_that_was_changed_under_a_run_ends_it(folder: RunFolder) -> None:
    stages = FakeStages(failing={"require_same": UserError("/base has other files than this run was begun with")})

    with pytest.raises(UserError, match="other files"):
        run(stages, folder)


def test_a_recipe_with_workers_is_trained_by_them(folder: RunFolder) -> None:
    assert run(FakeStages(), folder, more="cluster: {workers: 2}").fitted.stopped_early


def test_what_is_no_error_of_ours_is_not_quoted(folder: RunFolder) -> None:
    with pytest.raises(ZeroDivisionError):
        run(FakeStages(failing={"before": ZeroDivisionError("a row's own words")}), folder)

    assert "own words" not in folder.state.read_text()
    assert read_state(folder).problem == "a fault of ours, ZeroDivisionError"


def test_a_display_that_fails_does_not_end_a_run(folder: RunFolder) -> None:
    class Broken(ListWatch):
        def step(self, step: Step) -> None:
            raise OSError("the terminal is gone")

    def one_step(watch: Watch, stop: object) -> None:
        watch.step(Step(1, 0.5, 0.1, 1.0, 5, 10.0))

    watch, stages = Broken(), FakeStages(on_fit=one_step)

    assert run(stages, folder, watch).is_good_enough
    assert "the display or the log of this run has failed: OSError" in watch.lines
    assert (1, 0.5) in [(step, metrics.get("train/loss")) for step, metrics in stages.log.metrics]


def test_a_dry_run_writes_nothing(folder: RunFolder) -> None:
    stages = FakeStages()

    plan = plan_recipe(recipe(), profile("tiny"), stages=stages.stages())

    assert plan == PLAN
    assert stages.calls == ["base", "prepare", "plan"]
    assert not folder.path.exists()


@pytest.mark.parametrize(
    ("plan", "said"),
    [
        (
            replace(PLAN, least_memory_bytes=30_000_000_000, available_bytes=8_000_000_000),
            "the base and its adapter alone need 30.0 GB of memory and 8.0 GB are available: take "
            "`quantise_base: nf4`, a smaller base, or workers with more (the section `cluster`)",
        ),
        (replace(PLAN, disk_bytes=10**18), "lower train.keep_checkpoints, or name another folder with --output"),
    ],
)
def test_what_surely_does_not_fit_is_refused_before_the_start(plan: object, said: str, folder: RunFolder) -> None:
    assert isinstance(plan, type(PLAN))

    with pytest.raises(UserError) as caught:
        run(FakeStages(plan=plan), folder)

    assert str(caught.value).endswith(said)
    assert not folder.path.exists()


def test_runs_are_found_by_name_beginning_and_folder(tmp_path: Path) -> None:
    first, second = (new_run(tmp_path, name) for name in ("alpha", "beta"))
    run(FakeStages(), first)
    run(FakeStages(), second)

    assert [found.path for found in run_folders(tmp_path)] == [first.path, second.path]
    assert find_run(tmp_path, "beta").path == second.path
    assert find_run(tmp_path, first.path.name).path == first.path
    assert find_run(tmp_path, str(second.path)).path == second.path
    with pytest.raises(
        FenzhenError, match=r"there is no run 'gamma'; the last ones: alpha-.*, beta-.*; `fenzhen train runs`"
    ):
        find_run(tmp_path, "gamma")


def test_a_state_that_is_not_ours_is_told(folder: RunFolder) -> None:
    run(FakeStages(), folder)
    folder.state.write_text(json.dumps({"format": 9}))

    with pytest.raises(OurFault, match="another version of Fenzhen wrote it"):
        read_state(folder)
