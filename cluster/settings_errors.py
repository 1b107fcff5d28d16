"""What pydantic found wrong with a configuration, in sentences that name the line and the key to mend."""

import difflib
import re
import types
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, Tag, ValidationError
from pydantic_core import ErrorDetails

from cluster.settings import ExternalPool, Pool, Settings
from cluster.yaml_nodes import Document, YamlPath, dotted

# One forgotten indent can make every key of a long file wrong; more than this nobody reads.
MAX_SENTENCES = 20


def sentences(error: ValidationError, document: Document, root: type[BaseModel] = Settings) -> list[str]:
    """One sentence a wrong key, in the order of the lines. `root` is what the document was read as."""
    found: dict[YamlPath, tuple[int, str]] = {}
    for details in error.errors(include_url=False):
        path, owner, kind = _path_in_file(details["loc"], root)
        if details["type"] == "too_short" and details["input"]:
            # Pydantic counts only the items that passed; the wrong ones have sentences of their own.
            continue
        if path in found:
            # A value that fits none of several types comes once for each type.
            found[path] = (document.line(path), f"{dotted(path)}: must be {_named(kind)}")
            continue
        sentence = _sentence(details, owner)
        if path:
            found[path] = (document.line(path), f"{dotted(path)}: {sentence}")
        else:
            # Rules over the whole file begin with the key that they are about, `models[0].sources: ...`.
            for line in sentence.splitlines():
                about = _path_of(line.partition(":")[0])
                found[about] = (document.line(about), line)
    ordered = sorted(found.items(), key=lambda item: item[1])
    lines = [f"{document.place(path)}: {sentence}" for path, (_, sentence) in ordered[:MAX_SENTENCES]]
    if len(ordered) > MAX_SENTENCES:
        lines.append(f"{document.label}: and {len(ordered) - MAX_SENTENCES} more")
    return lines


def _path_of(words: str) -> YamlPath:
    """The reverse of `dotted`."""
    return tuple(int(part) if part.isdigit() else part for part in re.findall(r"\w+", words))


def _path_in_file(loc: tuple[int | str, ...], root: type[BaseModel]) -> tuple[YamlPath, type[BaseModel] | None, object]:
    """The keys of a pydantic location that stand in the file, the model that holds the last of them, and its type.

    Pydantic mixes in the names of union branches (`sources, 0, hub, licence`). Only the types tell them from keys:
    `packages` is both a kind of source and a key of that kind.
    """
    kind: object = root
    path: YamlPath = ()
    owner: type[BaseModel] | None = None
    for part in loc:
        kind = _bare(kind)
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            owner = kind
            known = kind.model_fields.get(str(part))
            kind = known.annotation if known else None
            path = (*path, part)
        elif get_origin(kind) in (tuple, list, dict):
            kind = get_args(kind)[1 if get_origin(kind) is dict else 0]
            path = (*path, part)
        else:
            branch = _branch(kind, part)
            if branch is None:
                break
            kind = branch
    return path, owner, kind


def _bare(kind: object) -> object:
    """The type without `Annotated` and without `| None`."""
    while get_origin(kind) is Annotated:
        kind = get_args(kind)[0]
    if get_origin(kind) in (Union, types.UnionType):
        kinds = [arg for arg in get_args(kind) if arg is not type(None)]
        return _bare(kinds[0]) if len(kinds) == 1 else kind
    return kind


def _branch(kind: object, tag: int | str) -> type[BaseModel] | None:
    """The model of a union whose `kind:` says `tag`, or that is tagged so in the settings."""
    for arg in get_args(kind):
        model = _bare(arg)
        if Tag(str(tag)) in get_args(arg)[1:]:
            return model if isinstance(model, type) and issubclass(model, BaseModel) else None
        if isinstance(model, type) and issubclass(model, BaseModel):
            field = model.model_fields.get("kind")
            if field and get_origin(field.annotation) is Literal and tag in get_args(field.annotation):
                return model
    return None


def _sentence(details: ErrorDetails, owner: type[BaseModel] | None) -> str:
    context: dict[str, Any] = details.get("ctx", {})
    got = _shown(details["input"])
    match details["type"]:
        case "missing" if owner is Pool and details["loc"][-1] == "memory_bytes":
            return "this key is missing; only a pool with endpoints, servers that run already, can do without"
        case "missing":
            return "this key is missing"
        case "extra_forbidden":
            return _unknown_key(str(details["loc"][-1]), owner)
        case "value_error":
            return str(context["error"])
        case "union_tag_invalid":
            return f"kind must be one of {context['expected_tags']}, got {context['tag']!r}"
        case "union_tag_not_found":
            return f"the key {context['discriminator'].strip(chr(39))} is missing"
        case "string_type" if isinstance(details["input"], str | int | float | bool):
            return f"must be text, got {got}; put it in quotes"
        case "too_short":
            return "needs at least one item"
        case "int_parsing" | "int_type" | "int_from_float":
            return f"must be a whole number, got {got}"
        case "float_parsing" | "float_type":
            return f"must be a number, got {got}"
        case "tuple_type" | "list_type":
            return f"must be a list, got {got}"
        case "dict_type" | "model_type" | "model_attributes_type":
            return f"must hold keys and values, got {got}"
        case _:
            return f"{details['msg'].replace('Input should', 'should').replace('String should', 'should')}, got {got}"


def _unknown_key(key: str, owner: type[BaseModel] | None) -> str:
    known = list(owner.model_fields) if owner else []
    if owner is ExternalPool and key in Pool.model_fields:
        return "is for engines that are started here; a pool with endpoints has none"
    if owner is Pool and key in ExternalPool.model_fields:
        return "is for a pool with endpoints, servers that run already"
    if owner is Pool:
        known.append("endpoints")
    near = difflib.get_close_matches(key, known, n=1)
    if near:
        return f"unknown key; did you mean {near[0]}?"
    return f"unknown key; known here: {', '.join(known)}"


def _named(kind: object) -> str:
    """A type, or a choice of types, in words."""
    kinds = get_args(kind) if get_origin(kind) in (Union, types.UnionType) else (kind,)
    words = {str: "text", int: "a whole number", float: "a number", bool: "true or false"}
    *firsts, last = [words.get(kind) or _named_generic(kind) for kind in kinds]
    return f"{', '.join(firsts)} or {last}" if firsts else last


def _named_generic(kind: object) -> str:
    if get_origin(kind) is Literal:
        return " or ".join(map(str, get_args(kind)))
    return "a list" if get_origin(kind) in (list, tuple) else str(kind)


def _shown(value: object) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return "keys and values"
    if isinstance(value, list):
        return "a list"
    text = repr(value) if isinstance(value, str) else str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
