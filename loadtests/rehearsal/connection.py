"""HTTP as vLLM's server speaks it: requests read by httptools, answers written a piece at a time."""

import asyncio
from collections import deque
from typing import Any, Final, cast

import httptools
import orjson

from cluster.errors import BadRequest, NotFound, TooLarge, Unavailable, UserError
from loadtests.rehearsal.batch import Request
from loadtests.rehearsal.engine import Engine
from loadtests.rehearsal.metrics import page_of
from loadtests.rehearsal.prompt import Prompt, chat_prompt, plain_prompt
from loadtests.rehearsal.reply import JSON_HEAD, Reply
from loadtests.rehearsal.spoken import Said, called, chosen_tool, said

_MAX_BODY_BYTES: Final = 16 * 1024 * 1024
# Requests on one connection behind one that is being answered.
_MAX_PIPELINED: Final = 16
_CHAT: Final = "/v1/chat/completions"
_PLAIN: Final = "/v1/completions"
_TEXT_HEAD: Final = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain; version=0.0.4\r\ncontent-length: %d\r\n\r\n%b"
_PHRASES: Final = {200: b"OK", 400: b"Bad Request", 404: b"Not Found", 405: b"Method Not Allowed",
                   413: b"Content Too Large", 503: b"Service Unavailable"}  # fmt: skip
_KINDS: Final = {400: "BadRequestError", 404: "NotFoundError", 413: "BadRequestError", 503: "ServiceUnavailable"}


