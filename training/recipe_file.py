"""Recipes as files: YAML read into `Recipe`, `--set` laid over it, and the recipes that come with us.

Whatever is wrong comes as one `UserError` with a sentence a line: file, line, key, and what to write instead.
"""

import contextlib
import difflib
import importlib.resources
import types
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError

from cluster.errors import NotFound, UserError
from cluster.settings_errors import sentences
from cluster.yaml_nodes import MAX_BYTES, Document, YamlPath, read_yaml
from training.recipe import Recipe

_START: Final = "`fenzhen train recipe` prints a recipe to start from"
# Behind every line of a file: what `--set` says is told last.
_AFTER_THE_FILE: Final = 1_000_000_000
_PATHS: Final[tuple[YamlPath, ...]] = (
    ("base",),
    ("data", "rows"),
    ("data", "test_rows"),
    ("data", "remember_rows"),
    ("data", "general_rows"),
    ("cluster", "storage"),
)


@dataclass(frozen=True, slots=True)
class _Override:
    """One `--set KEY=VALUE`."""

    path: YamlPath
    value: object
    text: str


def read_recipe(path: Path, overrides: Sequence[str] = ()) -> Recipe:
    """The recipe in a file. Raises UserError if it cannot be read or is wrong.

    Paths in it are relative to its folder, those in overrides to where we are.
    """
    try:
        with path.open("rb") as file:
            # One byte over the limit is enough to know; a device file would otherwise never end.
            data = file.read(MAX_BYTES + 1)
    except FileNotFoundError as error:
        near = f"; {_start_of(path.name)}" if path.parent == Path() else f"; {_START}"
        raise UserError(f"{path} does not exist{near}") from error
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from error
    return parse_recipe(data, str(path), path.absolute().parent, overrides)


def parse_recipe(data: bytes, label: str, folder: Path, overrides: Sequence[str] = ()) -> Recipe:
    """The recipe in YAML text that messages call `label`, whose paths are relative to `folder`. Raises UserError."""
    document = read_yaml(data, label, first_key="base", start=_START)
    for path in _PATHS:
        _anchor(document.value, path, folder)
    for override in [_override(text) for text in overrides]:
        document = _laid_over(document, override)
    try:
        return Recipe.model_validate(document.value)
    except ValidationError as error:
        raise UserError("\n".join(sentences(error, document, Recipe))) from error


def recipe_yaml(recipe: Recipe) -> str:
    """The recipe, defaults written out, as YAML that `parse_recipe` reads back to an equal value."""
    return yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False, allow_unicode=True, width=120)


def shipped_names() -> tuple[str, ...]:
    """The recipes that come with us, sorted."""
    folder = importlib.resources.files("training") / "recipes"
    return tuple(sorted(entry.name.removesuffix(".yaml") for entry in folder.iterdir() if entry.name.endswith(".yaml")))


def shipped_text(name: str) -> str:
    """A shipped recipe as it is written, with its remarks. Raises NotFound."""
    if name not in shipped_names():
        raise NotFound(f"there is no recipe {name!r}; choose one of {', '.join(shipped_names())}")
    ours = importlib.resources.files("training")
    text = (ours / "recipes" / f"{name}.yaml").read_text(encoding="utf-8")
    # Rows that come with us stay where they are, wherever the recipe is written to.
    return text.replace("../", f"{ours}/")


def _start_of(name: str) -> str:
    """What to do about a file that is not there: its name may be that of a shipped recipe."""
    stem = name.removesuffix(".yaml")
    if stem in shipped_names():
        return f"`fenzhen train recipe {stem} > {stem}.yaml` writes it"
    return _START


def _override(text: str) -> _Override:
    key, equals, written = text.partition("=")
    if not equals or not key.strip():
        raise UserError(f"--set {text}: write a key, `=` and a value, such as --set train.epochs=5")
    path = tuple(key.strip().split("."))
    _require_key(path, text)
    try:
        # As a document, so that text, numbers and lists are read as in the file.
        value = read_yaml(f"value: {written}".encode(), "--set").value["value"]
    except UserError as error:
        raise UserError(f"--set {text}: the value is not YAML; lists are written [a, b], odd text in quotes") from error
    _anchor_value(path, holder := {"value": value}, "value", Path.cwd())
    return _Override(path, holder["value"], text)


def _require_key(path: Sequence[str], text: str) -> None:
    """Refuse a key that no recipe has, with the nearest that one has."""
    known = _keys(Recipe)
    key = ".".join(path)
    if key in known:
        return
    near = difflib.get_close_matches(key, known, n=1) or [one for one in known if one.rpartition(".")[2] == path[-1]]
    hint = f"; did you mean {near[0]}?" if near else "; `fenzhen train recipe --keys` lists the keys"
    raise UserError(f"--set {text}: a recipe has no key {key}{hint}")


def _keys(model: type[BaseModel], above: str = "") -> list[str]:
    """All keys, dotted: those of sections, and the sections themselves."""
    keys = []
    for name, field in model.model_fields.items():
        keys.append(above + name)
        if section := section_named(field.annotation):
            keys += _keys(section, f"{above}{name}.")
    return keys


def section_named(kind: object) -> type[BaseModel] | None:
    """The model of a key that is a section; None of one that is a value."""
    if get_origin(kind) in (Union, types.UnionType):
        kinds = [section_named(one) for one in get_args(kind)]
        return next(filter(None, kinds), None)
    return kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None


def _laid_over(document: Document, override: _Override) -> Document:
    place = f"--set {override.text}"
    value: dict[str, Any] = dict(document.value)
    section = value
    for part in override.path[:-1]:
        inner = section.get(str(part))
        if inner is not None and not isinstance(inner, dict):
            raise UserError(f"{document.place(override.path[:-1])}: {part}: must hold keys and values")
        section[str(part)] = section = dict(inner or {})
    section[str(override.path[-1])] = override.value
    places = {**document.places, override.path: place}
    lines = {**document.lines, override.path: _AFTER_THE_FILE + len(places)}
    # What was below it in the file is no longer there.
    depth = len(override.path)
    lines = {path: line for path, line in lines.items() if path[:depth] != override.path or len(path) == depth}
    return replace(document, value=value, lines=lines, places=places)


def _anchor(value: dict[str, object], path: YamlPath, folder: Path) -> None:
    section: object = value
    for part in path[:-1]:
        section = section.get(str(part)) if isinstance(section, dict) else None
    if isinstance(section, dict) and path[-1] in section:
        _anchor_value(path, section, str(path[-1]), folder)


def _anchor_value(path: YamlPath, section: dict[str, object], key: str, folder: Path) -> None:
    """Make a path under a key absolute, or each of a list; what is none is left for the schema to refuse."""
    if path not in _PATHS:
        return
    match section[key]:
        case str(text) if path != ("base",) or is_folder(text):
            section[key] = _absolute(text, folder)
        case list(items):
            section[key] = [_absolute(item, folder) if isinstance(item, str) else item for item in items]


def is_folder(base: str) -> bool:
    """Whether a recipe's `base` is written as a folder, and not as the name of a model."""
    return "/" in base or base.startswith((".", "~"))


def _absolute(text: str, folder: Path) -> str:
    # An empty one would become the folder itself: the schema shall see it as it is.
    if not text:
        return text
    with contextlib.suppress(RuntimeError):
        # Nobody of that name has a home here: then it is a folder that begins with a tilde.
        return str(folder / Path(text).expanduser())
    return str(folder / text)
