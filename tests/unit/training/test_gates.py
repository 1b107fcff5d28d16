"""Whether what was made is good enough, and for whom it is not."""

import json
from pathlib import Path

import pytest

from cluster.errors import UserError
from registry.version_draft import MAX_RESULTS
from tests.fakes.evaluations import evaluation_of, recipe_of, row_of
from training.evaluation import JUDGED, Evaluation, Figure, gain_of, results_of
from training.evaluation_groups import group_findings
from training.gates import judged, write_gates
from training.prepared import Prepared

GROUPS = ("police", "housing", "health")
PREPARED = Prepared(
    test=tuple(row_of(number, f"answer {number}", GROUPS[number % 3]) for number in range(30)),
    general=tuple(row_of(number, "x") for number in range(3)),
)
RIGHT = [row.answer for row in PREPARED.test]
WRONG = ["no idea"] * 30


def test_results_say_before_after_and_gain_with_its_ends() -> None:
    recipe = recipe_of()
    half = [*RIGHT[:15], *WRONG[15:]]
    results = results_of(
        evaluation_of(recipe, PREPARED, WRONG), evaluation_of(recipe, PREPARED, half, general_loss=2.1, loss=0.4)
    )
    assert results["exact_match"] == 0.5
    assert results["exact_match_before"] == 0
    assert results["exact_match_gain"] == 0.5
    assert 0.2 < results["exact_match_gain_ci_low"] < 0.45
    assert results["loss_gain_ci_high"] == pytest.approx(-0.6)
    assert results["general_loss_rise_ratio"] == pytest.approx(0.05)
    assert results["test_rows"] == 30
    # A version keeps fifty: the end that promises more is left out.
    assert "exact_match_gain_ci_high" not in results
    assert "loss_gain_ci_low" not in results


def test_no_version_has_more_results_than_it_can_keep() -> None:
    keys = tuple(f"key{number}" for number in range(40))
    text = json.dumps(dict.fromkeys(keys, 1))
    recipe = recipe_of(format="json", json_keys=(*keys, "部门"))
    prepared = Prepared(test=(row_of(0, text[:-1] + ', "部门": "a"}'),))
    found = evaluation_of(recipe, prepared, [text])
    results = results_of(found, found)
    assert len(results) == MAX_RESULTS
    assert {"exact_match_gain_ci_low", "field_accuracy", "field_accuracy.key0", "test_rows"} <= set(results)
    assert all(name.isascii() for name in results)


@pytest.mark.parametrize(
    ("answers", "general_loss", "failed"),
    [
        (RIGHT, 2.0, []),
        (WRONG, 2.0, ["exact_match_gain_ci_low"]),
        # One row of thirty: it may have been luck.
        ([RIGHT[0], *WRONG[1:]], 2.0, ["exact_match_gain_ci_low"]),
        (RIGHT, 2.3, ["general_loss_rise_ratio"]),
    ],
)
def test_without_gates_a_run_must_surely_be_better_and_forget_little(
    answers: list[str], general_loss: float, failed: list[str]
) -> None:
    recipe = recipe_of()
    gates = judged(
        recipe, evaluation_of(recipe, PREPARED, WRONG), evaluation_of(recipe, PREPARED, answers, general_loss)
    )
    assert [gate.metric for gate in gates if not gate.is_passed] == failed


def test_without_gates_a_loss_must_surely_fall() -> None:
    recipe = recipe_of(metric="loss")
    before, after = (evaluation_of(recipe, PREPARED, WRONG, loss=loss) for loss in (1.0, 0.9))
    assert all(gate.is_passed for gate in judged(recipe, before, after))
    assert not judged(recipe, after, before)[0].is_passed


def test_a_handful_of_rows_is_no_proof() -> None:
    recipe = recipe_of()
    few = Prepared(test=PREPARED.test[:9], general=PREPARED.general)
    gates = judged(recipe, evaluation_of(recipe, few, WRONG[:9]), evaluation_of(recipe, few, RIGHT[:9]))
    assert [(gate.metric, gate.required) for gate in gates if not gate.is_passed] == [("test_rows", ">= 10")]


def test_a_gate_on_what_was_not_measured_is_not_passed() -> None:
    recipe = recipe_of(("judge_win_ratio > 0.5", "exact_match_gain_ci_high >= 0.5"), judge_model="large")
    gates = judged(recipe, evaluation_of(recipe, PREPARED, WRONG), evaluation_of(recipe, PREPARED, RIGHT))
    assert [(gate.value, gate.is_passed) for gate in gates] == [(None, False), (1.0, True)]


def test_a_judge_is_compared_with_equally_good() -> None:
    after = Evaluation({JUDGED: Figure(0.7, 0.6, 0.8, 30)})
    gain = gain_of(JUDGED, Evaluation({}), after)
    assert gain is not None
    assert (gain.value, gain.ci_low, gain.ci_high) == pytest.approx((0.2, 0.1, 0.3))
    recipe = recipe_of(metric=JUDGED, judge_model="large", max_general_rows=0)
    assert all(gate.is_passed for gate in judged(recipe, Evaluation({}), after))


