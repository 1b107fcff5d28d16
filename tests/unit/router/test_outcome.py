"""What became of a request, told from what an engine sent."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.outcomes import Outcome
from router.openai_request import Route
from router.outcome import MAX_GROUPS, Findings
from router.outcome_record import Asked, Record
from tests.fakes.drawing import to_canary

SIZES_B = {"small": 0.5, "large": 7.0}
QUESTION: dict[str, Any] = {"messages": [{"role": "user", "content": "What is the capital of France?"}]}


def whole(text: str | None = "Paris.", finish: str = "stop", **message: object) -> bytes:
    """A chat's answer as one document."""
    choice = {"index": 0, "finish_reason": finish, "message": {"role": "assistant", "content": text, **message}}
    return json.dumps({"choices": [choice], "usage": {"prompt_tokens": 9, "completion_tokens": 4}}).encode()


def events(*deltas: dict[str, Any], finish: str | None = "stop", done: bool = True) -> bytes:
    """The same as events."""
    bodies: list[object] = [{"choices": [{"index": 0, "delta": delta, "finish_reason": None}]} for delta in deltas]
    if finish is not None:
        bodies.append({"choices": [{"index": 0, "delta": {}, "finish_reason": finish}]})
    return b"".join(b"data: %b\n\n" % json.dumps(body).encode() for body in bodies) + b"data: [DONE]\n\n" * done


def pieces(*words: str, **more: Any) -> bytes:
    return events(*({"content": word} for word in words), **more)


