"""A request as an engine gets it."""

import re
from typing import Any, Final

import orjson

from router.openai_request import ApiRequest, Body, Route, written

_STARTS: Final[dict[Route, bytes]] = {
    "chat": b"POST /v1/chat/completions HTTP/1.1\r\nhost: ",
    "completions": b"POST /v1/completions HTTP/1.1\r\nhost: ",
    "embeddings": b"POST /v1/embeddings HTTP/1.1\r\nhost: ",
}
_NAMED: Final = re.compile(rb'"model"[ \t\r\n]*:[ \t\r\n]*"[^"\\]*"')


def head_for(route: Route, address: bytes, lines: bytes, body_bytes: int) -> bytes:
    """The head with its empty line. `lines` are complete header lines; the caller's own key and cookies stay here."""
    return b"%b%b\r\ncontent-type: application/json\r\n%bcontent-length: %d\r\n\r\n" % (
        _STARTS[route],
        address,
        lines,
        body_bytes,
    )


def body_for(model: str, api_request: ApiRequest, raw: bytes) -> bytes:
    """The caller's own bytes where it named this model, else the same with this model's name.

    Raises BadRequest if they cannot be written again.
    """
    if api_request.model == model:
        return raw
    if api_request.model_span is not None:
        start, end = api_request.model_span
        return b'%b"%b"%b' % (raw[:start], model.encode("ascii"), raw[end:])
    # A key is written either as it is or with escapes, and all letters of this one have codes of 006x. So where there
    # are no such escapes and the word stands once, that is the field itself, and the rest can stay as it was sent.
    if raw.count(b'"model"') == 1 and b"\\u006" not in raw and (found := _NAMED.search(raw)):
        return b'%b"model":"%b"%b' % (raw[: found.start()], model.encode("ascii"), raw[found.end() :])
    assert api_request.body is not None
    body = dict(api_request.body)
    body["model"] = model
    return written(body)


def prompted(prompt: str, model: str, api_request: ApiRequest, raw: bytes) -> bytes:
    """A chat for this model with a prompt before it. Raises BadRequest if it cannot be written again."""
    body = dict(body_of(api_request, raw))
    body["model"] = model
    body["messages"] = _with_prompt(prompt, body["messages"])
    return written(body)


def body_of(api_request: ApiRequest, raw: bytes) -> Body:
    """The body taken apart, also of a request that was read without that."""
    if api_request.body is not None:
        return api_request.body
    body: Body = orjson.loads(raw)
    return body


def _with_prompt(prompt: str, messages: list[Any]) -> list[Any]:
    """One system message in front, as many chat templates take no second one: our prompt, then the caller's own."""
    first = messages[0]
    if first.get("role") not in ("system", "developer"):
        return [{"role": "system", "content": prompt}, *messages]
    content = first.get("content")
    joined = (
        f"{prompt}\n\n{content}" if isinstance(content, str) else [{"type": "text", "text": f"{prompt}\n\n"}, *content]
    )
    return [{**first, "content": joined}, *messages[1:]]
