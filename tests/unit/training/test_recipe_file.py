"""Recipes as files: what is wrong with one is told with line and key, before anything is loaded."""

import subprocess
import sys
from pathlib import Path

import pytest

from cluster.errors import NotFound, UserError
from training.recipe import Recipe
from training.recipe_file import parse_recipe, read_recipe, recipe_yaml, shipped_names, shipped_text
from training.version_folder import portable

GOOD = """\
name: hotline
base: small
data:
  rows: [rows.jsonl]
"""


def wrong(text: str, *overrides: str) -> list[str]:
    """What is said of a bad recipe, a sentence a line."""
    with pytest.raises(UserError) as caught:
        parse_recipe(text.encode(), "r.yaml", Path("/recipes"), overrides)
    return str(caught.value).splitlines()


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("trian: {epochs: 1}", "r.yaml line 5: trian: unknown key; did you mean train?"),
        ("train: {epoch: 1}", "r.yaml line 5: train.epoch: unknown key; did you mean epochs?"),
        ("train:\n  epochs: 0", "r.yaml line 6: train.epochs: should be greater than 0, got 0"),
        ("train: {epochs: three}", "r.yaml line 5: train.epochs: must be a number, got 'three'"),
        ("train: {epochs: .nan}", "r.yaml line 5: train.epochs: should be a finite number, got nan"),
        ("train: {learning_rate: 5}", "r.yaml line 5: train.learning_rate: should be less than or equal to 1, got 5"),
        ("train: {batch_size: 2.5}", "r.yaml line 5: train.batch_size: must be a whole number, got 2.5"),
        (
            "train: {batch_size: 8, micro_batch_size: 3}",
            "r.yaml line 5: train.batch_size: must be a multiple of micro_batch_size (3)",
        ),
        (
            "train: {early_stop_after: 2}",
            "r.yaml line 5: train.early_stop_after: needs evaluate_every_steps, which says when the held-out loss is "
            "measured",
        ),
        (
            "train: {schedule: cosin}",
            "r.yaml line 5: train.schedule: should be 'constant', 'linear' or 'cosine', got 'cosin'",
        ),
        (
            "objective: dpo\ntrain: {packing: true}",
            "r.yaml line 6: train.packing: is for sft; pairs lie side by side as they are",
        ),
        ("quantise_base: int4", "r.yaml line 5: quantise_base: should be 'none', 'nf4' or 'int8', got 'int4'"),
        ("lora: {rank: 512}", "r.yaml line 5: lora.rank: should be less than or equal to 256, got 512"),
        ("lora: {targets: 5}", "r.yaml line 5: lora.targets: must be all-linear or a list"),
        (
            "cluster: {workers: 3}",
            "r.yaml line 1: train.batch_size: 8 rows a step cannot be shared out evenly by 3 workers",
        ),
        (
            "quantise_base: nf4\ncluster: {workers: 2, strategy: fsdp}",
            "r.yaml line 6: cluster.strategy: fsdp splits a base in 16 or 32 bit; take data_parallel, or "
            "quantise_base: none",
        ),
        (
            "evaluation: {metric: exact_mach}",
            "r.yaml line 5: evaluation.metric: 'exact_mach' is not measured; did you mean exact_match?",
        ),
        (
            "evaluation: {metric: accuracy, max_general_rows: 0}",
            "r.yaml line 5: evaluation.metric: 'accuracy' is not measured; there are loss, exact_match, f1, rouge_l, "
            "truncated_ratio",
        ),
        ("evaluation: {json_keys: [部门]}", "r.yaml line 5: evaluation.json_keys: need `format: json`"),
        (
            "gates: [exact_match is good]",
            "r.yaml line 5: gates[0]: 'exact_match is good' is no condition; write a result's name, >=, <=, > or <, "
            "and a number: accuracy >= 0.9",
        ),
        (
            "gates:\n  - f1 >= 0.5\n  - general_los <= 3",
            "r.yaml line 7: gates[1]: general_los is not measured by this recipe; did you mean general_loss?",
        ),
        ("gates: f1 >= 0.5", "r.yaml line 5: gates: must be a list, got 'f1 >= 0.5'"),
        ("name: other", "r.yaml line 5: name: this key already stands in line 1"),
        ("lora:\n\trank: 8", "r.yaml line 6: a tab stands where YAML wants spaces"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(more: str, said: str) -> None:
    assert wrong(GOOD + more) == [said]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "r.yaml is empty; `fenzhen train recipe` prints a recipe to start from"),
        ("- rows.jsonl", "r.yaml line 1: expected keys such as `base:` here, found a list"),
        ("base: b\ndata: {rows: [r]}", "r.yaml line 1: name: this key is missing"),
        (
            "name: a b\nbase: b\ndata: {rows: [r]}",
            "r.yaml line 1: name: should match pattern '^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$', got 'a b'",
        ),
        (
            "name: auto\nbase: b\ndata: {rows: [r]}",
            "r.yaml line 1: name: 'auto' is the router's own word, choose another name",
        ),
        ("name: a\nbase: b", "r.yaml line 1: data: this key is missing"),
        ("name: a\nbase: b\ndata: {rows: []}", "r.yaml line 3: data.rows: needs at least one item"),
        ("name: a\nbase: b\ndata: {rows: r.jsonl}", "r.yaml line 3: data.rows: must be a list, got '/recipes/r.jsonl'"),
        (
            "name: a\nbase: b\ndata:\n  rows: [r.jsonl]\n  test_rows: [s.jsonl, ./r.jsonl]",
            "r.yaml line 5: data.test_rows[1]: r.jsonl stands there twice: what is learnt cannot be held out",
        ),
        (
            "name: a\nbase: b\nobjective: dpo\ndata: {rows: [r], remember_rows: [s]}",
            "r.yaml line 4: data.remember_rows: is for sft; an everyday row has one answer, and dpo learns from pairs",
        ),
        (
            "name: a\nbase: b\ndata:\n  rows: [r.jsonl]\n  remember_rows: [s.jsonl, ./r.jsonl]",
            "r.yaml line 5: data.remember_rows[1]: r.jsonl stands there twice: name it once",
        ),
        (
            "name: a\nbase: b\ndata: {rows: [r], test_ratio: 1.5}",
            "r.yaml line 3: data.test_ratio: should be less than 0.9, got 1.5",
        ),
    ],
)
def test_what_is_missing_is_told_as_well(text: str, said: str) -> None:
    assert wrong(text) == [said]


