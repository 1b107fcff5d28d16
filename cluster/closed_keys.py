"""The keys of a closed model as people write them: `train.epochs`, `stages.0.seconds`. Made from the model itself."""

import difflib
import types
from collections.abc import Iterable, Iterator, Sequence
from typing import Annotated, Final, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from cluster.settings_reference import default_of, limits_of
from cluster.yaml_nodes import YamlPath

_NOTHING: Final = {"`None`": "none", "`()`": "none"}


def kinds_of(kind: object) -> tuple[object, ...]:
    """What a value may be, without remarks and without None: one type, or those of a union."""
    while get_origin(kind) is Annotated:
        kind = get_args(kind)[0]
    if get_origin(kind) in (Union, types.UnionType):
        return tuple(one for part in get_args(kind) if part is not type(None) for one in kinds_of(part))
    return (kind,)


def section_named(kind: object) -> type[BaseModel] | None:
    """The model of a key that is a section; None of one that is a value, or a list."""
    return next(iter(_models(kinds_of(kind))), None)


def has_key(model: type[BaseModel], path: YamlPath) -> bool:
    """Whether a model may have something at a path; which words a table may have is left to the model."""
    kinds: tuple[object, ...] = (model,)
    for part in path:
        kinds = tuple(_below(kinds, part))
    return bool(kinds)


def default_at(model: type[BaseModel], path: YamlPath) -> object:
    """What stands at a path where a file says nothing, as plain keys, lists and values; None if nothing does."""
    kinds: tuple[object, ...] = (model,)
    for part in path[:-1]:
        kinds = tuple(_below(kinds, part))
    for one in _models(kinds):
        field = one.model_fields.get(str(path[-1]))
        if field is not None:
            value = field.get_default(call_default_factory=True, validated_data={})
            return None if value is PydanticUndefined else _plain(value)
    return None


def nearest_key(model: type[BaseModel], path: YamlPath) -> str | None:
    """The key that somebody may have meant; where items of lists are numbered, with the numbers that were written."""
    known = list(dict.fromkeys(_keys(model)))
    written = ".".join("0" if isinstance(part, int) else part for part in path)
    near = difflib.get_close_matches(written, known, n=1)
    near = near or [one for one in known if one.rpartition(".")[2] == str(path[-1])]
    if not near:
        return None
    numbers = (str(part) for part in path if isinstance(part, int))
    return ".".join(next(numbers, part) if part == "0" else part for part in near[0].split("."))


def key_lines(above: str, section: type[BaseModel]) -> list[str]:
    """The keys of one section for a terminal, each with its default, its limits and what it is for.

    `above` stands before each: `train.`. Those of sections below are left out.
    """
    lines = []
    for name, info in section.model_fields.items():
        default, limits = default_of(info), limits_of(info)
        if any(_models(kinds_of(info.annotation))):
            # Its keys follow.
            continue
        told = "needed" if default == "needed" else f"default {_NOTHING.get(default, default)}"
        words = [told, *([limits] if limits else [])]
        lines += [f"{above}{name}  ({'; '.join(words)})".replace("`", ""), f"    {info.description or ''}".rstrip()]
    return lines


def _below(kinds: Iterable[object], part: str | int) -> Iterator[object]:
    """What may stand at a key, or at a number, of any of these."""
    for kind in kinds:
        match get_origin(kind), part:
            case (origin, int()) if origin in (tuple, list):
                yield from kinds_of(get_args(kind)[0])
            case (origin, str()) if origin is dict:
                yield from kinds_of(get_args(kind)[1])
            case (None, str()) if (field := _field(kind, part)) is not None:
                yield from kinds_of(field.annotation)


def _field(kind: object, name: str) -> FieldInfo | None:
    return next((one.model_fields.get(name) for one in _models((kind,))), None)


def _keys(model: type[BaseModel], above: str = "") -> Iterator[str]:
    """All keys, dotted: those of sections, and the sections themselves. The items of a list have the number 0."""
    for name, field in model.model_fields.items():
        yield above + name
        for kind in kinds_of(field.annotation):
            yield from _keys_of(kind, above + name)


def _keys_of(kind: object, name: str) -> Iterator[str]:
    if get_origin(kind) in (tuple, list):
        yield f"{name}.0"
        for item in kinds_of(get_args(kind)[0]):
            yield from _keys_of(item, f"{name}.0")
    elif get_origin(kind) is dict and get_origin(get_args(kind)[0]) is Literal:
        yield from (f"{name}.{word}" for word in get_args(get_args(kind)[0]))
    for model in _models((kind,)):
        yield from _keys(model, f"{name}.")


def _models(kinds: Sequence[object]) -> list[type[BaseModel]]:
    return [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)]


def _plain(value: object) -> object:
    match value:
        case BaseModel():
            return value.model_dump(mode="json")
        case list() | tuple():
            return [_plain(item) for item in value]
        case dict():
            return {key: _plain(item) for key, item in value.items()}
        case _:
            return value
