"""When tokens came: which events count, and which do not."""

from typing import Any

import pytest

from loadtests.asking.completion import Completion
from loadtests.records.gaps import added, bucket_of


def delta(finish: str | None = None, **said: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": said, "finish_reason": finish}]}


def heard(*events: tuple[float, dict[str, Any]]) -> Completion:
    completion = Completion()
    for now_s, document in events:
        completion.take_event(document, now_s)
    return completion


def test_an_event_that_only_names_the_role_is_no_token() -> None:
    told = heard((1.0, delta(role="assistant", content="")), (3.0, delta(content="a")))
    assert (told.first_s, told.last_s, told.pieces, told.max_gap_s) == (3.0, 3.0, 1, None)


def test_an_answer_ends_with_its_last_token_and_not_with_its_usage() -> None:
    told = heard(
        (1.0, delta(content="a")),
        (1.5, delta(content="b")),
        (2.5, delta("stop", content="")),
        (9.0, {"choices": [], "usage": {"completion_tokens": 3}}),
    )
    assert (told.first_s, told.last_s, told.pieces, told.tokens) == (1.0, 2.5, 2, 3)


def test_gaps_are_those_between_tokens() -> None:
    told = heard(
        (1.0, delta(content="a")),
        (1.5, delta(content="b")),
        (1.5, delta(content="c")),
        (2.5, delta("stop", content="")),
        (9.0, {"choices": [], "usage": {"completion_tokens": 4}}),
    )
    assert told.max_gap_s == pytest.approx(1.0)
    assert told.gaps == added([{bucket_of(0.5): 1}, {bucket_of(0.0): 1}, {bucket_of(1.0): 1}])


@pytest.mark.parametrize("name", ["reasoning", "reasoning_content"])
def test_reasoning_is_a_token_and_no_text(name: str) -> None:
    told = heard((1.0, delta(**{name: "hm"})), (2.0, delta(content="a")))
    assert (told.first_s, told.pieces, told.text) == (1.0, 2, "a")


def test_a_piece_of_a_tool_call_is_a_token() -> None:
    told = heard((1.0, delta(role="assistant", content="", tool_calls=[])), (2.0, delta(tool_calls=[{"index": 0}])))
    assert (told.first_s, told.pieces) == (2.0, 1)


def test_an_answer_that_is_nothing_but_its_end_came_at_that_moment() -> None:
    told = heard((1.0, delta(role="assistant", content="")), (2.0, delta("stop", content="")))
    assert (told.first_s, told.last_s, told.pieces) == (2.0, 2.0, 0)


def test_pieces_stand_for_tokens_only_where_the_server_counts_none() -> None:
    events = ((1.0, delta(content="a b c")), (2.0, delta(content="d")))
    assert heard(*events).tokens == 2
    assert heard(*events, (3.0, {"choices": [], "usage": {"completion_tokens": 4}})).tokens == 4


def test_the_last_usage_is_the_one_that_counts() -> None:
    told = heard(
        (1.0, delta(content="a") | {"usage": {"prompt_tokens": 7, "completion_tokens": 1}}),
        (2.0, delta("stop", content="b") | {"usage": {"prompt_tokens": 7, "completion_tokens": 2}}),
    )
    assert (told.prompt_tokens, told.tokens, told.cached_tokens) == (7, 2, None)


@pytest.mark.parametrize("count", [-1, 1.5, "3", True, None])
def test_counts_that_are_none_are_read_as_zero(count: object) -> None:
    assert heard((1.0, {"usage": {"prompt_tokens": count, "completion_tokens": count}})).tokens == 0


def test_a_very_long_answer_is_counted_but_not_kept() -> None:
    told = heard(*((1.0, delta(content="x" * 100_000)) for _ in range(30)))
    assert told.pieces == 30
    assert len(told.text) == 1_000_000


def test_calls_without_end_are_no_tool_calls() -> None:
    completion = Completion()
    with pytest.raises(ValueError, match="tool calls"):
        completion.take_event(delta(tool_calls=[{"index": index} for index in range(1000)]), 1.0)
