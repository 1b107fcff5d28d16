"""The quick reading of chat bodies agrees with the thorough one on all that it takes, and takes what is ordinary."""

import json
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.errors import BadRequest
from loadtests.questions import load
from router.affinity import home_of
from router.chat_reader import ChatReader
from router.engine_request import body_for
from router.estimate import Judge
from router.need import need_of
from router.openai_request import parse
from router.policy import AUTO
from tests.fakes.judges import shipped, weights

JUDGE = shipped()
READER = ChatReader(JUDGE)
HI: dict[str, Any] = {"model": "auto", "messages": [{"role": "user", "content": "hi"}]}


def agrees(raw: bytes) -> bool:
    """Whether the quick way takes a body; if so, check all that it says."""
    quick = READER.read(raw)
    if quick is None:
        return False
    request, need = quick
    thorough = parse("chat", raw)
    assert thorough.body is not None
    assert (request.model, request.is_stream) == (thorough.model, thorough.is_stream)
    assert request.home == home_of(thorough.body)
    assert need == (need_of("chat", thorough.body, JUDGE) if thorough.model == AUTO else None)
    assert orjson.loads(body_for("other", request, raw)) == thorough.body | {"model": "other"}
    return True


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"model": "qwen2.5-0.5b"},
        {"stream": True, "stream_options": {"include_usage": True}},
        {"stream": False, "temperature": 0, "top_p": 1, "frequency_penalty": -2, "presence_penalty": 1.25, "n": 3},
        {"max_tokens": 5},
        {"max_completion_tokens": 7},
        {"max_tokens": 5, "max_completion_tokens": 7},
        {"max_completion_tokens": 7, "max_tokens": 5},
        {"seed": -3, "user": "somebody", "top_k": 20, "repetition_penalty": 1.1, "logprobs": True, "top_logprobs": 5},
        {"messages": [{"role": "system", "content": ""}, {"content": "你好 αβγ \U0001f600\t\"x\"\\", "role": "user"}]},
        {"messages": [{"role": role, "content": "Почему?", "name": "a"} for role in ("developer", "user")]},
        {"messages": [{"role": "user", "content": text} for text in ("See <b> [1]: x:", "Explain x: y [a].")]},
        {"messages": [{"role": "user", "content": "why? " * 3000}, {"role": "user", "content": "为什么？" * 2000}]},
    ],
)  # fmt: skip
def test_an_ordinary_body_is_taken_however_it_is_written(change: dict[str, Any]) -> None:
    body = HI | change
    assert agrees(orjson.dumps(body))
    assert agrees(json.dumps(body, indent=1).encode())
    assert agrees(json.dumps(body, ensure_ascii=False, separators=(" ,", "\r\n:\t")).encode() + b" \n")


def test_every_question_of_ours_is_ordinary() -> None:
    for question in load():
        assert agrees(orjson.dumps(HI | {"messages": [{"role": "user", "content": question.question}]}))


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{}",
        b"[]",
        b'{"model":"auto","messages":[{"role":"user","content":"hi"}]',
        b'{"model":"auto","messages":[{"role":"user","content":"hi"}]}x',
        b'{"model":"auto","messages":[{"role":"user","content":"hi"}],}',
        b'{"model":"auto","messages":[{"role":"user","content":"hi"},]}',
        b'{"model":"auto","messages":[{"role":"user","content":"hi"}],"model":"auto"}',
        b'{"model":"auto","messages":[{"role":"user","content":"hi","content":"ho"}]}',
        b'{"model":"auto","messages":[{"role":"user"}]}',
        b'{"model":"auto","messages":[]}',
        b'{"model":"","messages":[{"role":"user","content":"hi"}]}',
        b'{"model":"auto","messages":[{"role":"nobody","content":"hi"}]}',
        b'{"model":"auto","messages":[{"role":"user","content":"a\nb"}]}',
        b'{"model":"auto","messages":[{"role":"user","content":"\\ud800"}]}',
        b'{"model":"auto","messages":[{"role":"user","content":"\\udc00\\ud800"}]}',
        b'{"model":"auto","messages":[{"role":"user","content":"\\u12g4"}]}',
        b'{"model":"auto","messages":[{"role":"user","content":"\\x"}]}',
        b'{"model":"auto","messages":[{"role":"user","content":"\xc0\x80"}]}',
        b'{"model":"auto","messages":[{"role":"user","content":"\xed\xa0\x80"}]}',
        b'{"model":"auto","messages":[{"role":"user","content":"\xf4\x90\x80\x80"}]}',
        b'{"model":"auto","messages":[{"role":"user","content":"\xe4\xbd',
        b'{"model":"auto","messages":[{"role":"user","content":"hi"}],"temperature":01}',
        b'{"model":"auto","messages":[{"role":"user","content":"hi"}],"temperature":.5}',
        b'{"model":"auto","messages":[{"role":"user","content":"hi"}],"temperature":1.}',
        b'{"model":"auto","messages":[{"role":"user","content":"hi"}],"temperature":+1}',
        b'{"model":"auto","messages":[{"role":"user","content":"hi"}],"temperature":-}',
        b'{"model":"auto","messages":[{"role":"user","content":"hi"}],"temperature":NaN}',
        b'{"model":"auto","messages":[{"role":"user","content":"hi"}],"temperature":2.5}',
        b'{"model":"auto","messages":[{"role":"user","content":"hi"}],"max_tokens":0}',
        b'{"model":"auto","messages":[{"role":"user","content":"hi"}],"max_tokens":1.0}',
        b'{"model":"auto","messages":[{"role":"user","content":"hi"}],"stream":"yes"}',
        b'{"model":"auto","messages":[{"role":"user","content":"hi"}],"tools":[]}',
        b'{"model":"auto","messages":[{"role":"user","content":"hi"}],"x":tru}',
        b'\xef\xbb\xbf{"model":"auto","messages":[{"role":"user","content":"hi"}]}',
    ],
)
def test_what_is_wrong_or_out_of_the_ordinary_is_left_to_the_thorough_way(raw: bytes) -> None:
    assert READER.read(raw) is None


