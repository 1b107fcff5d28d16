import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from training.adapter import write_weights
from training.bench import quality, resume, speed
from training.bench.__main__ import main
from training.bench.ground import Ground
from training.bench.lap import Job, Kind, Lap
from training.bench.report import add, spread_of, table
from training.evaluation import Evaluation, Figure
from training.prepared import Prepared
from training.recipe_file import read_recipe
from training.run_folder import RunFolder
from training.shipped_rows import HOTLINE_RECIPE


def lap(kind: Kind, loop_s: float = 10.0, peak_bytes: int = 4_000_000_000, first_loss: float = 3.0) -> Lap:
    return Lap(kind, 2, 1_000, loop_s, loop_s + 20, peak_bytes, (first_loss, 2.0))


def a_round(ours_s: float = 10.0) -> list[Lap]:
    return [lap("ours", ours_s, 3_000_000_000), lap("plain", 20.0), lap("plain_autocast", 16.0, 5_000_000_000)]


def ground(folder: Path) -> Ground:
    return Ground(
        read_recipe(HOTLINE_RECIPE), folder / "recipe.yaml", Prepared(), folder / "data", folder / "b", folder
    )


def test_speed_is_compared_with_the_faster_plain_loop_and_memory_with_the_leaner() -> None:
    found = speed.compared(a_round())
    assert found.tokens_per_s_ratio == pytest.approx(1.6)
    assert found.peak_memory_ratio == pytest.approx(0.75)


def test_a_slow_round_moves_the_range_and_not_the_median() -> None:
    found = speed.compared([*a_round(), *a_round(ours_s=100.0), *a_round()])
    assert found.tokens_per_s_ratio == pytest.approx(1.6)
    assert found.tokens_per_s_ratios.lowest == pytest.approx(0.16)
    assert found.rounds == 3


def test_loops_that_trained_on_other_batches_are_not_compared() -> None:
    ours, plain, autocast = a_round()
    with pytest.raises(speed.NotComparable, match="plain made 3 steps"):
        speed.compared([ours, replace(plain, steps=3), autocast])
    with pytest.raises(speed.NotComparable, match=r"began with a loss of 3\.3000"):
        speed.compared([ours, plain, lap("plain_autocast", first_loss=3.3)])


def test_the_report_has_the_figures_that_are_asked_for_and_keeps_other_parts(tmp_path: Path) -> None:
    report = tmp_path / "bench" / "training.json"
    figure = {"metric": "exact_match", "value": 0.5, "ci_low": 0.4, "ci_high": 0.6, "rows": 77}
    found = {"before": {**figure, "value": 0.0}, "after": figure}
    add(report, quality.as_report(found, "small", is_default=True))
    add(report, quality.as_report({"before": figure, "after": figure}, "small nf4", is_default=False))
    add(report, speed.as_report(speed.compared(a_round()), ground(tmp_path)))
    resumed = resume.Resumed(10, 2, 1, 24, 2, 0.0, is_bitwise_equal=True, is_equal=True)
    add(report, resume.as_report(resumed, ground(tmp_path)))
    whole = json.loads(report.read_text())
    assert whole["before"]["value"] == 0.0
    assert whole["after"].keys() >= {"metric", "value", "ci_low", "ci_high"}
    assert whole["tokens_per_s_ratio"] == 1.6
    assert whole["peak_memory_ratio"] == 0.75
    assert whole["resume_equal"] is True
    assert set(whole["quality"]) == {"small", "small nf4"}
    assert whole["speed"]["rounds"] == 1


def test_a_figure_of_an_evaluation_comes_with_its_interval() -> None:
    evaluation = Evaluation({"exact_match": Figure(0.5, 0.4, 0.6, 77)})
    assert quality.figure(evaluation, "exact_match") == {
        "metric": "exact_match", "value": 0.5, "ci_low": 0.4, "ci_high": 0.6, "rows": 77,
    }  # fmt: skip


