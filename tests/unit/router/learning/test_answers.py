"""Answers as engines send them."""

import json

import pytest

from router.learning.answers import Answer, read_answer


def document(content: object, finish: object = "stop", **more: object) -> bytes:
    choice = {"index": 0, "message": {"role": "assistant", "content": content, **more}, "finish_reason": finish}
    return json.dumps({"choices": [choice]}).encode()


def events(*deltas: tuple[str | None, str | None], newline: str = "\n") -> bytes:
    lines = []
    for content, finish in deltas:
        delta = {} if content is None else {"content": content}
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        lines.append(f"data: {json.dumps({'choices': [choice]})}{newline}{newline}")
    return ("".join(lines) + f"data: [DONE]{newline}{newline}").encode()


def test_a_whole_answer_is_read() -> None:
    assert read_answer(document(" 巴黎 \n")) == Answer("巴黎", True)
    assert read_answer(document("Par", "length")) == Answer("Par", False)


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_a_streamed_answer_is_put_together(newline: str) -> None:
    raw = events(("", None), ("巴", None), ("黎", None), (None, "stop"), newline=newline)
    assert read_answer(raw) == Answer("巴黎", True)
    usage = b'data: {"choices": [], "usage": {"total_tokens": 3}}\n\n'
    assert read_answer(raw + usage + b": a comment\n\n") == Answer("巴黎", True)


def test_what_a_model_thinks_aloud_is_not_its_answer() -> None:
    assert read_answer(document("<think>it may be 4\nor 5</think>\n\n5")) == Answer("5", True)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"[]",
        b"{}",
        b'{"choices": []}',
        b'{"error": {"message": "no"}}',
        document(None, "tool_calls"),
        document(None),
        document("", "stop"),
        document(["parts"], "stop"),
        document("text", None),
        document("text", "content_filter"),
        events(("half", None)),
        events(("half", None), (None, "stop"))[:-40] + b"\n\n",
        events(("a", None)) + b'data: {"error": {"message": "fell silent"}}\n\n',
        b"data: nonsense\n\n",
        b"data: 5\n\n",
        b"\xff\xfe",
    ],
)
def test_anything_else_is_no_answer(raw: bytes) -> None:
    assert read_answer(raw) is None
