"""All keys of a recipe, made from the recipe itself: `docs/recipe.md`, and `fenzhen train recipe --keys`."""

from pydantic import BaseModel

from cluster.closed_keys import key_lines
from cluster.settings_reference import section_of
from training.recipe import ClusterRecipe, DataRecipe, EvaluationRecipe, LoraRecipe, Recipe, TrainRecipe

_SECTIONS: tuple[tuple[str, type[BaseModel]], ...] = (
    ("data", DataRecipe),
    ("lora", LoraRecipe),
    ("train", TrainRecipe),
    ("cluster", ClusterRecipe),
    ("evaluation", EvaluationRecipe),
)
_HEAD = """# The keys of a recipe

`fenzhen train recipe` prints a recipe to start from, and `docs/training.md` tells what becomes of it. Every key is
checked before anything is loaded: one that does not exist is refused with its line and the nearest right one. Paths are
relative to the recipe. `--set train.epochs=5` says otherwise for one run; a path in it is relative to where you are.

This page is made from the recipe itself by `make docs`.
"""


def reference() -> str:
    """The page in the docs."""
    sections = [section_of("The file", Recipe), *(section_of(title, section) for title, section in _SECTIONS)]
    return "\n".join([_HEAD, *sections])


def keys_text() -> str:
    """The same for a terminal."""
    lines = key_lines("", Recipe)
    for title, section in _SECTIONS:
        lines += ["", *key_lines(f"{title}.", section)]
    return "\n".join(lines) + "\n"