def test_all_that_is_wrong_is_told_at_once_in_the_order_of_the_lines() -> None:
    said = wrong(GOOD + "lora: {rank: 0}\ntrain: {epochs: -1, packng: true}")

    assert [sentence.partition(": ")[0] for sentence in said] == ["r.yaml line 5", "r.yaml line 6", "r.yaml line 6"]


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("train.epochs", "--set train.epochs: write a key, `=` and a value, such as --set train.epochs=5"),
        ("train.epoch=5", "--set train.epoch=5: a recipe has no key train.epoch; did you mean train.epochs?"),
        ("epochs=5", "--set epochs=5: a recipe has no key epochs; did you mean train.epochs?"),
        ("zzz=1", "--set zzz=1: a recipe has no key zzz; `fenzhen train recipe --keys` lists the keys"),
        ("train.epochs=many", "--set train.epochs=many: train.epochs: must be a number, got 'many'"),
        ("train.epochs=", "--set train.epochs=: train.epochs: must be a number, got nothing"),
        (
            "data.rows=[a",
            "--set data.rows=[a: the value is not YAML; lists are written [a, b], odd text in quotes",
        ),
        (
            "train.micro_batch_size=3",
            "r.yaml line 1: train.batch_size: must be a multiple of micro_batch_size (3)",
        ),
        (
            "train.batch_size=0",
            "--set train.batch_size=0: train.batch_size: should be greater than or equal to 1, got 0",
        ),
    ],
)
def test_a_wrong_override_is_named_and_not_a_line_of_the_file(override: str, said: str) -> None:
    assert wrong(GOOD, override) == [said]


def test_overrides_win_over_the_file_and_over_each_other() -> None:
    recipe = parse_recipe(
        (GOOD + "train: {epochs: 1, batch_size: 4}").encode(),
        "r.yaml",
        Path("/recipes"),
        ["train.epochs=2", "train.epochs=0.5", "lora.targets=[q_proj, v_proj]", "cluster.workers=2", "gates=[]"],
    )

    assert (recipe.train.epochs, recipe.train.batch_size) == (0.5, 4)
    assert recipe.lora.targets == ("q_proj", "v_proj")
    assert recipe.cluster is not None
    assert recipe.cluster.workers == 2


