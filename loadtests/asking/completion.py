"""What the documents of one chat completion say, put together, and when its tokens came.

Which moments count is chosen so that figures agree with those of `vllm bench serve` (vLLM 0.32,
benchmarks/lib/endpoint_request_func.py, `openai-chat`), which takes every event with choices for a token and ends a
request at the last of them, not at the end of the stream:

- *first*: the first event that carries text, reasoning or a tool call. vLLM's tool counts the event before it, too,
  which only names the role; vLLM's server sends both in the same moment, others send the role before they have begun
  to work.
- *last*: the last event with choices. It may be without text: the token that ends an answer has none, but is counted in
  the server's usage. The events after it, usage and [DONE], are no tokens.
- *gaps*: between events with choices, from the first on.

So TTFT and TPOT, (last - first) / (tokens - 1), are those of vLLM's tool; its list of gaps has one more per answer, of
next to nothing, between role and first token.
"""

from collections.abc import Mapping
from typing import Any, Final

from loadtests.records.gaps import Gaps, bucket_of
from loadtests.workload.answer import ToolCall

# More is read and counted, but not kept: no later turn can need it.
_MOST_CHARS: Final = 1_000_000
_MOST_CALLS: Final = 256


class _Call:
    """A tool call that is still being told."""

    __slots__ = ("arguments", "call_id", "name")

    def __init__(self) -> None:
        self.call_id = ""
        self.name = ""
        self.arguments: list[str] = []


class Completion:
    """Takes documents as they come. What is not of OpenAI's shape raises TypeError, ValueError, LookupError or
    AttributeError: for speed nothing is checked that would not be noticed so or do harm.
    """

    __slots__ = (
        "_calls", "_chars", "_texts", "cached_tokens", "completion_tokens", "finish", "first_s", "gaps", "has_error",
        "has_spoken", "has_usage", "last_s", "max_gap_s", "model", "pieces", "prompt_tokens",
    )  # fmt: skip

    def __init__(self) -> None:
        self.first_s: float | None = None
        """On the clock of the one who feeds, as are all moments."""
        self.last_s: float | None = None
        self.pieces = 0
        """Events of a stream that carried text, reasoning or a tool call."""
        self.gaps: Gaps = {}
        self.max_gap_s: float | None = None
        self.finish = ""
        self.model = ""
        self.has_error = False
        self.has_spoken = False
        """There was any text, reasoning or tool call."""
        self.has_usage = False
        self.prompt_tokens = 0
        self.completion_tokens = 0
        self.cached_tokens: int | None = None
        self._texts: list[str] = []
        self._chars = 0
        self._calls: dict[int, _Call] = {}

    def take_event(self, document: Any, now_s: float) -> None:
        """One event of a stream."""
        if document.get("error"):
            self.has_error = True
            return
        if choices := document.get("choices"):
            # Nobody here asks for more than one.
            choice = choices[0]
            is_piece = self._hear(choice["delta"])
            finish = choice.get("finish_reason")
            if finish:
                self.finish = _word(finish)
            if is_piece:
                self.has_spoken = True
                self.pieces += 1
            last_s = self.last_s
            if last_s is not None:
                gap_s = now_s - last_s
                bucket = bucket_of(gap_s)
                self.gaps[bucket] = self.gaps.get(bucket, 0) + 1
                if self.max_gap_s is None or gap_s > self.max_gap_s:
                    self.max_gap_s = gap_s
                self.last_s = now_s
            elif is_piece or finish:
                # An answer whose only token is its end has no text, and yet was answered at this moment.
                self.first_s = self.last_s = now_s
        if usage := document.get("usage"):
            self._count(usage)
        if not self.model:
            self.model = _word(document.get("model") or "")

    def take_whole(self, document: Any, now_s: float) -> None:
        """An answer that is not streamed."""
        choice = document["choices"][0]
        self.has_spoken = self._hear(choice["message"])
        self.finish = _word(choice.get("finish_reason") or "")
        self.first_s = self.last_s = now_s
        if usage := document.get("usage"):
            self._count(usage)
        self.model = _word(document.get("model") or "")

    @property
    def tokens(self) -> int:
        """By the server's usage; where it gives none, the pieces of a stream stand for tokens."""
        return self.completion_tokens if self.has_usage else self.pieces

    @property
    def text(self) -> str:
        """What was said, without reasoning."""
        return "".join(self._texts)

    @property
    def tool_calls(self) -> tuple[ToolCall, ...]:
        """In the order of their index."""
        calls = (self._calls[index] for index in sorted(self._calls))
        return tuple(ToolCall(call.call_id, call.name, "".join(call.arguments)) for call in calls)

    def _hear(self, said: Mapping[str, Any]) -> bool:
        """Keep a delta or a message; whether it holds any token."""
        is_piece = False
        if content := said.get("content"):
            self._keep(self._texts, content)
            is_piece = True
        # vLLM says `reasoning`, others still `reasoning_content`.
        if said.get("reasoning") or said.get("reasoning_content"):
            is_piece = True
        if calls := said.get("tool_calls"):
            for place, told in enumerate(calls):
                self._hear_call(told, place)
            is_piece = True
        return is_piece

    def _hear_call(self, told: Mapping[str, Any], place: int) -> None:
        """A tool call or a piece of one. The id and the name come whole, once; in messages there is no index."""
        index = told.get("index", place)
        call = self._calls.get(index)
        if call is None:
            if len(self._calls) >= _MOST_CALLS or type(index) is not int:
                raise ValueError("these are no tool calls")
            call = self._calls[index] = _Call()
        function = told.get("function") or {}
        call.call_id = call.call_id or _word(told.get("id") or "")
        call.name = call.name or _word(function.get("name") or "")
        self._keep(call.arguments, function.get("arguments") or "")

    def _keep(self, texts: list[str], text: str) -> None:
        if type(text) is not str:
            raise TypeError("a text is no text")
        if self._chars < _MOST_CHARS:
            texts.append(text)
            self._chars += len(text)

    def _count(self, usage: Mapping[str, Any]) -> None:
        self.has_usage = True
        self.prompt_tokens = _number(usage.get("prompt_tokens"))
        self.completion_tokens = _number(usage.get("completion_tokens"))
        if details := usage.get("prompt_tokens_details"):
            cached = details.get("cached_tokens")
            self.cached_tokens = None if cached is None else _number(cached)


def _word(value: Any) -> str:
    """A short text that goes into samples: one line, bounded."""
    if type(value) is not str:
        raise TypeError("a name is no text")
    return value[:200]


def _number(value: Any) -> int:
    return value if type(value) is int and value > 0 else 0
