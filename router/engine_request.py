"""A request as an engine gets it."""

from typing import Final

from router.openai_request import ApiRequest, Route, written

_PATHS: Final[dict[Route, bytes]] = {
    "chat": b"/v1/chat/completions",
    "completions": b"/v1/completions",
    "embeddings": b"/v1/embeddings",
}


def head_for(route: Route, host: str, port: int, lines: bytes, body_bytes: int) -> bytes:
    """The head with its empty line. `lines` are complete header lines; the caller's own key and cookies stay here."""
    return b"POST %b HTTP/1.1\r\nhost: %b:%d\r\ncontent-type: application/json\r\n%bcontent-length: %d\r\n\r\n" % (
        _PATHS[route],
        host.encode("ascii"),
        port,
        lines,
        body_bytes,
    )


def body_for(model: str, api_request: ApiRequest, raw: bytes) -> bytes:
    """The caller's own bytes where it named this model, else the same with this model's name."""
    if api_request.model == model:
        return raw
    body = dict(api_request.body)
    body["model"] = model
    return written(body)
