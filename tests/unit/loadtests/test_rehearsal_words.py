"""What the stand-in makes of a prompt, and what it says to it."""

import json
from typing import Any

import pytest

from cluster.errors import BadRequest
from loadtests.rehearsal.prompt import chat_prompt, plain_prompt, tokens_of
from loadtests.rehearsal.spoken import Habits, called, chosen_tool, said

USER = {"role": "user", "content": "How do I renew my passport?"}
TOOL = {
    "type": "function",
    "function": {
        "name": "find_office",
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"type": "string"},
                "kind": {"enum": ["tax", "police"]},
                "count": {"type": "integer", "minimum": 3},
                "open": {"type": "boolean"},
                "streets": {"type": "array", "items": {"type": "string"}},
                "near": {"anyOf": [{"type": "object", "properties": {"x": {"type": "number"}}}, {"type": "null"}]},
            },
        },
    },
}


def test_tokens_are_estimated_by_letters_and_by_chinese_characters() -> None:
    assert tokens_of(b"abcd" * 10) == 10
    assert tokens_of("身份证".encode() * 10) == 20
    assert tokens_of("abcd身份证".encode()) == 3


def test_equal_beginnings_have_equal_blocks_and_only_those() -> None:
    for base in ("a" * 64 * 3, "证" * 24 * 3, "证a" * 32):
        one = plain_prompt(base + "x" * 200).hashes(b"", 16)
        other = plain_prompt(base + "y" * 200).hashes(b"", 16)
        shared = sum(a == b for a, b in zip(one, other, strict=True))
        assert shared == tokens_of(base.encode()) // 16
        assert one[:shared] == other[:shared]


def test_a_prompt_of_numbers_counts_as_it_is() -> None:
    prompt = plain_prompt(list(range(1000, 1040)))
    assert prompt.tokens == 40
    assert len(prompt.hashes(b"", 16)) == 2
    assert prompt.hashes(b"", 16) == plain_prompt(list(range(1000, 1036))).hashes(b"", 16)


def test_the_next_turn_begins_with_the_one_before_and_its_answer() -> None:
    first = chat_prompt([USER], None)
    answer = said(first.data, 1000, 100, Habits(), is_whole=True)
    before = first.hashes(answer.data, 16)
    turns = [USER, {"role": "assistant", "content": answer.data.decode()}, {"role": "user", "content": "And then?"}]
    after = chat_prompt(turns, None).hashes(b"", 16)
    assert len(before) > 5
    assert after[: len(before)] == before


def test_tools_stand_in_the_prompt() -> None:
    assert chat_prompt([USER], [TOOL]).tokens > chat_prompt([USER], None).tokens + 50


@pytest.mark.parametrize(
    ("messages", "sentence"),
    [
        (None, "a list of at least one"),
        ([], "a list of at least one"),
        ([{"content": "x"}], "needs a role"),
        (["x"], "needs a role"),
        ([{"role": "user", "content": 7}], "text only"),
        ([{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}], "text only"),
    ],
)
def test_messages_that_cannot_be_read_are_refused_with_a_sentence(messages: object, sentence: str) -> None:
    with pytest.raises(BadRequest, match=sentence):
        chat_prompt(messages, None)


@pytest.mark.parametrize("prompt", [None, "", [], ["a", "b"], [1, -2], [True]])
def test_prompts_that_are_no_text_and_no_numbers_are_refused(prompt: object) -> None:
    with pytest.raises(BadRequest, match="prompt must be"):
        plain_prompt(prompt)


def test_an_answer_is_as_long_as_asked_with_ignore_eos_and_by_lot_without() -> None:
    habits = Habits(answer_tokens=50, seed=3)
    assert len(said(b"q", 1000, 77, habits, is_whole=True).pieces) == 77
    many = [said(b"q%d" % number, 10_000, None, habits, is_whole=False) for number in range(400)]
    lengths = sorted(len(one.pieces) for one in many)
    assert 42 < lengths[200] < 58
    assert {one.finish for one in many} == {"stop"}
    cut = [said(b"q%d" % number, 10_000, 30, habits, is_whole=False) for number in range(400)]
    assert max(len(one.pieces) for one in cut) == 30
    assert {one.finish for one in cut if len(one.pieces) < 30} == {"stop"}
    assert sum(one.finish == "length" for one in cut) > 200


def test_the_same_question_is_answered_the_same_and_another_seed_otherwise() -> None:
    def words(seed: int) -> list[bytes]:
        return [said(b"q%d" % one, 500, None, Habits(seed=seed), is_whole=False).data for one in range(20)]

    assert words(1) == words(1)
    assert words(1) != words(2)


def test_an_answer_is_in_the_language_of_the_question_and_a_piece_is_a_token() -> None:
    for question, is_ascii in ((b"How?", True), ("怎么办？".encode(), False)):
        answer = said(question, 1000, 90, Habits(), is_whole=True)
        assert answer.data.isascii() is is_ascii
        assert json.loads(b'"' + answer.data + b'"')
        assert abs(tokens_of(answer.data) - 90) <= 6


def body(**more: Any) -> dict[str, Any]:
    return {"messages": [USER], "tools": [TOOL], **more}


def test_a_tool_is_called_with_arguments_that_its_schema_allows() -> None:
    tool = chosen_tool(body(), b"q", Habits())
    assert tool is not None
    answer = called(*tool, most=200)
    arguments = json.loads(json.loads(b'"' + answer.data + b'"'))
    assert answer.tool == "find_office"
    assert answer.finish == "tool_calls"
    assert arguments == {
        "city": "example", "kind": "tax", "count": 3, "open": True, "streets": ["example"], "near": {"x": 1},
    }  # fmt: skip
    assert called(*tool, most=5).finish == "length"


def test_no_tool_is_called_right_after_a_result_or_if_none_is_wanted() -> None:
    result = [USER, {"role": "tool", "content": "Room 3", "tool_call_id": "x"}]
    assert chosen_tool(body(messages=result), b"q", Habits()) is None
    assert chosen_tool(body(tool_choice="none"), b"q", Habits()) is None
    assert chosen_tool({"messages": [USER]}, b"q", Habits()) is None
    assert chosen_tool(body(), b"q", Habits(tool_ratio=0)) is None
    assert chosen_tool(body(tool_choice="required"), b"q", Habits(tool_ratio=0)) is not None


def test_a_share_of_the_offered_tools_is_called() -> None:
    calls = [chosen_tool(body(), b"q%d" % one, Habits(tool_ratio=0.5)) is not None for one in range(400)]
    assert 150 < sum(calls) < 250


def test_a_named_tool_must_be_among_those_offered() -> None:
    named = {"type": "function", "function": {"name": "find_office"}}
    assert chosen_tool(body(tool_choice=named), b"q", Habits(tool_ratio=0)) is not None
    with pytest.raises(BadRequest, match="not among tools"):
        chosen_tool(body(tool_choice={"function": {"name": "fly"}}), b"q", Habits())
    with pytest.raises(BadRequest, match="functions with names"):
        chosen_tool(body(tools=["x"]), b"q", Habits())
