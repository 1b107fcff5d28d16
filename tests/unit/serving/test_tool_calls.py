import json
from collections.abc import Sequence
from itertools import chain, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.tool_calls import Call, Piece, Reader, read, sorted_out

OFFERED = frozenset({"opening_hours", "book"})
HOURS_ARGUMENTS = '{"day": "Monday"}'
HOURS = '{"name": "opening_hours", "arguments": {"day": "Monday"}}'
BOOK = '{"arguments": {"seats": 2}, "name": "book"}'
CALLS = [Call("opening_hours", HOURS_ARGUMENTS), Call("book", '{"seats": 2}')]

FRAGMENTS = [
    *("<tool_call>", "</tool_call>", "```", "```json", "```python", "`", "<", "{", "}", "[", "]", ",", "\n", " ", '"'),
    *(
        HOURS,
        BOOK,
        HOURS[:-1],
        '{"name": "opening_hours", "arguments": ',
        '{"name": "',
        '"arguments": {',
        "prose",
        "时间",
    ),
    *('{"name": "rm", "arguments": {}}', '{"city": "Paris"}', "json", "\\", "<div>"),
]
texts = st.lists(st.sampled_from(FRAGMENTS), max_size=12).map("".join)


def streamed(deltas: Sequence[str]) -> list[list[Piece]]:
    """What goes out after each delta, and last what goes out at the end."""
    reader = Reader(OFFERED)
    return [*(reader.feed(delta) for delta in deltas), reader.finish()]


@pytest.mark.parametrize(
    "text",
    [
        f"{HOURS}\n{BOOK}",
        f"{HOURS}{BOOK}",
        f"[{HOURS}, {BOOK}]",
        f"<tool_call>\n{HOURS}\n</tool_call>\n<tool_call>\n{BOOK}\n</tool_call>",
        f"<tool_call>\n{HOURS}\n{BOOK}\n</tool_call>",
        f"<tool_call>[{HOURS},{BOOK}]</tool_call>",
        f"```json\n{HOURS}\n{BOOK}\n```",
        f"```json\n{HOURS}\n```\n\n```json\n{BOOK}\n```\n",
        f"```\n[\n  {HOURS},\n  {BOOK}\n]\n```",
        # Marks that small models forget.
        f"{HOURS}\n</tool_call>\n<tool_call>{BOOK}",
        f"```json\n{HOURS}\n{BOOK}",
        f"```json\n{HOURS}\n</tool_call>\n```\n{BOOK}",
    ],
)
def test_calls_are_found_in_every_form(text: str) -> None:
    assert read(text, OFFERED) == (CALLS, "")


def test_text_before_and_after_a_call_stays_content() -> None:
    assert read(f"I shall look.\n\n{HOURS}", OFFERED) == (CALLS[:1], "I shall look.\n\n")
    assert read(f"Look:<tool_call>{HOURS}</tool_call> Done.", OFFERED) == (CALLS[:1], "Look: Done.")
    assert read(f"One:\n```json\n{HOURS}\n```\nTwo:\n{BOOK}", OFFERED) == (CALLS, "One:\n\nTwo:\n")


@pytest.mark.parametrize(
    "text",
    [
        "",
        " \n",
        "We open at nine.",
        '{"city": "Paris", "open": true}',
        '{"name": "rm", "arguments": {}}',
        '{"name": "opening_hours"}',
        '{"name": "opening_hours", "arguments": "Monday"}',
        '{"name": "opening_hours", "arguments": "[1]"}',
        '{"name": "opening_hours", "arguments": [1]}',
        '{"name": "opening_hours", "arguments": {"day": Monday}}',
        '{"name": "opening_hours", "arguments": {"day": NaN}}',
        '{"name": "opening_hours", "arguments": {"day": 1e999}}',
        '{"name": "opening_hours", "arguments": {"day": "\\ud83d"}}',
        '{"name": "opening_hours", "arguments": {"day": ' + "[" * 100_000 + "]" * 100_000 + "}}",
        '{"name": "opening_hours", "arguments": {"day": ' + "9" * 5000 + "}}",
        '{"name": "opening_hours", "arguments": {}, "extra": 1}',
        f'[{HOURS}, {{"name": "rm", "arguments": {{}}}}]',
        f"```python\ncall = 1\n{HOURS}\n```\n",
        f"```json\n{{'name': 1}}\n{HOURS}\n```",
        f"Send {HOURS} to it.",
        f'{{"tool": {HOURS}}}',
        f'{{\n  "tools": [\n    {HOURS}\n  ]\n}}',
        "<tool_call>\nnothing\n</tool_call>",
        "a < b, `x`, ``y`` and ```z```, [1] and {2}",
        HOURS[:-1],
        f"<tool_call>\n{HOURS[:-5]}",
        f"```json\n[{HOURS}",
    ],
)
def test_all_that_is_no_call_stays_content_word_for_word(text: str) -> None:
    assert read(text, OFFERED) == ([], text)