def test_paths_of_the_file_are_relative_to_it_and_those_of_the_command_line_to_where_we_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "recipes").mkdir()
    file = tmp_path / "recipes" / "r.yaml"
    file.write_text(
        "name: a\nbase: ../weights\ndata:\n  rows: [rows.jsonl, /else/rows.jsonl, ~/rows.jsonl]\n"
        "  remember_rows: [../day.jsonl]\n"
    )
    monkeypatch.chdir(tmp_path)

    recipe = read_recipe(Path("recipes/r.yaml"), ["data.test_rows=[test.jsonl]"])

    assert recipe.base == str(tmp_path / "recipes" / "../weights")
    assert recipe.data.rows == (
        tmp_path / "recipes" / "rows.jsonl",
        Path("/else/rows.jsonl"),
        Path.home() / "rows.jsonl",
    )
    assert recipe.data.test_rows == (tmp_path / "test.jsonl",)
    assert recipe.data.remember_rows == (tmp_path / "recipes" / "../day.jsonl",)


def test_a_number_may_be_written_as_people_write_it() -> None:
    # For YAML 1.1 this is text.
    recipe = parse_recipe((GOOD + "train: {learning_rate: 2e-4}").encode(), "r.yaml", Path("/recipes"))

    assert recipe.train.learning_rate == 0.0002


def test_a_model_of_the_configuration_is_no_path() -> None:
    assert parse_recipe(GOOD.encode(), "r.yaml", Path("/recipes")).base == "small"


def test_a_file_that_is_not_there_names_the_way_to_one(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"none.yaml does not exist; `fenzhen train recipe` prints a recipe to start from"
    ):
        read_recipe(tmp_path / "none.yaml")
    with pytest.raises(UserError, match=r"lora does not exist; `fenzhen train recipe lora > lora.yaml` writes it"):
        read_recipe(Path("lora"))


@pytest.mark.parametrize("name", shipped_names())
def test_what_is_shipped_is_a_recipe_and_survives_being_written(name: str) -> None:
    recipe = parse_recipe(shipped_text(name).encode(), name, Path("/recipes"))

    assert isinstance(recipe, Recipe)
    assert parse_recipe(recipe_yaml(recipe).encode(), "again", Path("/elsewhere")) == recipe


def test_a_recipe_that_goes_with_a_version_names_no_folder_of_this_machine() -> None:
    data = "data: {rows: [a], test_rows: [b], remember_rows: [c], general_rows: d}"
    recipe = parse_recipe(f"name: a\nbase: ./b\n{data}".encode(), "r.yaml", Path("/recipes"))

    assert "/recipes" in recipe_yaml(recipe)
    assert "/recipes" not in recipe_yaml(portable(recipe, "small"))


def test_the_recipes_to_start_from_are_read_in_a_sitting() -> None:
    assert {"lora", "qlora", "dpo"} <= set(shipped_names())
    for name in ("lora", "qlora", "dpo"):
        assert len(shipped_text(name).splitlines()) <= 40


def test_a_recipe_that_is_not_shipped_names_those_that_are() -> None:
    with pytest.raises(NotFound, match=r"there is no recipe 'lore'; choose one of dpo, .*lora, qlora"):
        shipped_text("lore")


def test_a_bad_recipe_is_told_before_torch_is_loaded(tmp_path: Path) -> None:
    file = tmp_path / "r.yaml"
    file.write_text(GOOD + "train: {epochs: 0}\n")
    code = (
        "import sys; from fenzhen.errors import Invocation, exit_code_of; from fenzhen.__main__ import fenzhen;"
        "words = ['train', 'run', sys.argv[1], '--profile', 'tiny'];"
        "code = exit_code_of(lambda: fenzhen.main(words, prog_name='fenzhen', standalone_mode=False), Invocation());"
        "print(code, sorted({'torch', 'transformers', 'trl', 'peft', 'mlflow', 'datasets'} & set(sys.modules)))"
    )

    done = subprocess.run([sys.executable, "-c", code, str(file)], capture_output=True, text=True, timeout=60)

    assert done.stdout.strip() == "2 []"
    assert done.stderr.strip() == f"fenzhen: {file} line 5: train.epochs: should be greater than 0, got 0"
