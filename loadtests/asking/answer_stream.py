"""Reads one HTTP answer of a chat completion out of bytes, with the time at which they came. Knows no socket."""

from typing import Final

import httptools
import orjson

from loadtests.asking.completion import Completion

MAX_ANSWER_BYTES: Final = 32 * 1024 * 1024
"""Head and body; what is longer is no answer but a mistake."""
# The reasons of our own router are short sentences.
_MOST_REASON_CHARS: Final = 200
_NOT_OF_THE_SHAPE: Final = (AttributeError, LookupError, TypeError, ValueError)


class AnswerStream:
    """Feed it what the socket gives until `is_over`, then `close` it; `error` says what became of the answer.

    It reads what `Connection: close` may end, chunks, and lengths; server-sent events by the HTML standard (chapter
    9.2.6) but for lines that end in a carriage return alone, which nobody sends.
    """

    __slots__ = (
        "_bytes", "_data", "_ends_with_connection", "_has_events", "_is_done", "_is_unreadable", "_now_s", "_parser",
        "_parts", "_rest", "completion", "ended_s", "has_begun", "is_complete", "is_over", "is_streamed", "keeps_alive",
        "named_model", "reason", "status",
    )  # fmt: skip

    def __init__(self, is_streamed: bool) -> None:
        self.is_streamed = is_streamed
        self.completion = Completion()
        self.has_begun = False
        """Any byte has come."""
        self.is_complete = False
        """The last byte has come, by HTTP's rules."""
        self.is_over = False
        """Nothing more is to be read: complete, or beyond reading."""
        self.ended_s: float | None = None
        """When it became complete."""
        self.keeps_alive = False
        """The server lets the connection be used again; true only of what has a length or chunks."""
        self.status = 0
        self.named_model = ""
        """x-fenzhen-model."""
        self.reason = ""
        """x-fenzhen-reason, at most 200 characters."""
        self._parser: httptools.HttpResponseParser | None = httptools.HttpResponseParser(self)
        self._now_s = 0.0
        self._bytes = 0
        self._ends_with_connection = True
        self._has_events = False
        self._is_unreadable = False
        # [DONE] has come.
        self._is_done = False
        # Of a body that is not streamed.
        self._parts: list[bytes] = []
        # A line, and the data of an event, whose ends have not come yet.
        self._rest: list[bytes] = []
        self._data: list[bytes] = []

    def feed(self, data: bytes, now_s: float) -> None:
        """Bytes that came at `now_s` on a clock of the caller's."""
        assert self._parser is not None, "an answer that has ended is fed"
        self.has_begun = True
        self._now_s = now_s
        self._bytes += len(data)
        if self._bytes > MAX_ANSWER_BYTES:
            self._is_unreadable = self.is_over = True
            return
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self.is_over = True
            # The answer itself is whole if only what comes after it makes no sense.
            self._is_unreadable = self._is_unreadable or not self.is_complete
            self.keeps_alive = False

    def end(self) -> None:
        """The server has ended the connection. That is how an answer without a length ends; any other has broken."""
        self.is_over = True
        if self.status and self._ends_with_connection and not self.is_complete and not self._is_unreadable:
            self._complete()

    def close(self) -> None:
        """Nothing more will be fed, whatever has come so far."""
        # The parser knows our methods: without this only the garbage collector would part them, and its rounds are
        # pauses in everybody's times.
        self._parser = None

    @property
    def error(self) -> str:
        """A kind of `loadtests.records.sample.ERRORS`, or http_NNN; empty for none. What the server says goes first."""
        told = self.completion
        if self.status not in (0, 200):
            return f"http_{self.status}"
        if told.has_error:
            return "stream_error"
        if self._is_unreadable:
            return "unreadable"
        is_finished = self._is_done or bool(told.finish) or not self.is_streamed
        if not self.is_complete or (self._ends_with_connection and not is_finished):
            return "reset"
        if self.is_streamed and not self._has_events:
            return "unreadable"
        if not told.tokens and not told.has_spoken:
            return "no_tokens"
        return "" if is_finished else "unreadable"

    # What httptools calls.

    def on_message_begin(self) -> None:
        if self.is_complete:
            raise ValueError("bytes after the answer's end")

    def on_header(self, name: bytes, value: bytes) -> None:
        name = name.lower()
        if name == b"content-length" or name == b"transfer-encoding":
            self._ends_with_connection = False
        elif name == b"x-fenzhen-model":
            self.named_model = value.decode("utf-8", "replace")[:_MOST_REASON_CHARS]
        elif name == b"x-fenzhen-reason":
            self.reason = value.decode("utf-8", "replace")[:_MOST_REASON_CHARS]
        elif name == b"content-encoding" and value.lower() != b"identity":
            # Nobody has asked for it.
            self._is_unreadable = True

    def on_headers_complete(self) -> None:
        assert self._parser is not None
        self.status = self._parser.get_status_code()
        self.keeps_alive = self._parser.should_keep_alive()

    def on_body(self, data: bytes) -> None:
        # What an error says is read to its end, for the connection's sake, and never kept.
        if self.status != 200 or self._is_unreadable:
            return
        if self.is_streamed:
            self._read_lines(data)
        else:
            self._parts.append(data)

    def on_message_complete(self) -> None:
        if self.status < 200:
            # An interim answer: the real one follows.
            self.status = 0
            self._ends_with_connection = True
            return
        self._complete()

    def _complete(self) -> None:
        self.is_complete = self.is_over = True
        self.ended_s = self._now_s
        if self.status != 200 or self._is_unreadable:
            return
        if self.is_streamed:
            self._end_lines()
            return
        try:
            self.completion.take_whole(orjson.loads(b"".join(self._parts)), self._now_s)
        except _NOT_OF_THE_SHAPE:
            self._is_unreadable = True
        self._parts.clear()

    def _end_lines(self) -> None:
        # Some servers leave out the empty line after the last event.
        self._read_lines(b"\n\n")
        if self._is_unreadable and self._ends_with_connection:
            # Half an event: the connection has not ended but broken.
            self._is_unreadable = self.is_complete = False
            self.ended_s = None

    def _read_lines(self, data: bytes) -> None:
        lines = data.split(b"\n")
        rest = lines.pop()
        if lines and self._rest:
            self._rest.append(lines[0])
            lines[0] = b"".join(self._rest)
            self._rest.clear()
        if rest:
            self._rest.append(rest)
        for line in lines:
            if line.startswith(b"data:"):
                self._data.append(line[5:])
            elif self._data and (not line or line == b"\r"):
                self._read_event(self._data[0] if len(self._data) == 1 else b"\n".join(self._data))
                self._data.clear()

    def _read_event(self, data: bytes) -> None:
        self._has_events = True
        if self._is_done:
            return
        try:
            self.completion.take_event(orjson.loads(data), self._now_s)
        except _NOT_OF_THE_SHAPE:
            if data.strip() == b"[DONE]":
                self._is_done = True
            else:
                self._is_unreadable = True
