"""What all parts of the bench stand on: the shipped recipe, a base on this machine, and the rows made ready."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cluster.errors import NotFound
from cluster.settings import Settings
from cluster.settings_file import profile, profile_names
from training.base_choice import base_of, lazy_token_counter
from training.prepared import Prepared
from training.preparing import prepare
from training.recipe import Recipe
from training.recipe_file import is_folder, read_recipe, recipe_yaml
from training.shipped_rows import HOTLINE_RECIPE
from training.watch import Step


@dataclass(frozen=True, slots=True)
class Ground:
    """Where laps are run."""

    recipe: Recipe
    recipe_file: Path
    prepared: Prepared
    data: Path
    base: Path
    folder: Path
    """For what the laps write."""


def ground_in(folder: Path, base: str, overrides: Sequence[str] = ()) -> Ground:
    """Make the rows ready for a base: a model of one of our profiles, or a folder written with a slash."""
    recipe = read_recipe(HOTLINE_RECIPE, [f"base={base}", *overrides])
    weights = base_of(recipe, _settings_with(base)).folder
    folder.mkdir(parents=True, exist_ok=True)
    data, recipe_file = folder / "data", folder / "recipe.yaml"
    prepared = prepare(recipe, lazy_token_counter(weights), data)
    recipe_file.write_text(recipe_yaml(recipe), encoding="utf-8")
    return Ground(recipe, recipe_file, prepared, data, weights, folder)


def _settings_with(base: str) -> Settings:
    for name in profile_names():
        settings = profile(name)
        if is_folder(base) or base in [model.name for model in settings.models]:
            return settings
    raise NotFound(f"none of our profiles has a model {base!r}; a folder is written with a slash")


class Teller:
    """A watch that tells the lines that are for people."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say

    def began(self, steps: int, first_step: int) -> None:
        """Training begins."""
        self._say(f"  {steps} steps")

    def step(self, step: Step) -> None:
        """Nothing: there are too many."""

    def measured(self, results: Mapping[str, float], step: int) -> None:
        """Nothing."""

    def note(self, line: str) -> None:
        """A line for people."""
        self._say(f"  {line}")
