"""Reads what a model answered, out of the bytes that an engine sent: one JSON document or server-sent events."""

import re
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import orjson

_THOUGHT: Final = re.compile(r"\A\s*<think>.*?</think>", re.DOTALL)


class Answer(NamedTuple):
    """One answer to one chat."""

    text: str
    """Without what a reasoning model thought aloud first."""
    is_whole: bool
    """Whether the model came to its end, and was not cut off by the longest answer allowed."""


def read_answer(raw: bytes) -> Answer | None:
    """The first choice's text, streamed or not; None for anything else: an error, a broken stream, a call of a tool."""
    try:
        if raw.lstrip()[:1] == b"{":
            return _read_whole(orjson.loads(raw))
        return _read_events(raw)
    except (orjson.JSONDecodeError, KeyError, IndexError, TypeError, AttributeError):
        # What an engine sends is not ours to trust, and any field may be of another kind.
        return None


def _read_whole(document: Any) -> Answer | None:
    choice = document["choices"][0]
    return _answer(choice["message"].get("content"), choice.get("finish_reason"))


def _read_events(raw: bytes) -> Answer | None:
    parts: list[str] = []
    finish: Any = None
    for event in _events(raw):
        if "error" in event:
            return None
        for choice in event.get("choices") or ():
            if choice.get("index", 0) != 0:
                continue
            parts.append((choice.get("delta") or {}).get("content") or "")
            finish = choice.get("finish_reason") or finish
    return _answer("".join(parts), finish)


def _events(raw: bytes) -> Iterator[dict[str, Any]]:
    for line in raw.split(b"\n"):
        data = line.strip()
        if data.startswith(b"data:") and (content := data[5:].strip()) != b"[DONE]":
            yield orjson.loads(content)


def _answer(text: Any, finish: Any) -> Answer | None:
    if not isinstance(text, str) or finish not in ("stop", "length"):
        return None
    spoken = _THOUGHT.sub("", text).strip()
    return Answer(spoken, finish == "stop") if spoken else None
