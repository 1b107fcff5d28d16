"""Which weights a recipe's `base` means: a model of the configuration, or a folder."""

from collections.abc import Callable, Sequence
from pathlib import Path

from cluster.errors import NotFound, UserError
from cluster.settings import Settings
from registry.digests import folder_sha256
from registry.progress import Silent
from registry.store import ModelStore, require_loadable
from training.base_model import parameters_of, token_counter
from training.preparing import TokenCounter
from training.recipe import Recipe
from training.recipe_file import is_folder
from training.rows import Message
from training.run_state import BaseNote


def base_of(recipe: Recipe, settings: Settings) -> BaseNote:
    """The base that a recipe names, as it lies on this machine. Raises UserError or NotFound."""
    if is_folder(recipe.base):
        folder = Path(recipe.base).expanduser().absolute()
        try:
            require_loadable(folder)
        except UserError as error:
            raise UserError(f"base: {error}") from error
        return BaseNote(
            asked=recipe.base,
            folder=folder,
            sha256=folder_sha256(folder),
            origin=f"the folder {folder}",
            parameters=parameters_of(folder),
        )
    names = [model.name for model in settings.models]
    if recipe.base not in names:
        raise NotFound(
            f"base: there is no model {recipe.base!r} in the configuration; there are: {', '.join(names)}. "
            "A folder is written with a slash: ./my-model"
        )
    stored = ModelStore(settings.site.models_dir, settings.site.hub_timeout_s, Silent()).find(
        settings.model(recipe.base)
    )
    if stored is None:
        raise NotFound(f"base: {recipe.base} is not on this machine yet: `fenzhen models fetch {recipe.base}`")
    return BaseNote(
        asked=recipe.base,
        folder=stored.folder,
        sha256=stored.sha256,
        origin=f"{recipe.base}, {stored.origin}",
        parameters=parameters_of(stored.folder),
    )


def require_same(base: BaseNote) -> None:
    """Refuse to go on with a base that was changed since the run began. Raises UserError."""
    try:
        require_loadable(base.folder)
    except UserError as error:
        raise UserError(f"the base of this run is gone: {error}") from error
    if folder_sha256(base.folder) != base.sha256:
        raise UserError(
            f"{base.folder} has other files than this run was begun with (sha256 {base.sha256}): bring those back, or "
            "begin a new run"
        )


def lazy_token_counter(base: Path) -> TokenCounter:
    """Counts tokens as the base sees them; loads the tokenizer with the first chat, after all that is told sooner."""
    counter: Callable[[Sequence[Message]], int] | None = None

    def count(messages: Sequence[Message]) -> int:
        nonlocal counter
        if counter is None:
            counter = token_counter(base)
        return counter(messages)

    return count
