"""The page of a recipe's keys."""

from pathlib import Path

from training.recipe_reference import keys_text, reference

PAGE = Path(__file__).resolve().parents[3] / "docs" / "recipe.md"


def test_the_page_in_the_docs_is_the_one_that_the_recipe_makes() -> None:
    assert PAGE.read_text(encoding="utf-8") == reference(), "run `make docs`"


def test_every_key_says_what_it_is_for() -> None:
    rows = [line for line in reference().splitlines() if line.startswith("| `")]
    assert len(rows) > 40
    assert [row for row in rows if row.split("|")[-2].strip() == ""] == []


def test_the_keys_are_told_as_one_writes_them_after_set() -> None:
    lines = keys_text().splitlines()

    assert "train.epochs  (default 3; over 0, at most 1000)" in lines
    assert "data.rows  (needed)" in lines
