"""One answer on its way: the bytes of each piece are ready before it is due."""

import time
import uuid
from typing import Any, Final, Protocol

import orjson

from loadtests.rehearsal.batch import Request
from loadtests.rehearsal.engine import Engine
from loadtests.rehearsal.spoken import Said

JSON_HEAD: Final = b"HTTP/1.1 %d %b\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b"
_STREAM_HEAD: Final = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n"
)
_DONE: Final = b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n"


class Line(Protocol):
    """The connection that an answer goes to."""

    def write(self, data: bytes) -> None:
        """Send, or drop it if nobody is there any more."""

    def answered(self) -> None:
        """The answer is whole."""


class Reply:
    """Tells a caller of each token, in the shape it has asked for."""

    __slots__ = (
        "_after", "_before", "_created", "_engine", "_framed", "_head", "_id", "_is_chat", "_is_streamed", "_line",
        "_interval", "_pieces", "_said", "_sent", "_wants_usage", "request",
    )  # fmt: skip

    def __init__(
        self, engine: Engine, line: Line, request: Request, said: Said, *, is_chat: bool, is_streamed: bool,
        wants_usage: bool,
    ) -> None:  # fmt: skip
        self.request = request
        self._engine = engine
        self._line = line
        self._said = said
        self._pieces = said.pieces
        self._interval = engine.timing.limits.stream_interval
        # So many pieces are on their way.
        self._sent = 0
        self._is_chat = is_chat
        self._is_streamed = is_streamed
        self._wants_usage = wants_usage
        self._id = f"{'chatcmpl' if is_chat else 'cmpl'}-{uuid.uuid4().hex[:16]}"
        self._created = int(time.time())
        kind = "chat.completion.chunk" if is_chat else "text_completion"
        shared = {"id": self._id, "object": kind, "created": self._created, "model": engine.model}
        self._head = orjson.dumps(shared)[:-1]
        if not is_chat:
            before, after = b'{"index":0,"text":"', b'","logprobs":null,"finish_reason":null}'
        elif said.tool is None:
            before, after = b'{"index":0,"delta":{"content":"', b'"},"logprobs":null,"finish_reason":null}'
        else:
            before = b'{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":"'
            after = b'"}}]},"logprobs":null,"finish_reason":null}'
        self._before = b"data: " + self._head + b',"choices":[' + before
        self._after = after + b"]}\n\n\r\n"
        # The length in front of a chunk is that of its piece and of what stays the same.
        self._framed: dict[int, bytes] = {}

    def token(self, request: Request) -> None:
        """One more token has come."""
        if not self._is_streamed:
            if request.is_over:
                self._end()
                self._line.write(self._whole())
                self._line.answered()
            return
        place = request.generated - 1
        if request.is_over:
            first = (_STREAM_HEAD + self._opening()) if place == 0 else b""
            self._end()
            self._line.write(first + self._closing(place) + _DONE)
            self._line.answered()
        elif not place:
            self._line.write(_STREAM_HEAD + self._opening() + self._piece(self._unsent(0)))
        elif request.generated - self._sent >= self._interval:
            self._line.write(self._piece(self._unsent(place)))

    def cancel(self) -> None:
        """Nobody waits for it any more."""
        self._engine.cancel(self.request)

    def _end(self) -> None:
        self._engine.ended(self.request, self._said.finish)

    def _unsent(self, place: int) -> bytes:
        """The pieces up to this one that have not been sent; from now on they have."""
        pieces = self._pieces[self._sent : place + 1]
        self._sent = place + 1
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _piece(self, piece: bytes) -> bytes:
        size = len(piece)
        before = self._framed.get(size)
        if before is None:
            if self._said.tool is not None and not size:
                # The tool's name has gone ahead with the opening.
                return b""
            # Without the line end that closes the chunk.
            length = len(self._before) + size + len(self._after) - 2
            before = self._framed[size] = b"%x\r\n%b" % (length, self._before)
        return before + piece + self._after

    def _opening(self) -> bytes:
        if not self._is_chat:
            return b""
        first: dict[str, Any] = {"role": "assistant", "content": ""}
        opening = self._chunk([{"index": 0, "delta": first, "logprobs": None, "finish_reason": None}])
        if self._said.tool is not None:
            call = {"index": 0, "id": self._call_id(), "type": "function"}
            delta = {"tool_calls": [{**call, "function": {"name": self._said.tool, "arguments": ""}}]}
            opening += self._chunk([{"index": 0, "delta": delta, "logprobs": None, "finish_reason": None}])
        return opening

    def _closing(self, place: int) -> bytes:
        piece = self._unsent(place)
        before, text = b"", orjson.loads(b'"' + piece + b'"')
        said: dict[str, Any] = {"delta": {"content": text}} if self._is_chat else {"text": text}
        if self._said.tool is not None:
            before, said = self._piece(piece), {"delta": {}}
        last = [{"index": 0, **said, "logprobs": None, "finish_reason": self._said.finish, "stop_reason": None}]
        return before + self._chunk(last) + (self._chunk([], self._usage()) if self._wants_usage else b"")

    def _chunk(self, choices: list[dict[str, Any]], usage: dict[str, Any] | None = None) -> bytes:
        more = b',"usage":' + orjson.dumps(usage) if usage else b""
        event = b"data: " + self._head + b',"choices":' + orjson.dumps(choices) + more + b"}\n\n"
        return b"%x\r\n%b\r\n" % (len(event), event)

    def _whole(self) -> bytes:
        text = orjson.loads(b'"' + self._said.data + b'"')
        finish = {"logprobs": None, "finish_reason": self._said.finish, "stop_reason": None}
        choice: dict[str, Any]
        if not self._is_chat:
            choice = {"index": 0, "text": text, **finish}
        else:
            message: dict[str, Any] = {"role": "assistant", "content": text}
            if self._said.tool is not None:
                call = {"id": self._call_id(), "type": "function"}
                function = {"name": self._said.tool, "arguments": text}
                message = {"role": "assistant", "content": None, "tool_calls": [{**call, "function": function}]}
            choice = {"index": 0, "message": message, **finish}
        body = orjson.dumps(
            {
                "id": self._id,
                "object": "chat.completion" if self._is_chat else "text_completion",
                "created": self._created,
                "model": self._engine.model,
                "choices": [choice],
                "usage": self._usage(),
            }
        )
        return JSON_HEAD % (200, b"OK", len(body), body)

    def _usage(self) -> dict[str, Any]:
        request = self.request
        return {
            "prompt_tokens": request.prompt_tokens,
            "total_tokens": request.tokens,
            "completion_tokens": request.generated,
            "prompt_tokens_details": {"cached_tokens": request.cached_tokens},
        }

    def _call_id(self) -> str:
        return f"call_{self._id[-12:]}"
