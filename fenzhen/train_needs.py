"""Whether the packages that training needs are installed."""

import importlib.util
from collections.abc import Iterable

from cluster.errors import UserError
from training.recipe import Recipe

_ALWAYS = ("torch", "transformers", "peft", "trl", "datasets", "pyarrow", "jinja2")


def require_packages(recipe: Recipe | None = None) -> None:
    """Refuse to begin without them, in one sentence. Raises UserError."""
    wanted = [*_ALWAYS, *(("bitsandbytes",) if recipe is not None and recipe.quantise_base != "none" else ())]
    missing = missing_of(wanted)
    if missing:
        raise UserError(
            f"fine-tuning needs packages that are not installed here: {', '.join(missing)}; `make setup-training`"
        )


def missing_of(names: Iterable[str]) -> list[str]:
    """Those that Python would not find. None is imported."""
    return [name for name in names if importlib.util.find_spec(name) is None]
