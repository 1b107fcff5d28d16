"""Measuring a real, very small model."""

import weakref
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pytest

from cluster.errors import NotFound, UserError
from tests.fakes.tiny_lm import make_tiny_lm
from training.answer_tokens import tokens_of
from training.base_model import load_base, load_tokenizer
from training.evaluating import evaluate
from training.evaluation import Evaluation
from training.evaluation_file import read_evaluation, write_evaluation
from training.evaluation_rows import answered_places
from training.generation import answers_to, stop_ids
from training.prepared import Prepared
from training.recipe import DataRecipe, EvaluationRecipe, Recipe, TrainRecipe
from training.rows import Message, Preference, Row
from training.watch import Step


class Notes:
    """A watch that keeps the lines."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def began(self, steps: int, first_step: int) -> None:
        """Nothing is trained."""

    def step(self, step: Step) -> None:
        """Nothing is trained."""

    def measured(self, results: Mapping[str, float], step: int) -> None:
        """Nothing is trained."""

    def note(self, line: str) -> None:
        """Keep it."""
        self.lines.append(line)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_lm(tmp_path_factory.mktemp("tiny") / "base")


def _row(number: int, answer: str = "", group: str = "") -> Row:
    question = f"question {number} " * (1 + number % 4)
    said = answer or "well " * (1 + number % 3) + str(number)
    return Row((Message("user", question), Message("assistant", said)), f"rows.jsonl:{number + 1}", group)


def _recipe(objective: Literal["sft", "dpo"] = "sft", **evaluation: Any) -> Recipe:
    wanted = EvaluationRecipe(**{"max_new_tokens": 6, **evaluation})
    return Recipe(
        name="tiny", base="./tiny", data=DataRecipe(rows=(Path("x"),)), train=TrainRecipe(dtype="float32"),
        evaluation=wanted, objective=objective,
    )  # fmt: skip


ROWS = tuple(_row(number, group="ab"[number % 2]) for number in range(11))
PREPARED = Prepared(test=ROWS, general=tuple(_row(number) for number in range(20, 24)))


@pytest.fixture(scope="module")
def measured(base: Path) -> Evaluation:
    return evaluate(_recipe(), PREPARED, base, None, Notes())


def test_the_loss_is_what_each_row_gives_by_itself(base: Path, measured: Evaluation) -> None:
    import torch

    model, tokenizer = load_base(base, "float32"), load_tokenizer(base)
    nats, tokens = 0.0, 0
    for place, row in enumerate(ROWS):
        coded = tokens_of(row, tokenizer)
        with torch.no_grad():
            logps = model(input_ids=torch.tensor([coded.ids])).logits[0].log_softmax(-1)
        mine = [-float(logps[at - 1, coded.ids[at]]) for at, learnt in enumerate(coded.learnt) if learnt]
        assert measured.samples["loss"].values[place] == pytest.approx(sum(mine) / len(mine), rel=1e-5)
        assert measured.samples["loss"].weights[place] == len(mine)
        nats, tokens = nats + sum(mine), tokens + len(mine)
    assert measured.figures["loss"].value == pytest.approx(nats / tokens, rel=1e-5)


def test_answers_are_those_that_each_prompt_gives_by_itself(base: Path, measured: Evaluation) -> None:
    model, tokenizer = load_base(base, "float32"), load_tokenizer(base)
    alone = [answers_to(model, tokenizer, [row.prompt], batch_size=1, max_new_tokens=6)[0].text for row in ROWS]
    assert list(measured.answers) == alone
    assert len(set(alone)) > 1


@pytest.mark.parametrize("batch_size", [1, 3, 50])
def test_batches_change_neither_answers_nor_losses(base: Path, measured: Evaluation, batch_size: int) -> None:
    other = evaluate(_recipe(batch_size=batch_size), PREPARED, base, None, Notes())
    assert other.answers == measured.answers
    assert other.general_answers == measured.general_answers
    for name in ("loss", "general_loss"):
        assert other.samples[name].values == pytest.approx(measured.samples[name].values, rel=1e-5)


def test_nothing_of_the_model_stays_in_memory(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: list[weakref.ref[Any]] = []

    def load(*words: Any) -> Any:
        model = load_base(*words)
        loaded.append(weakref.ref(model))
        return model

    monkeypatch.setattr("training.evaluating.load_base", load)
    evaluate(_recipe(max_rows=1), PREPARED, base, None, Notes())
    assert [model() for model in loaded] == [None]


def test_every_figure_lies_in_its_interval_and_knows_its_rows(measured: Evaluation) -> None:
    assert set(measured.figures) == {"loss", "exact_match", "f1", "rouge_l", "truncated_ratio", "general_loss"}
    for name, figure in measured.figures.items():
        assert figure.ci_low <= figure.value <= figure.ci_high
        assert figure.rows == (4 if name == "general_loss" else 11)


def test_groups_are_measured_apart(measured: Evaluation) -> None:
    assert list(measured.groups) == ["a", "b"]
    losses = [measured.groups[group]["loss"] for group in "ab"]
    assert [figure.rows for figure in losses] == [6, 5]
    assert losses[0].value != losses[1].value
    assert "general_loss" not in measured.groups["a"]


def test_what_was_taught_is_answered_and_ends(base: Path, tmp_path: Path) -> None:
    import torch

    # Taught by hand: this is no test of training.
    row = Row((Message("user", "hi"), Message("assistant", "yes")), "r:1")
    model, tokenizer = load_base(base, "float32"), load_tokenizer(base)
    coded = tokens_of(row, tokenizer)
    learnt = torch.tensor(coded.learnt[1:])
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(40):
        logits = model(input_ids=torch.tensor([coded.ids])).logits[0, :-1][learnt]
        loss = torch.nn.functional.cross_entropy(logits, torch.tensor(coded.ids[1:])[learnt])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    model.save_pretrained(tmp_path / "taught")
    tokenizer.save_pretrained(tmp_path / "taught")
    found = evaluate(_recipe(), Prepared(test=(row,)), tmp_path / "taught", None, Notes())
    assert found.answers == ("yes",)
    assert found.figures["exact_match"].value == 1
    assert found.figures["truncated_ratio"].value == 0
    assert found.figures["loss"].value < 0.2


def test_a_turn_ends_where_the_template_ends_it(base: Path) -> None:
    model, tokenizer = load_base(base, "float32"), load_tokenizer(base)
    assert stop_ids(model, tokenizer) == [tokenizer.convert_tokens_to_ids("<|im_end|>")]
    # Some bases name the end of documents alone.
    model.generation_config.eos_token_id = tokenizer.convert_tokens_to_ids("<|endoftext|>")
    assert tokenizer.convert_tokens_to_ids("<|im_end|>") in stop_ids(model, tokenizer)


def test_pairs_are_won_by_the_likelier_answer(base: Path) -> None:
    asked = (Message("user", "q"),)
    pairs = tuple(Preference(asked, f"good {number}", f"bad answer {number}", "p:1", "g") for number in range(4))
    turned = tuple(replace(pair, chosen=pair.rejected, rejected=pair.chosen) for pair in pairs)
    recipe = _recipe("dpo", metric="preference_accuracy", max_general_rows=0)
    found = [
        evaluate(recipe, Prepared(test=ROWS[:4], test_preferences=each), base, None, Notes())
        for each in (pairs, turned)
    ]
    wins = [each.samples["preference_accuracy"].values for each in found]
    assert [one + other for one, other in zip(*wins, strict=True)] == [1, 1, 1, 1]
    assert found[0].groups["g"]["preference_accuracy"].rows == 4
    assert "general_loss" not in found[0].figures


def test_json_answers_are_measured_field_by_field(base: Path) -> None:
    rows = tuple(_row(number, '{"department": "police", "urgent": false}') for number in range(3))
    recipe = _recipe(format="json", json_keys=("department", "urgent"), max_general_rows=0)
    found = evaluate(recipe, Prepared(test=rows), base, None, Notes()).figures
    names = ("format_valid_ratio", "field_accuracy", "field_accuracy.department", "field_accuracy.urgent")
    # It has learnt nothing: its bytes are no JSON.
    assert [found[name].value for name in names] == [0, 0, 0, 0]


@pytest.mark.parametrize(
    ("evaluation", "rows", "words"),
    [
        ({}, (), "no held-out rows"),
        ({"format": "json"}, ROWS, "11 of 11 held-out answers do not fit, the first: rows.jsonl:1 is no JSON object"),
        ({"format": "json", "json_keys": ("b",)}, (_row(6, '{"a": 1}'),), "rows.jsonl:7 lacks b"),
    ],
)
def test_what_cannot_be_measured_is_told_before_anything_is_loaded(
    evaluation: Any, rows: tuple[Row, ...], words: str
) -> None:
    with pytest.raises(UserError, match=words) as caught:
        evaluate(_recipe(**evaluation), Prepared(test=rows), Path("/nowhere"), None, Notes())
    assert "well" not in str(caught.value)


def test_of_many_rows_the_same_ones_are_answered_each_time() -> None:
    prepared = Prepared(test=tuple(_row(number) for number in range(300)))
    places = answered_places(_recipe(max_rows=50), prepared)
    assert places == answered_places(_recipe(max_rows=50), prepared)
    assert list(places) == sorted(set(places))
    assert len(places) == 50
    # Not the first ones: a file may be sorted.
    assert max(places) > 200


def test_an_evaluation_comes_back_from_its_file_as_it_was(measured: Evaluation, tmp_path: Path) -> None:
    path = tmp_path / "evaluation" / "before.json"
    write_evaluation(measured, path)
    assert read_evaluation(path) == measured


def test_a_file_that_is_no_evaluation_is_told_without_its_words(tmp_path: Path) -> None:
    path = tmp_path / "after.json"
    with pytest.raises(NotFound, match="nothing was measured yet"):
        read_evaluation(path)
    for text in ("{", "[]", '{"format": 9}', '{"format": 1, "figures": {"loss": "secret words"}}'):
        path.write_text(text)
        with pytest.raises(UserError, match="measure again") as caught:
            read_evaluation(path)
        assert "secret" not in str(caught.value)
