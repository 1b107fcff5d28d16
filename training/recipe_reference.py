"""All keys of a recipe, made from the recipe itself: `docs/recipe.md`, and `fenzhen train recipe --keys`."""

from pydantic import BaseModel

from cluster.settings_reference import default_of, limits_of, section_of
from training.recipe import ClusterRecipe, DataRecipe, EvaluationRecipe, LoraRecipe, Recipe, TrainRecipe
from training.recipe_file import section_named

_SECTIONS: tuple[tuple[str, type[BaseModel]], ...] = (
    ("data", DataRecipe),
    ("lora", LoraRecipe),
    ("train", TrainRecipe),
    ("cluster", ClusterRecipe),
    ("evaluation", EvaluationRecipe),
)
_NOTHING = {"`None`": "none", "`()`": "none"}
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
    lines = _lines("", Recipe)
    for title, section in _SECTIONS:
        lines += ["", *_lines(f"{title}.", section)]
    return "\n".join(lines) + "\n"


def _lines(above: str, section: type[BaseModel]) -> list[str]:
    lines = []
    for name, info in section.model_fields.items():
        default, limits = default_of(info), limits_of(info)
        if section_named(info.annotation):
            # Its keys follow.
            continue
        told = "needed" if default == "needed" else f"default {_NOTHING.get(default, default)}"
        words = [told, *([limits] if limits else [])]
        lines += [f"{above}{name}  ({'; '.join(words)})".replace("`", ""), f"    {info.description or ''}".rstrip()]
    return lines
