"""Whether a value fits a JSON schema that a stranger wrote: in bounded time, and never wrongly said not to fit.

Source of the keywords' meaning: JSON Schema, draft 2020-12, https://json-schema.org/draft/2020-12/schema. Those that
engines hold answers to are checked; others (`pattern`, which may take forever; `not`, `if`, `format`) are passed over,
and so is a schema that refers to another place. A library that knows them all neither bounds its time nor stays local.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import unquote

# A step is one keyword that is looked at, or one value compared: about a microsecond. A hundred fields take a thousand.
MAX_STEPS: Final = 5_000
_MAX_DEPTH: Final = 64


class _Unjudged(Exception):
    """It cannot be said, or it would take too long."""


def fits(value: object, schema: object) -> bool | None:
    """Whether the value fits; None if that cannot be said."""
    try:
        return _Check(schema).fits(value, schema, 0)
    except _Unjudged:
        return None


class _Check:
    """One look at one value, with the steps that are left for it."""

    def __init__(self, root: object) -> None:
        self._root = root
        self._left = MAX_STEPS

    def fits(self, value: object, schema: object, depth: int) -> bool:
        """Raises _Unjudged."""
        if isinstance(schema, bool):
            return schema
        if not isinstance(schema, dict) or depth > _MAX_DEPTH:
            raise _Unjudged
        for keyword, wanted in schema.items():
            self._spend(1)
            check = _PLAIN.get(keyword)
            if check is not None:
                if not _is_met(check, value, wanted):
                    return False
            elif keyword in _NESTED and not _NESTED[keyword](self, value, wanted, schema, depth + 1):
                return False
        return True

    def _spend(self, steps: int) -> None:
        self._left -= steps
        if self._left < 0:
            raise _Unjudged

    def _refers(self, value: object, wanted: Any, _: Mapping[str, Any], depth: int) -> bool:
        if not isinstance(wanted, str) or not wanted.startswith("#"):
            raise _Unjudged
        place: Any = self._root
        for step in unquote(wanted[1:]).split("/")[1:]:
            key = step.replace("~1", "/").replace("~0", "~")
            if not isinstance(place, dict) or key not in place:
                raise _Unjudged
            place = place[key]
        return self.fits(value, place, depth)

    def _is_in(self, value: object, wanted: Any, _: Mapping[str, Any], depth: int) -> bool:
        return any(self._equal(value, one, depth) for one in _list(wanted))

    def _is_same(self, value: object, wanted: Any, _: Mapping[str, Any], depth: int) -> bool:
        return self._equal(value, wanted, depth)

    def _fits_all(self, value: object, wanted: Any, _: Mapping[str, Any], depth: int) -> bool:
        return all(self.fits(value, one, depth) for one in _list(wanted))

    def _fits_any(self, value: object, wanted: Any, _: Mapping[str, Any], depth: int) -> bool:
        # Of `oneOf` too: that only one fits may hang on a keyword that is passed over.
        return any(self.fits(value, one, depth) for one in _list(wanted))

    def _has_properties(self, value: object, wanted: Any, _: Mapping[str, Any], depth: int) -> bool:
        if not isinstance(value, dict):
            return True
        fields = _dict(wanted)
        self._spend(len(fields))
        return all(self.fits(value[key], one, depth) for key, one in fields.items() if key in value)

    def _has_no_others(self, value: object, wanted: Any, schema: Mapping[str, Any], depth: int) -> bool:
        if not isinstance(value, dict) or "patternProperties" in schema:
            return True
        known = _dict(schema.get("properties", {}))
        self._spend(len(value))
        return all(self.fits(one, wanted, depth) for key, one in value.items() if key not in known)

    def _has_items(self, value: object, wanted: Any, schema: Mapping[str, Any], depth: int) -> bool:
        if not isinstance(value, list):
            return True
        if isinstance(wanted, list):
            # As drafts before 2020-12 wrote `prefixItems`.
            return self._begins_with(value, wanted, schema, depth)
        first = len(_list(schema.get("prefixItems", [])))
        return all(self.fits(one, wanted, depth) for one in value[first:])

    def _begins_with(self, value: object, wanted: Any, _: Mapping[str, Any], depth: int) -> bool:
        if not isinstance(value, list):
            return True
        return all(self.fits(one, two, depth) for one, two in zip(value, _list(wanted), strict=False))

    def _equal(self, one: Any, two: Any, depth: int) -> bool:
        """As JSON: true is not 1, 1.0 is 1."""
        self._spend(1)
        if depth > _MAX_DEPTH:
            raise _Unjudged
        if isinstance(one, dict) and isinstance(two, dict):
            return one.keys() == two.keys() and all(self._equal(one[key], two[key], depth + 1) for key in one)
        if isinstance(one, list) and isinstance(two, list):
            return len(one) == len(two) and all(
                self._equal(first, second, depth + 1) for first, second in zip(one, two, strict=True)
            )
        if isinstance(one, bool) or isinstance(two, bool):
            return one is two
        return bool(one == two)


_NESTED: Final[Mapping[str, Callable[[_Check, object, Any, Mapping[str, Any], int], bool]]] = {
    "$ref": _Check._refers,
    "enum": _Check._is_in,
    "const": _Check._is_same,
    "allOf": _Check._fits_all,
    "anyOf": _Check._fits_any,
    "oneOf": _Check._fits_any,
    "properties": _Check._has_properties,
    "additionalProperties": _Check._has_no_others,
    "items": _Check._has_items,
    "prefixItems": _Check._begins_with,
}


def _is_met(check: Callable[[Any, Any], bool], value: object, wanted: object) -> bool:
    try:
        return check(value, wanted)
    except (TypeError, ValueError, OverflowError):
        # `minimum: "three"` is the schema's fault.
        raise _Unjudged from None


def _list(wanted: object) -> list[Any]:
    if not isinstance(wanted, list):
        raise _Unjudged
    return wanted


def _dict(wanted: object) -> dict[str, Any]:
    if not isinstance(wanted, dict):
        raise _Unjudged
    return wanted


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_whole(value: Any) -> bool:
    return _is_number(value) and (isinstance(value, int) or (math.isfinite(value) and value.is_integer()))


_TYPES: Final[Mapping[str, Callable[[object], bool]]] = {
    "object": lambda value: isinstance(value, dict),
    "array": lambda value: isinstance(value, list),
    "string": lambda value: isinstance(value, str),
    "number": _is_number,
    "integer": _is_whole,
    "boolean": lambda value: isinstance(value, bool),
    "null": lambda value: value is None,
}


def _has_type(value: object, wanted: Any) -> bool:
    names = [wanted] if isinstance(wanted, str) else _list(wanted)
    if not all(isinstance(name, str) and name in _TYPES for name in names):
        raise _Unjudged
    return any(_TYPES[name](value) for name in names)


def _has_required(value: object, wanted: Any) -> bool:
    # Before 2020-12 some wrote `required: true` beside a property.
    return not isinstance(value, dict) or all(key in value for key in _list(wanted))


_PLAIN: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
    "type": _has_type,
    "required": _has_required,
    "minimum": lambda value, wanted: not _is_number(value) or value >= wanted,
    "maximum": lambda value, wanted: not _is_number(value) or value <= wanted,
    "exclusiveMinimum": lambda value, wanted: not _is_number(value) or value > wanted,
    "exclusiveMaximum": lambda value, wanted: not _is_number(value) or value < wanted,
    "minLength": lambda value, wanted: not isinstance(value, str) or len(value) >= wanted,
    "maxLength": lambda value, wanted: not isinstance(value, str) or len(value) <= wanted,
    "minItems": lambda value, wanted: not isinstance(value, list) or len(value) >= wanted,
    "maxItems": lambda value, wanted: not isinstance(value, list) or len(value) <= wanted,
    "minProperties": lambda value, wanted: not isinstance(value, dict) or len(value) >= wanted,
    "maxProperties": lambda value, wanted: not isinstance(value, dict) or len(value) <= wanted,
}
