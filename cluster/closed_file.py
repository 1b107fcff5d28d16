"""Files of one closed model: YAML read into it, `--set` laid over it, and the files that come with us.

Whatever is wrong comes as one `UserError` with a sentence a line: file, line, key, and what to write instead.
"""

import contextlib
import importlib.resources
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Generic, TypeVar

import yaml
from pydantic import ValidationError

from cluster.closed import Closed
from cluster.closed_keys import default_at, has_key, nearest_key
from cluster.errors import NotFound, UserError
from cluster.settings_errors import sentences
from cluster.yaml_nodes import MAX_BYTES, Document, YamlPath, dotted, read_yaml

# Behind every line of a file: what `--set` says is told last.
_AFTER_THE_FILE: Final = 1_000_000_000

Value = TypeVar("Value", bound=Closed)
KeyPath = tuple[str, ...]
"""A key without the numbers of lists: `("stages", "arrivals", "path")`."""


def always(_: str) -> bool:
    """For keys whose text is always a path."""
    return True


@dataclass(frozen=True, slots=True)
class _Override:
    """One `--set KEY=VALUE`."""

    path: YamlPath
    value: object
    text: str


@dataclass(frozen=True, slots=True)
class ClosedFile(Generic[Value]):
    """How one kind of file is read and written."""

    model: type[Value]
    noun: str
    """What people call it: recipe."""
    first_key: str
    """What such a file begins with, for somebody with a list in hand."""
    printed_by: str
    """The command that prints one to start from; with `--keys` its keys."""
    example: str
    """An override, as a message shows it: `train.epochs=5`."""
    paths: Mapping[KeyPath, Callable[[str], bool]]
    """Keys that hold paths, or lists of them, and whether a text there is one."""
    package: str
    """Where those that come with us lie: a package and a folder in it."""
    folder: str

    @property
    def start(self) -> str:
        """What to do without a file."""
        return f"`{self.printed_by}` prints a {self.noun} to start from"

    def read(self, path: Path, overrides: Sequence[str] = ()) -> Value:
        """What a file says. Raises UserError if it cannot be read or is wrong.

        Paths in it are relative to its folder, those in overrides to where we are.
        """
        try:
            with path.open("rb") as file:
                # One byte over the limit is enough to know; a device file would otherwise never end.
                data = file.read(MAX_BYTES + 1)
        except FileNotFoundError as error:
            raise UserError(f"{path} does not exist; {self._way_to(path)}") from error
        except OSError as error:
            raise UserError(f"{path} cannot be read: {error.strerror}") from error
        return self.parse(data, str(path), path.absolute().parent, overrides)

    def parse(self, data: bytes, label: str, folder: Path, overrides: Sequence[str] = ()) -> Value:
        """What YAML text says that messages call `label`, whose paths are relative to `folder`. Raises UserError."""
        document = read_yaml(data, label, first_key=self.first_key, start=self.start)
        anchored = {key: self._anchored(value, (key,), folder) for key, value in document.value.items()}
        document = replace(document, value=anchored)
        for override in [self._override(text) for text in overrides]:
            document = self._laid_over(document, override)
        try:
            return self.model.model_validate(document.value)
        except ValidationError as error:
            raise UserError("\n".join(sentences(error, document, self.model))) from error

    def yaml(self, value: Value) -> str:
        """A value, defaults written out, as YAML that `parse` reads back to an equal one."""
        return yaml.safe_dump(value.model_dump(mode="json"), sort_keys=False, allow_unicode=True, width=120)

    def shipped_names(self) -> tuple[str, ...]:
        """Those that come with us, sorted."""
        folder = importlib.resources.files(self.package) / self.folder
        names = (entry.name for entry in folder.iterdir())
        return tuple(sorted(name.removesuffix(".yaml") for name in names if name.endswith(".yaml")))

    def shipped_text(self, name: str) -> str:
        """One that comes with us as it is written, with its remarks. Raises NotFound."""
        names = self.shipped_names()
        if name not in names:
            raise NotFound(f"there is no {self.noun} {name!r}; choose one of {', '.join(names)}")
        folder = importlib.resources.files(self.package) / self.folder
        return (folder / f"{name}.yaml").read_text(encoding="utf-8")

    def _way_to(self, path: Path) -> str:
        """What to do about a file that is not there: its name may be that of a shipped one."""
        stem = path.name.removesuffix(".yaml")
        if path.parent == Path() and stem in self.shipped_names():
            return f"`{self.printed_by} {stem} > {stem}.yaml` writes it"
        return self.start

    def _override(self, text: str) -> _Override:
        key, equals, written = text.partition("=")
        path = _path_of(key)
        if not equals or not path:
            raise UserError(f"--set {text}: write a key, `=` and a value, such as --set {self.example}")
        if not has_key(self.model, path):
            near = nearest_key(self.model, path)
            hint = f"did you mean {near}?" if near else f"`{self.printed_by} --keys` lists the keys"
            raise UserError(f"--set {text}: a {self.noun} has no key {key.strip()}; {hint}")
        try:
            # As a document, so that text, numbers and lists are read as in the file.
            value = read_yaml(f"value: {written}".encode(), "--set").value["value"]
        except UserError as error:
            raise UserError(
                f"--set {text}: the value is not YAML; lists are written [a, b], odd text in quotes"
            ) from error
        return _Override(path, self._anchored(value, _without_numbers(path), Path.cwd()), text)

    def _laid_over(self, document: Document, override: _Override) -> Document:
        # Along the path everything is copied: what was read may stand at several places, by an anchor.
        value = dict(document.value)
        holder: dict[str, object] | list[object] = value
        for depth, part in enumerate(override.path):
            here = override.path[: depth + 1]
            if isinstance(part, int):
                assert isinstance(holder, list)
                if part >= len(holder):
                    raise UserError(f"--set {override.text}: {_items(dotted(here[:-1]), len(holder))}")
            if here == override.path:
                _put(holder, part, override.value)
                break
            inner = _get(holder, part)
            if inner is None:
                inner = default_at(self.model, here)
            wants_list = isinstance(override.path[depth + 1], int)
            copy = _copied_list(inner) if wants_list else _copied_section(inner)
            if copy is None:
                wanted = "must be a list" if wants_list else "must hold keys and values"
                raise UserError(f"{document.place(here)}: {dotted(here)}: {wanted}")
            _put(holder, part, copy)
            holder = copy
        places = {**document.places, override.path: f"--set {override.text}"}
        lines = {**document.lines, override.path: _AFTER_THE_FILE + len(places)}
        # What was below it in the file is no longer there.
        depth = len(override.path)
        lines = {path: line for path, line in lines.items() if path[:depth] != override.path or len(path) == depth}
        return replace(document, value=value, lines=lines, places=places)

    def _anchored(self, value: object, path: KeyPath, folder: Path) -> object:
        """A value whose paths are absolute; what is none is left for the schema to refuse."""
        match value:
            case dict():
                return {key: self._anchored(inner, (*path, str(key)), folder) for key, inner in value.items()}
            case list():
                return [self._anchored(item, path, folder) for item in value]
            case str() if path in self.paths and self.paths[path](value):
                return _absolute(value, folder)
            case _:
                return value


