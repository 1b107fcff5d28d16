"""Reads what an engine sent, streamed or whole, as far as an outcome asks. Nothing in it is trusted; nothing raises."""

import re
from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

import orjson

_THOUGHT: Final = re.compile(r"\A\s*<think>.*?(?:</think>|\Z)", re.DOTALL)
_FINISH: Final = re.compile(rb'"finish_reason"\s*:\s*"([a-z_]+)"')
_TOKENS: Final = re.compile(rb'"completion_tokens"\s*:\s*(\d{1,9})')
_PROMPT_TOKENS: Final = re.compile(rb'"prompt_tokens"\s*:\s*(\d{1,9})')
_ERROR: Final = re.compile(rb'data: ?\{"error"')
# An answer calls a few tools at once; what claims more is not read further.
_MAX_CALLS: Final = 64


class Call(NamedTuple):
    """One call of a tool."""

    name: str
    arguments: str


class Spoken(NamedTuple):
    """One answer: its first choice."""

    text: str = ""
    """Without what a reasoning model thought aloud first."""
    declined: str = ""
    """What it says in the field that is meant for refusals."""
    calls: tuple[Call, ...] = ()
    finish: str = ""
    prompt_tokens: int | None = None
    output_tokens: int | None = None
    """As the engine counts them; None where it does not say."""
    pieces: int = 0
    """Events that carried anything: about its tokens, where the engine does not count them."""
    has_data: bool = False
    """Whether there is anything else than words, such as an embedding."""
    is_broken: bool = False
    """Whether it is no answer: an error, something else than JSON, a stream without its end."""


def read_spoken(parts: Sequence[bytes], is_stream: bool) -> Spoken:
    """Read a whole body."""
    raw = b"".join(parts)
    try:
        if is_stream and raw.lstrip()[:1] != b"{":
            return _read_events(raw)
        return _read_whole(orjson.loads(raw))
    except (ValueError, KeyError, IndexError, TypeError, AttributeError):
        return Spoken(is_broken=True)


def read_tail(tail: bytes, events: int) -> Spoken:
    """What can be told of an answer that was too long to be held, from its last bytes."""
    finish = [*_FINISH.finditer(tail)]
    tokens, prompt = [*_TOKENS.finditer(tail)], [*_PROMPT_TOKENS.finditer(tail)]
    return Spoken(
        finish=finish[-1][1].decode() if finish else "",
        prompt_tokens=int(prompt[-1][1]) if prompt else None,
        output_tokens=int(tokens[-1][1]) if tokens else None,
        pieces=events,
        has_data=True,
        is_broken=_ERROR.search(tail) is not None,
    )


def _read_whole(document: Any) -> Spoken:
    if "data" in document:
        # Embeddings.
        first = document["data"][0]["embedding"] if document["data"] else None
        return Spoken(has_data=bool(first), finish="stop", prompt_tokens=_usage(document, "prompt_tokens"))
    choice = document["choices"][0]
    message = choice.get("message")
    if message is None:
        message = {"content": choice["text"]}
    calls = tuple(
        Call(_words(call["function"].get("name")), _words(call["function"].get("arguments")))
        for call in (message.get("tool_calls") or ())[:_MAX_CALLS]
    )
    return Spoken(
        _spoken(_words(message.get("content"))),
        _words(message.get("refusal")),
        calls,
        _words(choice.get("finish_reason")),
        _usage(document, "prompt_tokens"),
        _usage(document, "completion_tokens"),
    )


def _read_events(raw: bytes) -> Spoken:
    words: list[str] = []
    declined: list[str] = []
    calls: dict[int, list[str]] = {}
    finish, pieces, is_broken, is_done = "", 0, False, False
    prompt_tokens = output_tokens = None
    for data in _events(raw):
        if data == b"[DONE]":
            is_done = True
            continue
        event = orjson.loads(data)
        if "error" in event:
            is_broken = True
            continue
        if event.get("usage"):
            prompt_tokens, output_tokens = _usage(event, "prompt_tokens"), _usage(event, "completion_tokens")
        for choice in event.get("choices") or ():
            if choice.get("index", 0) != 0:
                continue
            finish = choice.get("finish_reason") or finish
            delta = choice.get("delta") or {}
            content = delta.get("content") or choice.get("text") or ""
            thought = delta.get("reasoning") or delta.get("reasoning_content")
            if content:
                words.append(content)
            if delta.get("refusal"):
                declined.append(delta["refusal"])
            for call in delta.get("tool_calls") or ():
                _add(calls, call)
            pieces += bool(content or thought or delta.get("tool_calls"))
    return Spoken(
        _spoken("".join(words)),
        "".join(declined),
        tuple(Call(*calls[place]) for place in sorted(calls)),
        _words(finish),
        prompt_tokens,
        output_tokens,
        pieces,
        False,
        is_broken or not (finish or is_done),
    )


def _events(raw: bytes) -> Iterator[bytes]:
    for line in raw.split(b"\n"):
        if line.startswith(b"data:"):
            yield line[5:].strip()


def _add(calls: dict[int, list[str]], call: Any) -> None:
    """Calls come in pieces: the name at first, then the arguments bit by bit."""
    place = call.get("index", 0)
    if not isinstance(place, int) or (place not in calls and len(calls) >= _MAX_CALLS):
        return
    function = call.get("function") or {}
    parts = calls.setdefault(place, ["", ""])
    parts[0] += _words(function.get("name"))
    parts[1] += _words(function.get("arguments"))


def _spoken(text: str) -> str:
    return _THOUGHT.sub("", text).strip()


def _words(value: object) -> str:
    return value if isinstance(value, str) else ""


def _usage(document: Any, field: str) -> int | None:
    value = (document.get("usage") or {}).get(field)
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None
