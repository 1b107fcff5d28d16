"""The folder that is registered: what was made, with its card and its recipe, and no folders of this machine in it."""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from cluster.errors import UserError
from registry.adapter_files import CONFIG_FILE
from registry.digests import folder_files
from registry.version_files import content_of, digests_of, whole_sha256
from registry.versions import Draft, Version, VersionStore
from training.recipe import Recipe

CARD_FILE: Final = "README.md"
RECIPE_FILE: Final = "recipe.yaml"


def portable(recipe: Recipe, carrier: str) -> Recipe:
    """The recipe without folders of this machine: the names of files only, and the base by its name."""
    data = recipe.data
    names = {
        "rows": tuple(Path(path.name) for path in data.rows),
        "test_rows": tuple(Path(path.name) for path in data.test_rows),
        "remember_rows": tuple(Path(path.name) for path in data.remember_rows),
        "general_rows": None if data.general_rows is None else Path(data.general_rows.name),
    }
    cluster = None if recipe.cluster is None else recipe.cluster.model_copy(update={"storage": None})
    return recipe.model_copy(update={"base": carrier, "data": data.model_copy(update=names), "cluster": cluster})


@contextmanager
def staged(files: Path, beside: Path, card: str, recipe_text: str, carrier: str) -> Iterator[Path]:
    """A folder for the time of registering: the files as links, and the words beside them."""
    folder = beside / ".version"
    # Of a life that was killed.
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        for relative, path in folder_files(files):
            # PEFT's own card names folders of this machine.
            if relative not in (CARD_FILE, RECIPE_FILE):
                _link(path, folder / relative)
        if (folder / CONFIG_FILE).is_file():
            _name_base(folder / CONFIG_FILE, carrier)
        (folder / CARD_FILE).write_text(card, encoding="utf-8")
        (folder / RECIPE_FILE).write_text(recipe_text, encoding="utf-8")
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def registered(draft: Draft, folder: Path, versions: VersionStore) -> Version:
    """Register a folder, or give the version of that name that has the very same files."""
    sha256 = whole_sha256(digests_of(content_of(draft.kind, folder)))

    def same() -> Version | None:
        return next((each for each in versions.versions(draft.name) if each.sha256 == sha256), None)

    if (known := same()) is not None:
        return known
    try:
        return versions.register(draft, folder)
    except UserError:
        # Another machine may have registered a copy of the same run at this moment.
        if (known := same()) is not None:
            return known
        raise


def _link(path: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(path.resolve(), target)
    except OSError:
        # Some file systems have no hard links.
        shutil.copyfile(path, target)


def _name_base(path: Path, carrier: str) -> None:
    """PEFT writes the folder that the base was loaded from."""
    config = json.loads(path.read_bytes())
    config["base_model_name_or_path"] = carrier
    # Not through the link: the run's own file stays as it is.
    path.unlink()
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
