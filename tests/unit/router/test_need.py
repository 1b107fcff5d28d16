"""What a request needs is read from all of its messages, not from the question alone."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.need import USUAL_ANSWER_TOKENS, need_of, tokens_in
from router.openai_request import Route
from router.policy import Need
from tests.fakes.judges import shipped

JUDGE = shipped()
TOOLS = [{"type": "function", "function": {"name": "weather"}}]


def need(route: Route = "chat", **body: object) -> Need:
    return need_of(route, {"model": "auto", **body}, JUDGE)


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def test_the_question_is_judged_and_its_reason_told() -> None:
    easy, hard = need(messages=[user("What is the capital of France?")]), need(messages=[user("证明素数有无穷多个")])
    assert easy.difficulty < 0.5 <= hard.difficulty
    assert "look-up" in easy.why_difficult
    assert "proof" in hard.why_difficult


def test_languages_and_length_are_those_of_the_whole_conversation() -> None:
    asked = need(messages=[{"role": "system", "content": "请用中文回答。"}, user("Привет"), user("hi")], max_tokens=5)
    assert asked.languages == {"zh", "ru"}
    assert asked.tokens == tokens_in("请用中文回答。\nПривет\nhi") + 5


def test_tools_are_needed_and_counted_only_where_they_may_be_called() -> None:
    without = need(messages=[user("hi")])
    offered = need(messages=[user("hi")], tools=TOOLS)
    barred = need(messages=[user("hi")], tools=TOOLS, tool_choice="none")
    assert offered.tools
    assert offered.tokens > without.tokens
    assert offered.difficulty > without.difficulty
    assert barred == without
    assert not without.tools


def test_an_answer_of_unknown_length_is_given_room() -> None:
    assert need(messages=[user("")]).tokens == USUAL_ANSWER_TOKENS
    assert need(messages=[user("")], max_completion_tokens=7, max_tokens=9).tokens == 7


def test_wanting_json_makes_a_question_harder() -> None:
    plain = need(messages=[user("下一步呢？")])
    for kind in ("json_object", "json_schema"):
        assert need(messages=[user("下一步呢？")], response_format={"type": kind}).difficulty > plain.difficulty
    assert need(messages=[user("下一步呢？")], response_format={"type": "text"}) == plain


@pytest.mark.parametrize(("route", "field"), [("completions", "prompt"), ("embeddings", "input")])
def test_prompts_and_inputs_are_read_like_a_question(route: Route, field: str) -> None:
    asked = need(route, **{field: ["你好", "world"]})
    assert asked.languages == {"zh"}
    assert asked.tokens == tokens_in("你好\nworld") + USUAL_ANSWER_TOKENS
    assert not asked.tools


@pytest.mark.parametrize(
    ("text", "tokens"),
    [("", 0), ("word", 1), ("word" * 100, 100), ("你好", 2), ("你好 word" * 4, 8 + 5), ("\ud800" * 8, 2)],
)
def test_a_chinese_character_is_a_token_and_so_are_four_latin_letters(text: str, tokens: int) -> None:
    assert tokens_in(text) == tokens


@given(st.lists(st.text() | st.text("a你é\ud800😀"), max_size=5))
def test_texts_count_like_one_text_of_as_many_lines(texts: list[str]) -> None:
    assert tokens_in(*texts) == tokens_in("\n".join(texts))


def test_passages_around_a_question_count_as_length_and_not_as_the_question() -> None:
    question = "What time does the library open?"
    framed = f"<context>{'Prove it. ' * 500}</context>{question}"
    for asked, plain in (
        (need(messages=[user(framed)]), need(messages=[user(question)])),
        (need("completions", prompt=framed), need("completions", prompt=question)),
    ):
        assert asked.tokens > 1000 + plain.tokens
        assert asked.why_difficult.split(";")[0] == plain.why_difficult.split(";")[0]
        assert plain.difficulty < asked.difficulty < plain.difficulty + 0.2
