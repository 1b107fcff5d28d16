"""Recipes as files: YAML read into `Recipe`, `--set` laid over it, and the recipes that come with us."""

import importlib.resources
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from cluster.closed_file import ClosedFile, always
from training.recipe import Recipe


def is_folder(base: str) -> bool:
    """Whether a recipe's `base` is written as a folder, and not as the name of a model."""
    return "/" in base or base.startswith((".", "~"))


_RECIPES: Final = ClosedFile(
    model=Recipe,
    noun="recipe",
    first_key="base",
    printed_by="fenzhen train recipe",
    example="train.epochs=5",
    paths={
        ("base",): is_folder,
        ("data", "rows"): always,
        ("data", "test_rows"): always,
        ("data", "remember_rows"): always,
        ("data", "general_rows"): always,
        ("cluster", "storage"): always,
    },
    package="training",
    folder="recipes",
)


def read_recipe(path: Path, overrides: Sequence[str] = ()) -> Recipe:
    """The recipe in a file. Raises UserError if it cannot be read or is wrong.

    Paths in it are relative to its folder, those in overrides to where we are.
    """
    return _RECIPES.read(path, overrides)


def parse_recipe(data: bytes, label: str, folder: Path, overrides: Sequence[str] = ()) -> Recipe:
    """The recipe in YAML text that messages call `label`, whose paths are relative to `folder`. Raises UserError."""
    return _RECIPES.parse(data, label, folder, overrides)


def recipe_yaml(recipe: Recipe) -> str:
    """The recipe, defaults written out, as YAML that `parse_recipe` reads back to an equal value."""
    return _RECIPES.yaml(recipe)


def shipped_names() -> tuple[str, ...]:
    """The recipes that come with us, sorted."""
    return _RECIPES.shipped_names()


def shipped_text(name: str) -> str:
    """A shipped recipe as it is written, with its remarks. Raises NotFound."""
    # Rows that come with us stay where they are, wherever the recipe is written to.
    return _RECIPES.shipped_text(name).replace("../", f"{importlib.resources.files('training')}/")
