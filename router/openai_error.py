"""Our errors as the OpenAI API words them: the only place that knows both."""

from typing import Any, Final

import orjson

from cluster.errors import BadRequest, FenzhenError, NotFound, TimedOut, TooLarge, Unavailable, UserError

# What we say ourselves changes with every engine that comes or goes, and without this a cache may keep even a 404.
NO_STORE: Final = b"cache-control: no-store\r\n"
JSON_LINE: Final = b"content-type: application/json\r\n" + NO_STORE


def as_http(error: FenzhenError) -> tuple[int, bytes, bytes]:
    """The status, header lines and body that tell `error` to a client."""
    status, kind, code = _meaning(error)
    field = error.field if isinstance(error, BadRequest | NotFound) else None
    headers = JSON_LINE
    if isinstance(error, Unavailable):
        headers += b"retry-after: %d\r\n" % error.retry_after_s
    return status, headers, error_body(str(error), kind, field, code)


def error_body(message: str, kind: str, field: str | None, code: str | int | None) -> bytes:
    """One error in OpenAI's shape. Source: its API reference, `error` object: message, type, param, code."""
    error: dict[str, Any] = {"message": message, "type": kind, "param": field, "code": code}
    return orjson.dumps({"error": error})


def _meaning(error: FenzhenError) -> tuple[int, str, str | None]:
    match error:
        case NotFound(field="model"):
            return 404, "invalid_request_error", "model_not_found"
        case NotFound():
            return 404, "invalid_request_error", "not_found"
        case TooLarge():
            return 413, "invalid_request_error", "request_too_large"
        case UserError():
            return 400, "invalid_request_error", None
        case TimedOut():
            return 504, "timeout_error", "engine_timeout"
        case Unavailable():
            return 503, "service_unavailable_error", "model_not_ready"
        case _:
            return 500, "server_error", None