def _path_of(key: str) -> YamlPath:
    """`stages.0.seconds`, or `stages[0].seconds` as our messages write it."""
    parts = re.sub(r"\[(\d+)\]", r".\1", key.strip()).split(".")
    return tuple(int(part) if part.isascii() and part.isdigit() else part for part in parts) if parts != [""] else ()


def _without_numbers(path: YamlPath) -> KeyPath:
    return tuple(part for part in path if isinstance(part, str))


def _items(name: str, count: int) -> str:
    if not count:
        return f"{name} has no items; write the whole list: {name}=[...]"
    return f"{name} has only the item 0" if count == 1 else f"{name} has only the items 0 to {count - 1}"


def _get(holder: dict[str, object] | list[object], part: str | int) -> object:
    return holder[int(part)] if isinstance(holder, list) else holder.get(str(part))


def _put(holder: dict[str, object] | list[object], part: str | int, value: object) -> None:
    if isinstance(holder, list):
        holder[int(part)] = value
    else:
        holder[str(part)] = value


def _copied_section(value: object) -> dict[str, object] | None:
    return dict(value or {}) if value is None or isinstance(value, dict) else None


def _copied_list(value: object) -> list[object] | None:
    return list(value or []) if value is None or isinstance(value, list) else None


def _absolute(text: str, folder: Path) -> str:
    # An empty one would become the folder itself: the schema shall see it as it is.
    if not text:
        return text
    with contextlib.suppress(RuntimeError):
        # Nobody of that name has a home here: then it is a folder that begins with a tilde.
        return str(folder / Path(text).expanduser())
    return str(folder / text)
