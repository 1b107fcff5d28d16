"""A query is read out of any body without complaint."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.query import CHARS_PER_TOKEN, Query, query_of, read_chat, read_prompt
from tests.fakes.judges import shipped

JUDGE = shipped()

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
    assert query == Query("second", context_chars=7 + 5 + 6, turns=2, before="first")
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
    assert read_prompt(prompt)[0] == query


@given(MESSAGES | ANYTHING)
def test_no_body_whatever_stops_the_judge(body: object) -> None:
    for query in (read_chat(body)[0], read_prompt(body)[0]):
        assert 0 <= JUDGE.estimate(query).difficulty <= 1


def test_what_an_application_puts_around_a_question_is_context() -> None:
    content = "<context>a passage</context>\nWhat does it say?"
    query, texts = read_chat([{"role": "user", "content": content}])
    assert query == Query("What does it say?", context_chars=len(content) - 17)
    assert texts == [content]
    assert query_of(content) == query
    assert read_prompt(content) == (query, content)


def test_a_turn_that_holds_only_a_tools_output_goes_on_with_the_question_before_it() -> None:
    output = "<tool_result>3 files</tool_result>"
    query, _ = read_chat(
        [{"role": "user", "content": "Rename the files."}, {"role": "user", "content": output},
         {"role": "user", "content": output}]
    )  # fmt: skip
    assert query == Query("Rename the files.", context_chars=2 * len(output), turns=3)
    assert read_chat([{"role": "user", "content": output}])[0].text == output


@pytest.mark.parametrize("short", ["继续", "why?", "那第二条呢"])
def test_a_short_turn_leans_on_the_one_before(short: str) -> None:
    first = {"role": "user", "content": "Prove that there are infinitely many primes."}
    query, _ = read_chat([first, {"role": "assistant", "content": "Euclid"}, {"role": "user", "content": short}])
    assert (query.text, query.before) == (short, first["content"])
    assert read_chat([first, {"role": "user", "content": short * 6}])[0].before == ""
    assert read_chat([{"role": "user", "content": short}])[0].before == ""