def test_a_call_is_found_after_a_fence_that_holds_none() -> None:
    code = f"```python\nprint({HOURS})\n```\n"
    assert read(code + HOURS, OFFERED) == (CALLS[:1], code)


def test_arguments_written_as_a_string_are_decoded() -> None:
    text = json.dumps({"name": "opening_hours", "arguments": HOURS_ARGUMENTS})
    assert read(text, OFFERED) == (CALLS[:1], "")


def test_arguments_are_json_for_the_client_even_if_the_model_broke_a_line_inside_a_string() -> None:
    [call], content = read('{"name": "book", "arguments": {"note": "二\n人 {\\"}"}}', OFFERED)
    assert json.loads(call.arguments) == {"note": '二\n人 {"}'}
    assert "二" in call.arguments
    assert content == ""


def test_without_tools_nothing_is_read_into_the_text() -> None:
    assert read(HOURS, frozenset()) == ([], HOURS)
    assert Reader(frozenset()).feed("<tool") == ["<tool"]


@pytest.mark.parametrize("text", ["We open at nine. Come!", "1 [2] {3}, a: b\n- c", "价格是 3 元。"])
def test_prose_is_never_held(text: str) -> None:
    assert streamed(list(text)) == [*([letter] for letter in text), []]


@pytest.mark.parametrize(
    ("deltas", "released_by"),
    [
        (["```", "python", "\n", "x"], 1),
        (["{", '"', "name", '": "', "rm", '"', ","], 5),
        (["{", '"city', '": 1}'], 1),
        (["{", " x"], 1),
        (["[", '"a"]'], 1),
        (["<", "div", ">"], 1),
        (["<tool_call>", "\nno", " call"], 1),
        (['{"name": "book", "arguments": ', "2", "}"], 1),
    ],
)
def test_text_is_released_as_soon_as_it_cannot_become_a_call(deltas: list[str], released_by: int) -> None:
    out = streamed(deltas)
    released = ["".join(piece for piece in pieces if isinstance(piece, str)) for pieces in out]
    assert released[:released_by] == [""] * released_by
    assert released[released_by] == "".join(deltas[: released_by + 1])


def test_a_call_goes_out_with_its_last_bracket() -> None:
    assert streamed([HOURS[:-1], "}", "\n", "</tool_call>"]) == [[], [CALLS[0]], [], [], []]


def test_what_was_held_goes_out_when_the_answer_is_cut_off() -> None:
    assert streamed(["Look:\n", HOURS[:20], HOURS[20:40]]) == [["Look:\n"], [], [], [HOURS[:40]]]
    assert streamed(["<tool_c"]) == [[], ["<tool_c"]]


@given(texts, st.lists(st.integers(0, 400), max_size=20))
def test_any_split_into_deltas_gives_the_calls_and_the_content_of_the_whole(text: str, cuts: list[int]) -> None:
    places = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    deltas = [text[start:end] for start, end in pairwise(places)]
    whole = read(text, OFFERED)
    assert sorted_out([*chain(*streamed(deltas))]) == whole
    assert sorted_out([*chain(*streamed(list(text)))]) == whole


@given(texts)
def test_without_a_call_nothing_is_lost(text: str) -> None:
    calls, content = read(text, OFFERED)
    assert calls or content == text


@given(st.text(st.characters(exclude_characters="`")))
def test_whatever_text_precedes_it_a_call_in_tags_is_found(text: str) -> None:
    calls, content = read(f"{text}\n<tool_call>{HOURS}</tool_call>", OFFERED)
    assert calls == CALLS[:1]
    assert content.strip() == text.strip()