class Connection(asyncio.Protocol):
    """One keep-alive connection; one request at a time is answered."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport | None = None
        self._url = b""
        self._body: list[bytes] = []
        self._bytes = 0
        self._reply: Reply | None = None
        self._later: deque[tuple[str, str, bytes]] = deque()
        # The other side sends no more requests after these.
        self._is_last = False

    # ---- what the loop calls ----

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports have the methods of asyncio.Transport without being its subclass.
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._later.clear()
        if self._reply is not None:
            self._reply.cancel()
            self._reply = None

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._refuse(400, "the stand-in speaks HTTP/1.1 only")
        except httptools.HttpParserError:
            self._refuse(400, "this is no HTTP/1.1 request")

    # ---- what the parser calls ----

    def on_message_begin(self) -> None:
        """Forget the request before."""
        self._url = b""
        self._body = []
        self._bytes = 0

    def on_url(self, url: bytes) -> None:
        """A part of the address."""
        self._url += url

    def on_body(self, body: bytes) -> None:
        """A part of the body."""
        self._bytes += len(body)
        if self._bytes <= _MAX_BODY_BYTES:
            self._body.append(body)

    def on_message_complete(self) -> None:
        """The request is whole."""
        if self._bytes > _MAX_BODY_BYTES or len(self._later) >= _MAX_PIPELINED:
            self._refuse(413, "a body of more than 16 MiB, or too many requests at once on one connection")
            return
        path = self._url.split(b"?", 1)[0].decode("latin-1")
        self._later.append((self._parser.get_method().decode(), path, b"".join(self._body)))
        self._is_last = not self._parser.should_keep_alive()
        self._next()

    # ---- what a reply calls ----

    def write(self, data: bytes) -> None:
        """Send. What a caller does not read is kept: no more than the model's context holds."""
        if self._transport is not None:
            self._transport.write(data)

    def answered(self) -> None:
        """On to the next request."""
        self._reply = None
        self._next()

    def _next(self) -> None:
        while self._later and self._reply is None:
            method, path, body = self._later.popleft()
            try:
                self._answer(method, path, body)
            except NotFound as error:
                self._fail(404, str(error), error.field)
            except TooLarge as error:
                self._fail(413, str(error))
            except BadRequest as error:
                self._fail(400, str(error), error.field)
            except UserError as error:
                self._fail(400, str(error))
            except Unavailable as error:
                self._fail(503, str(error))
        if self._is_last and self._reply is None and self._transport is not None:
            self._transport.close()

    def _answer(self, method: str, path: str, body: bytes) -> None:
        match method, path:
            case "POST", "/v1/chat/completions" | "/v1/completions":
                self._complete(path == _CHAT, body)
            case "GET", "/health" | "/ping":
                self._say(200, b"")
            case "GET", "/v1/models":
                limits = self._engine.timing.limits
                card = {"id": self._engine.model, "object": "model", "created": 1700000000, "owned_by": "rehearsal"}
                cards = [card | {"max_model_len": limits.max_model_len}]
                self._say(200, orjson.dumps({"object": "list", "data": cards}))
            case "GET", "/metrics":
                page = page_of(self._engine.model, self._engine.counts, self._engine.batch)
                self.write(_TEXT_HEAD % (len(page), page))
            case _, "/v1/chat/completions" | "/v1/completions" | "/health" | "/v1/models" | "/metrics":
                self._say(405, b'{"detail":"Method Not Allowed"}')
            case _:
                self._say(404, b'{"detail":"Not Found"}')

    def _complete(self, is_chat: bool, data: bytes) -> None:
        body = _object(data)
        if body.get("model") != self._engine.model:
            raise NotFound(f"The model `{body.get('model')}` does not exist.", "model")
        if body.get("n") not in (None, 1):
            raise BadRequest("the stand-in gives one answer: n must be 1", "n")
        prompt = chat_prompt(body.get("messages"), body.get("tools")) if is_chat else plain_prompt(body.get("prompt"))
        request, answer = self._planned(is_chat, body, prompt)
        options = body.get("stream_options")
        wants_usage = bool(options.get("include_usage")) if isinstance(options, dict) else False
        is_streamed = body.get("stream") is True
        reply = Reply(
            self._engine, self, request, answer, is_chat=is_chat, is_streamed=is_streamed, wants_usage=wants_usage
        )
        self._engine.ask(request, reply)
        self._reply = reply

    def _planned(self, is_chat: bool, body: dict[str, Any], prompt: Prompt) -> tuple[Request, Said]:
        limits, habits = self._engine.timing.limits, self._engine.habits
        limit = _whole_number(body, "max_completion_tokens") or _whole_number(body, "max_tokens")
        if limit is None and not is_chat:
            # What the API promises for completions without it.
            limit = 16
        room = limits.max_model_len - prompt.tokens
        if room < 1 or (limit is not None and limit > room):
            asked = f" and {limit} of answer" if limit else ""
            raise BadRequest(
                f"This model's maximum context length is {limits.max_model_len} tokens; the prompt has "
                f"{prompt.tokens}{asked}.",
                "messages" if is_chat else "prompt",
            )
        tool = chosen_tool(body, prompt.data, habits) if is_chat else None
        if tool is not None:
            answer = called(*tool, most=min(room, limit or room))
        else:
            answer = said(
                prompt.data, room, limit, habits, is_whole=limit is not None and body.get("ignore_eos") is True
            )
        hashes = prompt.hashes(answer.data, limits.block_tokens) if limits.has_prefix_cache else ()
        return Request(prompt.tokens, len(answer.pieces), hashes), answer

    def _fail(self, status: int, message: str, field: str | None = None) -> None:
        error = {"message": message, "type": _KINDS[status], "param": field, "code": status}
        self._say(status, orjson.dumps({"error": error}))

    def _refuse(self, status: int, message: str) -> None:
        """Answer what cannot be read on, and close."""
        self._later.clear()
        self._fail(status, message)
        if self._transport is not None:
            self._transport.close()

    def _say(self, status: int, body: bytes) -> None:
        self.write(JSON_HEAD % (status, _PHRASES[status], len(body), body))


def _object(data: bytes) -> dict[str, Any]:
    try:
        body = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise BadRequest(f"the body is not JSON: {error}") from error
    if not isinstance(body, dict):
        raise BadRequest("the body must be a JSON object")
    return body


def _whole_number(body: dict[str, Any], name: str) -> int | None:
    value = body.get(name)
    if value is None:
        return None
    if type(value) is not int or value < 1:
        raise BadRequest(f"{name} must be a whole number of at least 1, got {value!r}", name)
    return value
