"""A query is read out of any body without complaint."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.difficulty import judge
from router.query import CHARS_PER_TOKEN, Query, query_of_text, read_chat

SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
ANYTHING = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["role", "content", "text", "type"]), inner),
)
MESSAGES = st.lists(
    st.fixed_dictionaries(
        {}, optional={"role": st.sampled_from(["user", "assistant", "tool", "system"]) | ANYTHING, "content": ANYTHING}
    )
    | ANYTHING
)


def test_the_newest_user_turn_is_the_question_and_the_rest_is_context() -> None:
    messages = [
        {"role": "system", "content": "be kind"},
        {"role": "user", "content": "first"},
        {"role": "assistant", "content": "answer"},
        {"role": "user", "content": "second"},
    ]
    query, texts = read_chat(messages)
    assert query == Query("second", context_chars=7 + 5 + 6, turns=2)
    assert texts == ["be kind", "first", "answer", "second"]


def test_tool_results_after_the_question_are_context() -> None:
    messages = [
        {"role": "user", "content": "weather?"},
        {"role": "assistant", "content": None, "tool_calls": [{"id": "1"}]},
        {"role": "tool", "content": "sunny"},
    ]
    query, texts = read_chat(messages)
    assert query == Query("weather?", context_chars=5, turns=1, has_tools=True)
    assert texts == ["weather?", "", "sunny"]


def test_text_parts_are_joined_and_images_have_no_text() -> None:
    parts = [
        {"type": "text", "text": "what is"},
        {"type": "image_url", "image_url": {}},
        {"type": "text", "text": "this"},
    ]
    query, texts = read_chat([{"role": "user", "content": parts}])
    assert query.text == "what is\nthis"
    assert texts == [query.text]


def test_wishes_of_the_body_are_kept() -> None:
    query, _ = read_chat([{"role": "user", "content": "x"}], has_tools=True, wants_json=True)
    assert query.has_tools
    assert query.wants_json


@pytest.mark.parametrize(
    "messages", [None, 3, "text", {}, [None], [{"role": "user"}], [{"role": "user", "content": 7}]]
)
def test_odd_messages_count_as_empty(messages: object) -> None:
    query, texts = read_chat(messages)
    assert query.text == "".join(texts) == ""


@pytest.mark.parametrize(
    ("prompt", "query"),
    [
        ("hello", Query("hello")),
        (["one", "two"], Query("one\ntwo")),
        ([1, 2, 3], Query("", context_chars=3 * CHARS_PER_TOKEN)),
        ([[1, 2], [3]], Query("", context_chars=3 * CHARS_PER_TOKEN)),
        (None, Query("", turns=0)),
    ],
)
def test_prompts_of_every_shape_are_read(prompt: object, query: Query) -> None:
    assert query_of_text(prompt) == query


@given(MESSAGES | ANYTHING)
def test_no_body_whatever_stops_the_judge(body: object) -> None:
    for query in (read_chat(body)[0], query_of_text(body)):
        assert 0 <= judge(query).value <= 1
