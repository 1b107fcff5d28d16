"""Which values are said to fit a stranger's schema, and that no schema takes for ever."""

import time
from collections.abc import Callable
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.outcome_schema import fits

PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "minLength": 1},
        "age": {"type": "integer", "minimum": 0, "maximum": 150},
        "level": {"enum": ["red", "yellow", "blue"]},
        "tags": {"type": "array", "items": {"type": "string"}, "maxItems": 2},
        "home": {"$ref": "#/$defs/place"},
    },
    "required": ["name"],
    "additionalProperties": False,
    "$defs": {"place": {"type": "object", "required": ["city"]}},
}


@pytest.mark.parametrize(
    ("value", "is_fitting"),
    [
        ({"name": "Li", "age": 30, "level": "red", "tags": ["a"], "home": {"city": "Hefei"}}, True),
        ({"name": "Li", "age": 30.0}, True),
        ({"age": 30}, False),
        ({"name": ""}, False),
        ({"name": "Li", "age": 30.5}, False),
        ({"name": "Li", "age": True}, False),
        ({"name": "Li", "age": 151}, False),
        ({"name": "Li", "level": "green"}, False),
        ({"name": "Li", "tags": ["a", 1]}, False),
        ({"name": "Li", "tags": ["a", "b", "c"]}, False),
        ({"name": "Li", "home": {}}, False),
        ({"name": "Li", "more": 1}, False),
        (["name"], False),
    ],
)
def test_an_answer_fits_or_does_not(value: object, is_fitting: bool) -> None:
    assert fits(value, PERSON) is is_fitting


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "https://example.org/schema.json"},
        {"$ref": "#/$defs/nowhere"},
        {"type": "sentence"},
        {"minimum": "three"},
        {"enum": "red"},
        {"$ref": "#"},
        "no schema",
        {"allOf": [{"$ref": "#"}]},
    ],
)
def test_of_a_schema_that_makes_no_sense_nothing_is_said(schema: object) -> None:
    assert fits(3, schema) is None


def test_what_cannot_be_checked_in_bounded_time_never_counts_against_an_answer() -> None:
    assert fits("a" * 40, {"pattern": "^(a+)+$", "type": "string"}) is True
    assert fits({"x1": 2}, {"patternProperties": {"^x": {}}, "additionalProperties": False}) is True
    assert fits(3, {"not": {"type": "integer"}}) is True


def test_a_schema_that_doubles_with_every_step_is_given_up_soon() -> None:
    levels: dict[str, Any] = {f"l{depth}": {"anyOf": [{"$ref": f"#/$defs/l{depth + 1}"}] * 4} for depth in range(40)}
    schema = {"$ref": "#/$defs/l0", "$defs": levels | {"l40": {"type": "string"}}}
    started_s = time.monotonic()
    assert fits(1, schema) is None
    assert time.monotonic() - started_s < 1


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from([0.5, 1.0]) | st.sampled_from(["", "a", "bb"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=6,
)
TYPES = st.sampled_from(["object", "array", "string", "number", "integer", "boolean", "null"])
SMALL = st.integers(0, 3)


def _plain(inner: st.SearchStrategy[Any]) -> dict[str, st.SearchStrategy[Any]]:
    """The keywords that are judged."""
    many = st.lists(inner, min_size=1, max_size=3)
    return {
        "type": TYPES | st.lists(TYPES, min_size=1, max_size=2, unique=True),
        "enum": st.lists(JSON, min_size=1, max_size=3),
        "const": JSON,
        "required": st.lists(st.sampled_from("abc"), max_size=2, unique=True),
        "properties": st.dictionaries(st.sampled_from("abc"), inner, max_size=2),
        "additionalProperties": inner,
        "prefixItems": many,
        "items": inner,
        "minItems": SMALL,
        "maxItems": SMALL,
        "minLength": SMALL,
        "maxLength": SMALL,
        "minimum": SMALL,
        "maximum": SMALL,
        "exclusiveMinimum": SMALL,
        "exclusiveMaximum": SMALL,
        "minProperties": SMALL,
        "maxProperties": SMALL,
        "allOf": many,
        "anyOf": many,
    }


def _odd(inner: st.SearchStrategy[Any]) -> dict[str, st.SearchStrategy[Any]]:
    """Those and some that are passed over."""
    return _plain(inner) | {
        "patternProperties": st.dictionaries(st.sampled_from(["^a", "b"]), inner, max_size=1),
        "oneOf": st.lists(inner, min_size=1, max_size=3),
        "not": inner,
        "if": inner,
        "then": inner,
    }


def _schemas(keywords: Callable[[st.SearchStrategy[Any]], dict[str, st.SearchStrategy[Any]]]) -> st.SearchStrategy[Any]:
    def wider(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
        each = keywords(inner)
        chosen = st.lists(st.sampled_from(sorted(each)), min_size=1, max_size=3, unique=True)
        return chosen.flatmap(lambda names: st.fixed_dictionaries({name: each[name] for name in names}))

    return st.recursive(st.booleans() | st.just({}), wider, max_leaves=4)


@settings(max_examples=150, deadline=None)
@given(JSON, _schemas(_odd))
def test_what_fits_by_the_standard_is_never_called_unfit(value: object, schema: Any) -> None:
    if jsonschema.Draft202012Validator(schema).is_valid(value):
        assert fits(value, schema) is True


@settings(max_examples=150, deadline=None)
@given(JSON, _schemas(_plain))
def test_the_keywords_that_engines_hold_to_are_judged_as_by_the_standard(value: object, schema: Any) -> None:
    assert fits(value, schema) is jsonschema.Draft202012Validator(schema).is_valid(value)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=60), JSON)
def test_no_schema_raises(raw: bytes, value: object) -> None:
    try:
        schema = orjson.loads(raw)
    except orjson.JSONDecodeError:
        schema = raw
    assert fits(value, schema) in (True, False, None)
    assert fits(value, {"properties": value, "items": value, "type": value, "minimum": value}) in (True, False, None)