def test_a_condition_that_cannot_be_read_is_told() -> None:
    recipe = recipe_of().model_copy(update={"gates": ("exact_match is good",)})
    with pytest.raises(UserError, match="is no condition"):
        judged(recipe, evaluation_of(recipe, PREPARED, WRONG), evaluation_of(recipe, PREPARED, RIGHT))


def test_other_rows_have_no_gain() -> None:
    recipe = recipe_of()
    fewer = evaluation_of(recipe, PREPARED, WRONG[:20])
    assert gain_of("exact_match", fewer, evaluation_of(recipe, PREPARED, RIGHT)) is None


def test_gates_are_written_for_other_programs(tmp_path: Path) -> None:
    recipe = recipe_of()
    gates = judged(recipe, evaluation_of(recipe, PREPARED, WRONG), evaluation_of(recipe, PREPARED, RIGHT))
    write_gates(gates, tmp_path / "evaluation" / "gates.json")
    document = json.loads((tmp_path / "evaluation" / "gates.json").read_text())
    assert document["is_passed"] is True
    assert document["gates"][0]["metric"] == "exact_match_gain_ci_low"


def _by_group(**right: int) -> list[str]:
    """So many right answers of the ten of each group."""
    seen = dict.fromkeys(GROUPS, 0)
    answers = []
    for row in PREPARED.test:
        answers.append(row.answer if seen[row.group] < right[row.group] else "no idea")
        seen[row.group] += 1
    return answers


def test_a_group_that_fell_while_the_whole_rose_is_named_first() -> None:
    recipe = recipe_of()
    before = evaluation_of(recipe, PREPARED, _by_group(police=6, housing=2, health=2))
    after = evaluation_of(recipe, PREPARED, _by_group(police=4, housing=10, health=7))
    found = group_findings(before, after, "exact_match")
    assert [(each.group, each.kind) for each in found] == [
        ("police", "fell"), ("police", "below"), ("housing", "above"),
    ]  # fmt: skip
    assert found[0].sentence == (
        "police: exact_match became worse, 0.600 -> 0.400 on 10 rows, while the whole became better, 0.333 -> 0.700"
    )
    assert "-43% off the whole (0.700)" in found[1].sentence


def test_of_a_loss_the_higher_group_is_below_the_whole() -> None:
    figures = {group: {"loss": Figure(value, value, value, 9)} for group, value in (("a", 1.0), ("b", 2.0))}
    whole = Evaluation({"loss": Figure(1.5, 1.4, 1.6, 18)}, figures)
    assert [(each.group, each.kind) for each in group_findings(whole, whole, "loss")] == [
        ("b", "below"),
        ("a", "above"),
    ]


def test_groups_that_are_alike_or_too_small_are_not_named() -> None:
    recipe = recipe_of()
    alike = evaluation_of(recipe, PREPARED, _by_group(police=8, housing=8, health=8))
    assert group_findings(alike, alike, "exact_match") == ()
    small = Prepared(test=(*PREPARED.test, row_of(30, "z", "parks")))
    one = evaluation_of(recipe, small, [*RIGHT, "wrong"])
    assert group_findings(one, one, "exact_match") == ()
    assert one.groups["parks"]["exact_match"].value == 0


def test_a_group_is_a_part_of_those_that_its_name_begins_with() -> None:
    recipe = recipe_of()
    names = ("police/passports/lost", "police/passports", "police", "housing")
    prepared = Prepared(test=tuple(row_of(number, "a", name) for number, name in enumerate(names)))
    groups = evaluation_of(recipe, prepared, ["a", "a", "b", "b"]).groups
    found = {group: (figures["exact_match"].rows, figures["exact_match"].value) for group, figures in groups.items()}
    assert found == {
        "housing": (1, 0), "police": (3, pytest.approx(2 / 3)), "police/passports": (2, 1),
        "police/passports/lost": (1, 1),
    }  # fmt: skip


def test_json_is_matched_by_what_it_says() -> None:
    recipe = recipe_of(format="json", json_keys=("a", "b"), metric="field_accuracy.a")
    prepared = Prepared(test=tuple(row_of(number, '{"a": "Ｘ", "b": 1}') for number in range(4)))
    said = ['{"b": 1.0,"a":"x"}', '{"a": "x", "b": 2}', '{"a": "x"}', '```{"a": "x", "b": 1}```']
    found = evaluation_of(recipe, prepared, said).figures
    assert next(iter(found)) == "field_accuracy.a"
    assert {name: figure.value for name, figure in found.items() if "loss" not in name and "l" not in name[-1:]} == {
        "field_accuracy.a": 0.75, "field_accuracy.b": 0.25, "field_accuracy": 0.5, "exact_match": 0.25,
        "format_valid_ratio": 0.5, "truncated_ratio": 0, "f1": pytest.approx(found["f1"].value),
    }  # fmt: skip
