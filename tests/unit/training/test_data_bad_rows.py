"""Each kind of bad rows gets one sentence that names the line and says what to mend, before anything is loaded."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from cluster.errors import UserError
from tests.unit.training.bad_rows import BAD, BAD_TOGETHER, GOOD, OTHER, Bad, lines
from training.data_findings import BadRows
from training.preparing import prepare
from training.recipe import DataRecipe, Recipe
from training.rows import Message


def letters(messages: Sequence[Message]) -> int:
    """A token a letter, and two for each turn."""
    return sum(len(message.content) + 2 for message in messages)


def nothing(messages: Sequence[Message]) -> int:
    """Of the rows nothing may be counted that would have to be loaded for it."""
    raise AssertionError("a tokenizer was loaded for rows that cannot be read")


def check_refused(folder: Path, bad: Bad, tokens: Callable[[Sequence[Message]], int]) -> None:
    path = folder / bad.name
    path.write_bytes(bad.content)
    data = DataRecipe.model_validate({"rows": (path,), **bad.data})
    recipe = Recipe.model_validate({"name": "ours", "base": "tiny", "objective": bad.objective, "data": data})
    with pytest.raises(BadRows) as caught:
        prepare(recipe, tokens, folder / "data")
    assert str(caught.value) == f"{path}{bad.says.replace('{path}', str(path))}"
    assert [file.name for file in folder.iterdir()] == [bad.name]


@pytest.mark.parametrize("name", BAD)
def test_bad_rows_get_one_sentence_before_anything_is_loaded_or_written(tmp_path: Path, name: str) -> None:
    check_refused(tmp_path, BAD[name], nothing)


@pytest.mark.parametrize("name", BAD_TOGETHER)
def test_rows_that_do_not_fit_the_recipe_get_one_sentence_and_nothing_is_written(tmp_path: Path, name: str) -> None:
    check_refused(tmp_path, BAD_TOGETHER[name], letters)


@pytest.mark.parametrize(
    ("rows", "test_rows", "says"),
    [
        ("a", "b", ", line 1: its group stands in the training rows as well, at {a}, line 1; keep it on one side"),
        ("a", "c", ", line 1: its question stands in the held-out part, at {c}, line 1; "
                   "take one out, or set data.duplicates to leave_out"),
    ],
)  # fmt: skip
def test_held_out_rows_given_by_hand_share_no_group_and_no_question(
    tmp_path: Path, rows: str, test_rows: str, says: str
) -> None:
    paths = {name: tmp_path / f"{name}.jsonl" for name in "abc"}
    paths["a"].write_bytes(lines({**GOOD, "group": "g"}))
    paths["b"].write_bytes(lines({**OTHER, "group": "g"}))
    paths["c"].write_bytes(lines({**GOOD, "answer": "网上办。", "group": "h"}))
    data = DataRecipe(rows=(paths[rows],), test_rows=(paths[test_rows],), duplicates="refuse")
    with pytest.raises(BadRows) as caught:
        prepare(Recipe(name="ours", base="tiny", data=data), letters, None)
    found = paths["b" if test_rows == "b" else "a"]
    assert str(caught.value) == f"{found}{says.format(**paths)}"


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    recipe = Recipe(name="ours", base="tiny", data=DataRecipe(rows=(path,)))
    with pytest.raises(UserError, match=rf"^{path} cannot be read: No such file or directory$"):
        prepare(recipe, nothing, None)


def test_a_file_is_not_read_twice(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(lines(GOOD))
    same = tmp_path / "same.jsonl"
    same.symlink_to(path)
    for data, says in (
        (DataRecipe(rows=(path, same)), "is named twice; name each file of rows once"),
        (DataRecipe(rows=(path,), test_rows=(same,)), "is named in data.rows and in data.test_rows"),
    ):
        with pytest.raises(UserError, match=says):
            prepare(Recipe(name="ours", base="tiny", data=data), nothing, None)


def test_all_findings_are_told_and_a_long_list_is_cut(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    wrong = [{"prompt": f"{number}?", "answer": ""} for number in range(50)]
    path.write_bytes(lines(*wrong, {"prompt": "a"}))
    with pytest.raises(BadRows) as caught:
        prepare(Recipe(name="ours", base="tiny", data=DataRecipe(rows=(path,))), nothing, None)
    assert len(caught.value.findings) == 51
    assert str(caught.value).splitlines() == [
        *(f"{path}, line {number}: answer is empty" for number in (1, 2, 3)),
        f"{path}, line 51: answer is missing; a row has prompt and answer, or messages",
        "and 47 more that say the same; `fenzhen train check --output FOLDER` writes each into report.json",
    ]


def test_no_sentence_repeats_a_text(tmp_path: Path) -> None:
    secret = "13800138000"
    for name, bad in {**BAD, **BAD_TOGETHER}.items():
        assert secret not in bad.says, name
    path = tmp_path / "rows.jsonl"
    for row in ({secret: 1}, {"prompt": secret}, {"prompt": secret, "answer": secret, "group": secret}, secret):
        path.write_bytes(lines(row))
        with pytest.raises(BadRows) as caught:
            prepare(Recipe(name="ours", base="tiny", data=DataRecipe(rows=(path,))), nothing, None)
        assert secret not in str(caught.value)