def became(body: bytes | None, asked: dict[str, Any] = QUESTION, route: Route = "chat", **record: Any) -> Outcome:
    """The outcome of a request that was answered so."""
    raw = json.dumps(asked).encode()
    question = Asked("small", route, bool(asked.get("stream")), raw, len(raw))
    values: dict[str, Any] = {"started_s": 10.0, "first_s": 10.5, "last_s": 12.0, "status": 200}
    if body is not None:
        values["parts"] = (body[: len(body) // 2], body[len(body) // 2 :])
    one = Record(question, to_canary(), "small", False, False, **(values | record))
    return Findings(SIZES_B).of(one).outcome


STREAM = QUESTION | {"stream": True}


def test_a_good_answer_has_nothing_wrong_with_it() -> None:
    one = became(whole())
    assert (one.name, one.rollout_id, one.version, one.is_canary, one.is_shadow) == ("small", "r-1", 2, True, False)
    assert (one.fault, one.is_empty, one.is_truncated, one.is_refused, one.is_malformed) == (
        "",
        False,
        False,
        False,
        None,
    )
    assert one.stratum == "short/chat"
    assert one.output_tokens == 4
    assert one.cost == pytest.approx(0.5 * 13)


def test_times_of_a_stream_are_those_of_its_first_byte_and_of_the_rest_by_token() -> None:
    one = became(pieces("The", " capital", " is", " Paris"), STREAM)
    assert one.ttft_s == pytest.approx(0.5)
    assert one.output_tokens == 4
    assert one.tpot_s == pytest.approx(1.5 / 3)
    with_usage = pieces("a", "b") + b'data: {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 31}}\n\n'
    assert became(with_usage, STREAM).tpot_s == pytest.approx(1.5 / 30)


def test_who_waits_for_a_whole_answer_waits_for_its_last_byte() -> None:
    one = became(whole())
    assert one.ttft_s == pytest.approx(2.0)
    assert one.tpot_s is None


def test_one_token_has_no_time_between_tokens() -> None:
    assert became(pieces("Paris"), STREAM).tpot_s is None


@pytest.mark.parametrize(
    ("body", "asked"),
    [
        (whole(""), QUESTION),
        (whole(None), QUESTION),
        (whole(" \n"), QUESTION),
        (whole("<think>hm, hm</think>"), QUESTION),
        (whole("<think>hm, hm"), QUESTION),
        (pieces(), STREAM),
        (pieces("", "\n"), STREAM),
        (events({"reasoning_content": "hm"}), STREAM),
    ],
)
def test_an_answer_without_words_is_empty(body: bytes, asked: dict[str, Any]) -> None:
    one = became(body, asked)
    assert (one.is_empty, one.fault) == (True, "")


def test_an_answer_that_its_limit_cut_off_is_truncated() -> None:
    assert became(whole(finish="length")).is_truncated
    assert became(pieces("a", finish="length"), STREAM).is_truncated


def test_an_answer_that_declines_is_refused() -> None:
    assert became(whole("I'm sorry, but I can't help with that.")).is_refused
    assert became(pieces("抱歉", "，我无法", "回答这个问题。"), STREAM).is_refused
    assert became(whole(None, refusal="No.")).is_refused
    assert not became(whole(None, refusal="No.")).is_empty


@pytest.mark.parametrize(
    ("body", "asked"),
    [
        (b"", QUESTION),
        (b"<html>Bad gateway</html>", QUESTION),
        (b"[]", QUESTION),
        (b'{"choices": []}', QUESTION),
        (b'{"choices": [{"message": 3}]}', QUESTION),
        (pieces("The", finish=None, done=False), STREAM),
        (pieces("The", finish=None, done=False) + b'data: {"error": {"message": "gone"}}\n\n', STREAM),
        (b'{"error": {"message": "gone"}}', STREAM),
        (b"data: {nonsense\n\n", STREAM),
        (b"", STREAM),
    ],
)
def test_what_is_no_answer_is_an_error(body: bytes, asked: dict[str, Any]) -> None:
    one = became(body, asked)
    assert one.fault == "error"
    assert not one.is_empty
    assert one.is_malformed is None


def test_what_is_known_to_have_failed_stays_that_however_good_it_looks() -> None:
    one = became(None, fault="timeout", status=0, first_s=0.0)
    assert (one.fault, one.ttft_s, one.tpot_s, one.output_tokens) == ("timeout", None, None, 0)


OBJECT = {"response_format": {"type": "json_object"}}
SCHEMA = {
    "response_format": {
        "type": "json_schema",
        "json_schema": {
            "name": "n",
            "schema": {"type": "object", "required": ["a"], "properties": {"a": {"type": "integer"}}},
        },
    }
}


@pytest.mark.parametrize(
    ("wanted", "text", "is_malformed"),
    [
        (OBJECT, '{"a": "x"}', False),
        (OBJECT, "[1]", True),
        (OBJECT, 'Here it is: {"a": 1}', True),
        (OBJECT, "```json\n{}\n```", True),
        (SCHEMA, '{"a": 1}', False),
        (SCHEMA, '{"a": "x"}', True),
        (SCHEMA, "{}", True),
        (SCHEMA, '{"a": 1', True),
        ({"response_format": {"type": "text"}}, "{", None),
        ({"response_format": None}, "{", None),
        ({"response_format": {"type": "json_schema"}}, "{}", False),
    ],
)
def test_an_answer_has_the_form_that_was_asked_for_or_not(
    wanted: dict[str, Any], text: str, is_malformed: bool | None
) -> None:
    assert became(whole(text), QUESTION | wanted).is_malformed is is_malformed
    assert became(pieces(text[:5], text[5:]), STREAM | wanted).is_malformed is is_malformed


PARAMETERS = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOLS = {
    "tools": [
        {"type": "function", "function": {"name": "weather", "parameters": PARAMETERS}},
        {"type": "function", "function": {"name": "clock"}},
    ]
}
NAMED = {"tool_choice": {"type": "function", "function": {"name": "weather"}}}


def call(name: str, arguments: str) -> dict[str, Any]:
    return {"index": 0, "id": "c", "type": "function", "function": {"name": name, "arguments": arguments}}


@pytest.mark.parametrize(
    ("more", "calls", "is_malformed"),
    [
        ({}, [("weather", '{"city": "Hefei"}')], False),
        ({}, [("clock", "")], False),
        ({}, [("clock", "{}")], False),
        ({}, [("weather", '{"city": 3}')], True),
        ({}, [("weather", "{}")], True),
        ({}, [("weather", '{"city": "He')], True),
        ({}, [("weather", '["Hefei"]')], True),
        ({}, [("thermometer", "{}")], True),
        ({}, [], None),
        ({"tool_choice": "required"}, [], True),
        (NAMED, [("weather", '{"city": "Hefei"}')], False),
        (NAMED, [("clock", "{}")], True),
        (NAMED, [], True),
        ({"tool_choice": "none"}, [], None),
    ],
)
def test_a_call_of_a_tool_is_one_that_the_tool_can_take_or_not(
    more: dict[str, Any], calls: list[tuple[str, str]], is_malformed: bool | None
) -> None:
    made = [call(*one) for one in calls]
    text = None if calls else "Sunny."
    one = became(whole(text, tool_calls=made), QUESTION | TOOLS | more)
    assert (one.is_malformed, one.is_empty) == (is_malformed, False)
    parts = [{"tool_calls": [call(name, "")]} for name, _ in calls]
    parts += [{"tool_calls": [{"index": 0, "function": {"arguments": bit}}]} for _, args in calls for bit in args]
    one = became(events(*parts, *([] if calls else [{"content": text}])), STREAM | TOOLS | more)
    assert (one.is_malformed, one.is_empty) == (is_malformed, False)


@pytest.mark.parametrize(
    ("asked", "route", "stratum"),
    [
        (QUESTION, "chat", "short/chat"),
        ({"messages": [{"role": "user", "content": "Write a python function that sorts."}]}, "chat", "short/code"),
        ({"messages": [{"role": "user", "content": "写一个函数"}]}, "chat", "short/code"),
        ({"messages": [{"role": "user", "content": "x " * 500}]}, "chat", "middle/chat"),
        ({"messages": [{"role": "user", "content": "x " * 5000}]}, "chat", "long/chat"),
        (QUESTION | OBJECT, "chat", "short/json"),
        (QUESTION | TOOLS, "chat", "short/tools"),
        (QUESTION | TOOLS | {"tool_choice": "none"}, "chat", "short/chat"),
        ({"prompt": "Once upon a time"}, "completions", "short/completion"),
        ({"prompt": [1, 2, 3]}, "completions", "short/completion"),
        ({"input": ["a", "b"]}, "embeddings", "short/embed"),
    ],
)
def test_only_like_is_compared_with_like(asked: dict[str, Any], route: Route, stratum: str) -> None:
    assert became(whole(), asked, route).stratum == stratum


def test_completions_and_embeddings_are_read_too() -> None:
    text = {"choices": [{"text": " there was", "finish_reason": "length"}], "usage": {"completion_tokens": 2}}
    one = became(json.dumps(text).encode(), {"prompt": "Once"}, "completions")
    assert (one.fault, one.is_empty, one.is_truncated, one.output_tokens) == ("", False, True, 2)
    stream = b'data: {"choices": [{"index": 0, "text": "there", "finish_reason": "stop"}]}\n\ndata: [DONE]\n\n'
    assert not became(stream, {"prompt": "Once", "stream": True}, "completions").is_empty
    vector = {"data": [{"embedding": [0.1, 0.2]}], "usage": {"prompt_tokens": 3}}
    one = became(json.dumps(vector).encode(), {"input": "a"}, "embeddings")
    assert (one.fault, one.is_empty, one.output_tokens, one.cost) == ("", False, 0, 1.5)
    assert became(b'{"data": []}', {"input": "a"}, "embeddings").is_empty


def test_of_an_answer_too_long_to_be_held_its_end_and_size_are_known() -> None:
    tail = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"length"}]}\n\ndata: [DONE]\n\n'
    one = became(None, STREAM, tail=tail, events=3001)
    assert (one.fault, one.is_truncated, one.is_empty, one.output_tokens) == ("", True, False, 3001)
    assert one.tpot_s == pytest.approx(1.5 / 3000)
    tail = b'data: {"error":{"message":"The engine","type":"engine_failed"}}\n\n'
    assert became(None, STREAM, tail=tail, events=3001).fault == "error"