def test_no_part_of_a_body_is_taken_for_a_whole_one() -> None:
    raw = json.dumps(HI | {"temperature": 0.5, "stream": True}, ensure_ascii=False).encode()
    for size in range(len(raw)):
        assert READER.read(raw[:size]) is None


def test_a_body_longer_than_the_kept_space_is_read_all_the_same() -> None:
    assert agrees(orjson.dumps(HI | {"messages": [{"role": "user", "content": "为" * 300_000}]}))


@pytest.mark.parametrize(
    "content",
    [
        "why?",
        "  \n \n \n \n \n \n \n",
        "<context>a</context> What is said there?",
        "Context: a\nQuestion: what is said there?",
    ],
)
def test_a_question_that_leans_on_something_is_left_to_the_thorough_way(content: str) -> None:
    messages = [{"role": "user", "content": "Name a prime."}, {"role": "user", "content": content}]
    assert READER.read(orjson.dumps(HI | {"messages": messages})) is None
    assert READER.read(orjson.dumps(HI | {"messages": messages, "model": "small"})) is not None


def test_another_judge_is_used_from_the_next_request_on() -> None:
    reader, other = ChatReader(JUDGE), Judge(weights())
    raw = orjson.dumps(HI | {"messages": [{"role": "user", "content": "Name the largest city of each continent."}]})
    before = reader.read(raw)
    reader.judge = other
    after = reader.read(raw)
    reader.judge = JUDGE
    assert reader.read(raw) == before
    assert after is not None
    assert after[1] == need_of("chat", orjson.loads(raw), other)
    assert after != before


_FRAMES = st.lists(
    st.sampled_from(["<context>", "</context>", "Question:", "\nContext:", "[doc 1]", "Prove it", "谢谢", "\n", "你"])
).map("".join)
_TEXT = (
    _FRAMES
    | st.text()
    | st.text(st.sampled_from('aZ 你嗎？，"\\\n\t/αβγ\u3000Ａ①ё\U0001f600\U00020000'))
    | st.sampled_from(["auto", "hi"])
)
_MESSAGE = st.fixed_dictionaries(
    {"role": st.sampled_from(["user", "system", "assistant", "developer", "tool"]), "content": _TEXT},
    optional={"name": _TEXT, "tool_calls": st.just([])},
)
_SCALAR = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | _TEXT
_FIELDS = (
    "stream",
    "temperature",
    "top_p",
    "n",
    "seed",
    "max_tokens",
    "max_completion_tokens",
    "logprobs",
    "stop",
    "user",
    "é",
)


@settings(max_examples=400, deadline=None)
@given(
    st.lists(_MESSAGE, max_size=4),
    st.dictionaries(st.sampled_from(_FIELDS), _SCALAR | st.sampled_from([0, 1, 2, 0.5]), max_size=4),
    st.booleans(),
    st.data(),
)
def test_both_ways_of_reading_agree(
    messages: list[Any], more: dict[str, Any], as_ascii: bool, data: st.DataObject
) -> None:
    raw = bytearray(json.dumps(HI | {"messages": messages} | more, ensure_ascii=as_ascii).encode("utf-8", "replace"))
    if data.draw(st.booleans()):
        # A byte that is not as it was.
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    try:
        agrees(bytes(raw))
    except BadRequest as error:
        pytest.fail(f"the quick way took what the thorough one refuses: {error}")


_TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
_ORDINARY = st.fixed_dictionaries(
    {
        "model": st.sampled_from(["auto", "small", "a.b-c_1"]),
        "messages": st.lists(
            st.fixed_dictionaries(
                {"role": st.sampled_from(["system", "user", "assistant", "developer"]), "content": _TEXTS}
            ),
            max_size=4,
        ).map(lambda messages: [*messages, {"role": "user", "content": "最后一个问题：窗口几点关门？"}]),
    },
    optional={
        "stream": st.booleans(),
        "temperature": st.integers(0, 2) | st.sampled_from([0.7, 1.25, 2.0]),
        "top_p": st.sampled_from([0.1, 0.95, 1]),
        "seed": st.integers(-(10**9), 10**9),
        "n": st.integers(1, 128),
        "max_tokens": st.integers(1, 10**6),
        "user": st.sampled_from(["", "somebody"]),
        "stream_options": st.fixed_dictionaries({"include_usage": st.booleans()}),
    },
)


@settings(max_examples=300, deadline=None)
@given(_ORDINARY, st.booleans(), st.sampled_from([None, 1]))
def test_every_ordinary_body_is_taken(body: dict[str, Any], is_ascii: bool, indent: int | None) -> None:
    assert agrees(json.dumps(body, ensure_ascii=is_ascii, indent=indent).encode())
