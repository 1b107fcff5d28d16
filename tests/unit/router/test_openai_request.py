"""Bodies as strangers send them: each is read or refused by a sentence, and never ends in anything else."""

import json

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.errors import BadRequest
from router.engine_request import body_for
from router.need import need_of
from router.openai_request import Route, parse
from tests.fakes.judges import shipped

JUDGE = shipped()

HI = {"model": "auto", "messages": [{"role": "user", "content": "hi"}]}


@pytest.mark.parametrize(
    "raw",
    [
        b'{"model":"auto","messages":[{"role":"user","content":"\\ud800"}]}',
        b'{"model":"auto","messages":[{"role":"user","content":"hi"}],"x":NaN}',
        b'{"model":"auto","messages":[{"role":"user","content":"hi"}],"x":1e400}',
        b'{"model":"auto","messages":[{"role":"user","content":"hi"}],"seed":99999999999999999999}',
        b'{"model":"auto","messages":[{"role":[],"content":"hi"}]}',
        b'{"model":"auto","messages":[{"role":{},"content":"hi"}]}',
        b'{"model":"auto","messages":[{"role":null,"content":"hi"}]}',
        b'{"model":"auto","messages":[{"role":"user","content":null}]}',
        b'{"model":null,"messages":[{"role":"user","content":"hi"}]}',
        b'\xef\xbb\xbf{"model":"auto","messages":[{"role":"user","content":"hi"}]}',
    ],
)
def test_a_body_that_cannot_be_meant_is_refused(raw: bytes) -> None:
    with pytest.raises(BadRequest):
        parse("chat", raw)


@pytest.mark.parametrize(
    "change",
    [
        {"stream": None, "tools": None, "response_format": None, "stop": None, "stream_options": None},
        {"temperature": None, "max_tokens": None, "n": None, "seed": None, "logit_bias": None, "tool_choice": None},
        {"response_format": {"type": []}, "tools": [None, 3, {"function": None}], "tool_choice": {}},
        {"messages": [{"role": "assistant", "content": None, "tool_calls": 3}, {"role": "user", "content": [None, 3]}]},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": None}, {"image_url": {"model": "auto"}}]}]},
        {"metadata": {"model": "auto", "nested": [{"model": "auto"}]}},
        {"model": "模型"},
        {"max_tokens": 2**62},
    ],
)
def test_a_body_that_is_only_odd_is_read(change: dict[str, object]) -> None:
    api_request = parse("chat", json.dumps(HI | change).encode())
    assert api_request.body is not None
    assert need_of("chat", api_request.body, JUDGE).tokens > 0
    assert not api_request.is_stream


def test_of_two_equal_keys_the_last_counts_here_as_in_the_engine() -> None:
    raw = b'{"model":"small","messages":[{"role":"user","content":"hi"}],"model":"large"}'
    assert parse("chat", raw).model == json.loads(raw)["model"] == "large"


def test_only_the_models_name_is_replaced_and_only_at_the_top() -> None:
    api_request = parse("chat", json.dumps(HI | {"metadata": {"model": "auto"}}).encode())
    assert orjson.loads(body_for("small", api_request, b"")) == HI | {"model": "small", "metadata": {"model": "auto"}}


@pytest.mark.parametrize(
    "raw",
    [
        '{"model":"auto","messages":[{"role":"user","content":"你好，model auto"}],"seed":1}',
        '{"messages":[{"role":"user","content":"say \\"model\\":\\"auto\\" and \\u4f60"}], '
        '"model" :\n"auto", "x":123456789012345678901}',
    ],
)
def test_all_other_bytes_reach_the_engine_as_they_were_sent(raw: str) -> None:
    sent = body_for("small", parse("chat", raw.encode()), raw.encode()).decode()
    for written in ('"model":"auto"', '"model" :\n"auto"'):
        raw = raw.replace(written, '"model":"small"')
    assert sent == raw


@pytest.mark.parametrize(
    "raw",
    [
        b'{"\\u006dodel":"auto","messages":[{"role":"user","content":"hi"}],"metadata":{"model":"auto"}}',
        b'{"mod\\u0065l":"auto","messages":[{"role":"user","content":"hi"}],"metadata":{"model":"auto"}}',
        b'{"model":"small","messages":[{"role":"user","content":"hi"}],"model":"auto"}',
        b'{"model":"\\u0061uto","messages":[{"role":"user","content":"hi"}]}',
        b'{"model":"auto","messages":[{"role":"user","content":"hi","model":"auto"}]}',
    ],
)
def test_a_name_that_is_hard_to_find_is_replaced_all_the_same(raw: bytes) -> None:
    api_request = parse("chat", raw)
    assert api_request.model == "auto"
    sent = body_for("small", api_request, raw)
    assert orjson.loads(sent) == json.loads(raw) | {"model": "small"}


def test_nesting_that_can_be_read_but_not_written_is_refused_where_it_must_be_written() -> None:
    deep = b"[" * 300 + b"]" * 300
    hi = b'{"model":"auto","messages":[{"role":"user","content":"hi"}],%b}'
    assert not _is_taken("chat", hi % (b'"tools":%b' % deep))
    assert not _is_taken("chat", hi % (b'"metadata":{"model":%b}' % deep))
    assert _is_taken("chat", hi % (b'"metadata":%b' % deep))


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(st.text(max_size=6) | st.just("model"), st.text() | st.just("auto"), max_size=4), st.booleans())
def test_however_it_is_written_only_the_models_name_changes(more: dict[str, str], as_ascii: bool) -> None:
    body = HI | {"metadata": more, "user": json.dumps(more)}
    raw = json.dumps(body, ensure_ascii=as_ascii).encode("utf-8", "surrogatepass")
    try:
        api_request = parse("chat", raw)
    except BadRequest:
        return
    assert orjson.loads(body_for("small", api_request, raw)) == body | {"model": "small"}


def _is_taken(route: Route, raw: bytes) -> bool:
    """Read a body, judge it and write it for an engine; only a BadRequest may stop that."""
    try:
        api_request = parse(route, raw)
        assert api_request.body is not None
        need_of(route, api_request.body, JUDGE)
        body_for("small", api_request, raw)
    except BadRequest:
        return False
    return True


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(["auto", "user", "tool"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
_MESSAGE = st.fixed_dictionaries({"role": st.just("user") | _JSON, "content": _JSON}, optional={"tool_calls": _JSON})
_BODY = st.fixed_dictionaries(
    {"model": st.just("auto") | _JSON},
    optional={
        "messages": st.lists(_MESSAGE | _JSON, max_size=3) | _JSON,
        "prompt": _JSON,
        "input": _JSON,
        **dict.fromkeys(("stream", "tools", "tool_choice", "response_format", "max_tokens", "stop", "n"), _JSON),
    },
)


@settings(max_examples=300, deadline=None)
@given(_BODY, st.sampled_from(["chat", "completions", "embeddings"]))
def test_whatever_a_body_holds_it_is_read_or_refused(body: dict[str, object], route: Route) -> None:
    _is_taken(route, json.dumps(body).encode())