def group_in(findings: Findings, name: str) -> str:
    asked = Asked("small", "chat", False, b"", 10, name.encode())
    return findings.of(Record(asked, to_canary(), "small", False, False, 0.0)).outcome.group


def test_a_group_called_by_a_persons_number_is_not_told() -> None:
    assert group_in(Findings(SIZES_B), "13800138000") == "other"


def test_groups_that_callers_make_up_end_in_one() -> None:
    findings = Findings(SIZES_B)

    def group(name: str) -> str:
        return group_in(findings, name)

    assert [group(f"g{number}") for number in range(MAX_GROUPS)] == [f"g{number}" for number in range(MAX_GROUPS)]
    assert group("one-more") == "other"
    assert group("g3") == "g3"
    assert group("") == ""


FIELDS = [
    "choices", "message", "delta", "content", "tool_calls", "function", "arguments", "name", "usage", "index",
    "completion_tokens", "data", "finish_reason", "error", "messages", "tools", "tool_choice", "schema", "type",
    "response_format", "json_schema", "parameters", "prompt", "role", "text", "refusal",
]  # fmt: skip
ODD = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(["a", "required", "json_schema"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(FIELDS),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)
BODIES = st.binary(max_size=80) | ODD.map(lambda value: json.dumps(value).encode())


@settings(max_examples=100, deadline=None)
@given(BODIES, BODIES, st.booleans(), st.sampled_from(["chat", "completions", "embeddings"]))
def test_nothing_that_strangers_and_engines_send_raises(raw: bytes, body: bytes, is_stream: bool, route: Route) -> None:
    if is_stream:
        body = b"data: " + body + b"\n\ndata: [DONE]\n\n"
    asked = Asked("small", route, is_stream, raw, len(raw))
    for parts, tail in (((body,), b""), (None, body)):
        record = Record(asked, to_canary(), "small", False, False, 1.0, 2.0, 3.0, 200, "", parts, tail, 2)
        one = Findings(SIZES_B).of(record).outcome
        assert one.fault in ("", "error")
        json.dumps([one.output_tokens, one.is_malformed, one.is_refused, one.is_empty, one.is_truncated])
