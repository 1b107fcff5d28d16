"""A request as an engine gets it."""

import re
from typing import Final

from router.openai_request import ApiRequest, Route, written

_STARTS: Final[dict[Route, bytes]] = {
    "chat": b"POST /v1/chat/completions HTTP/1.1\r\nhost: ",
    "completions": b"POST /v1/completions HTTP/1.1\r\nhost: ",
    "embeddings": b"POST /v1/embeddings HTTP/1.1\r\nhost: ",
}
_NAMED_AUTO: Final = re.compile(rb'"model"[ \t\r\n]*:[ \t\r\n]*"auto"')


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
    if raw.count(b'"model"') == 1 and b"\\u006" not in raw and (found := _NAMED_AUTO.search(raw)):
        return b'%b"model":"%b"%b' % (raw[: found.start()], model.encode("ascii"), raw[found.end() :])
    assert api_request.body is not None
    body = dict(api_request.body)
    body["model"] = model
    return written(body)