def test_the_table_of_a_quality_names_the_gates_that_were_not_passed() -> None:
    figure = {"metric": "exact_match", "value": 0.1, "ci_low": 0.0, "ci_high": 0.2, "rows": 77}
    found = {"before": figure, "after": figure, "gates": {"exact_match >= 0.2": False}, "steps": 3, "fit_s": 1.0}
    assert "gates not passed: exact_match >= 0.2" in quality.as_table(found, "small")


def test_columns_of_numbers_stand_to_the_right() -> None:
    assert table([["", "a"], ["ours", "100"]]) == "        a\nours  100"


def test_a_spread_is_median_and_range() -> None:
    spread = spread_of([3.0, 1.0, 2.0, 9.0])
    assert (spread.median, spread.lowest, spread.highest) == (2.5, 1.0, 9.0)


def adapter(folder: Path, *values: float) -> Path:
    folder.mkdir(parents=True)
    write_weights({"lora_A.weight": torch.tensor(values)}, folder)
    return folder


def test_weights_are_equal_within_float_tolerance_only(tmp_path: Path) -> None:
    one = adapter(tmp_path / "one", 0.5, -0.25)
    assert resume.difference(one, adapter(tmp_path / "same", 0.5, -0.25))[0] == 0
    largest, excess = resume.difference(one, adapter(tmp_path / "near", 0.500001, -0.25))
    assert largest > 0
    assert excess < 0
    assert resume.difference(one, adapter(tmp_path / "far", 0.5001, -0.25))[1] > 0


def test_an_adapter_of_another_shape_or_with_no_numbers_is_not_equal(tmp_path: Path) -> None:
    one = adapter(tmp_path / "one", 0.5, -0.25)
    other = tmp_path / "other"
    other.mkdir()
    write_weights({"lora_B.weight": torch.tensor([0.5, -0.25])}, other)
    assert resume.difference(one, other)[1] > 0
    assert not resume.difference(one, adapter(tmp_path / "nan", float("nan"), -0.25))[1] <= 0
    assert resume.difference(one, adapter(tmp_path / "longer", 0.5, -0.25, 0.1))[1] > 0


class FakeChild:
    """A lap whose lives last until they are killed, or are over at once."""

    def __init__(self, job: Job, folders: "FakeLaps") -> None:
        self._job, self._laps = job, folders
        self._killed = threading.Event()
        self.lap: Lap | None = None

    def lines(self) -> Iterator[dict[str, Any]]:
        yield {"began": 1}
        if not self._killed.wait(5):
            self.lap = lap("ours")

    def kill(self) -> None:
        self._laps.kills += 1
        self._killed.set()

    def was_killed(self) -> bool:
        return self._killed.is_set()

    def finished(self) -> Lap:
        adapter(RunFolder(Path(self._job.output)).adapter, *self._laps.weights.pop(0))
        return lap("ours", loop_s=0.2)


class FakeLaps:
    def __init__(self, *weights: tuple[float, ...]) -> None:
        self.weights, self.kills = list(weights), 0

    @contextmanager
    def child(self, job: Job) -> Iterator[FakeChild]:
        yield FakeChild(job, self)


def test_a_run_is_killed_as_often_as_asked_and_its_end_is_compared(tmp_path: Path) -> None:
    laps = FakeLaps((0.5, 1.0), (0.5, 1.0))
    found = resume.measure(ground(tmp_path), 4, 1, print, child=laps.child)
    assert laps.kills == found.kills == 4
    assert found.is_equal
    assert found.is_bitwise_equal


def test_a_run_that_came_out_differently_is_told(tmp_path: Path) -> None:
    laps = FakeLaps((0.5, 1.0), (0.5, 1.1))
    found = resume.measure(ground(tmp_path), 1, 1, print, child=laps.child)
    assert not found.is_equal
    assert found.largest_difference == pytest.approx(0.1, abs=1e-6)
    assert "NOT equal" in resume.as_table(found)


def test_a_base_that_is_nowhere_is_told_before_anything_is_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = tmp_path / "training.json"
    assert main(["speed", "--base", "no-such-model", "--json", str(report)]) == 2
    assert "no-such-model" in capsys.readouterr().err
    assert not report.exists()
