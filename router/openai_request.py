"""Reads a request body of the OpenAI API, as far as a router must: what is wrong is named by its field.

Only fields that we know are looked at; unknown ones pass through to the engine, which has the last word.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final, Literal, NamedTuple

import orjson

from cluster.errors import BadRequest

Route = Literal["chat", "completions", "embeddings"]
Body = dict[str, Any]

_ROLES: Final = frozenset({"system", "developer", "user", "assistant", "tool", "function"})
_MAX_TOKENS_FIELDS: Final = ("max_completion_tokens", "max_tokens")


class ApiRequest(NamedTuple):
    """One parsed request."""

    route: Route
    body: Body | None
    """None where it was read without being taken apart (`chat_reader`)."""
    model: str
    is_stream: bool
    model_span: tuple[int, int] | None = None
    """Where the model's name stands in the raw body, quotes included, if that is known."""
    home: int | None = None
    """The conversation's place on a pool's ring, if that has been worked out; else see `affinity.home_of`."""


def parse(route: Route, raw: bytes) -> ApiRequest:
    """Read one body. Raises BadRequest naming the field."""
    try:
        body = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise BadRequest(f"The body is not JSON: {error}.") from None
    if not isinstance(body, dict):
        raise BadRequest("The body must be a JSON object.")
    checks = _CHECKS[route]
    for field, value in body.items():
        check = checks.get(field)
        if check is not None and (problem := check(value)) is not None:
            raise BadRequest(f"{field} {problem}.", field)
    for field in _REQUIRED[route]:
        if field not in body:
            raise BadRequest(f"{field} is missing.", field)
    if route == "chat":
        _check_messages(body["messages"])
    return ApiRequest(route=route, body=body, model=body["model"], is_stream=body.get("stream") is True)


def answer_tokens(body: Body) -> int:
    """The longest answer that the caller allows, tokens; 0 if not said."""
    for field in _MAX_TOKENS_FIELDS:
        value = body.get(field)
        if isinstance(value, int):
            return value
    return 0


def written(part: object) -> bytes:
    """The JSON of a body that was read here, or of a part of it. Raises BadRequest."""
    try:
        return orjson.dumps(part)
    except orjson.JSONEncodeError:
        # orjson reads 1,024 levels and writes 254.
        raise BadRequest("The body is nested too deeply.") from None


def _check_messages(messages: list[Any]) -> None:
    for place, message in enumerate(messages):
        if not isinstance(message, dict):
            raise BadRequest(f"messages[{place}] must be an object with role and content.", f"messages[{place}]")
        role = message.get("role")
        if not isinstance(role, str) or role not in _ROLES:
            field = f"messages[{place}].role"
            raise BadRequest(f"{field} must be one of {', '.join(sorted(_ROLES))}.", field)
        content = message.get("content")
        if not isinstance(content, str | list) and not (content is None and role in ("assistant", "function", "tool")):
            field = f"messages[{place}].content"
            raise BadRequest(f"{field} must be a text or a list of parts.", field)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _text(value: object) -> str | None:
    return None if isinstance(value, str) and value else "must be a text that is not empty"


def _flag(value: object) -> str | None:
    return None if value is None or isinstance(value, bool) else "must be true or false"


def _object(value: object) -> str | None:
    return None if value is None or isinstance(value, dict) else "must be an object"


def _list(value: object) -> str | None:
    return None if value is None or isinstance(value, list) else "must be a list"


def _filled_list(value: object) -> str | None:
    return None if isinstance(value, list) and value else "must be a list that is not empty"


def _stop(value: object) -> str | None:
    is_right = (
        value is None
        or isinstance(value, str)
        or (isinstance(value, list) and all(isinstance(word, str) for word in value))
    )
    return None if is_right else "must be a text or a list of texts"


def _prompt(value: object) -> str | None:
    return None if isinstance(value, str | list) and value != [] else "must be a text or a list that is not empty"


def _number(low: float, high: float) -> Callable[[object], str | None]:
    def check(value: object) -> str | None:
        if value is None or (_is_number(value) and low <= value <= high):  # type: ignore[operator]
            return None
        return f"must be a number from {low:g} to {high:g}"

    return check


def _whole(low: int, high: int | None = None) -> Callable[[object], str | None]:
    def check(value: object) -> str | None:
        is_whole = isinstance(value, int) and not isinstance(value, bool)
        if value is None or (is_whole and low <= value and (high is None or value <= high)):  # type: ignore[operator]
            return None
        return (
            f"must be a whole number of at least {low}"
            if high is None
            else f"must be a whole number from {low} to {high}"
        )

    return check


# Ranges: OpenAI's API reference, where vLLM does not allow more.
_SAMPLING: Final[Mapping[str, Callable[[object], str | None]]] = {
    "model": _text,
    "stream": _flag,
    "stream_options": _object,
    "temperature": _number(0, 2),
    "top_p": _number(0, 1),
    "frequency_penalty": _number(-2, 2),
    "presence_penalty": _number(-2, 2),
    "n": _whole(1, 128),
    "max_tokens": _whole(1),
    "seed": _whole(-(2**63), 2**63 - 1),
    "stop": _stop,
    "logit_bias": _object,
}
_CHECKS: Final[Mapping[Route, Mapping[str, Callable[[object], str | None]]]] = {
    "chat": {
        **_SAMPLING,
        "messages": _filled_list,
        "max_completion_tokens": _whole(1),
        "logprobs": _flag,
        "top_logprobs": _whole(0, 20),
        "tools": _list,
        "response_format": _object,
    },
    "completions": {**_SAMPLING, "prompt": _prompt, "logprobs": _whole(0, 20), "echo": _flag},
    "embeddings": {"model": _text, "input": _prompt},
}
_REQUIRED: Final[dict[Route, tuple[str, ...]]] = {
    "chat": ("model", "messages"),
    "completions": ("model", "prompt"),
    "embeddings": ("model", "input"),
}
