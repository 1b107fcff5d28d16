"""Which model answered a conversation's turn before."""

import tracemalloc
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.chat_reader import ChatReader
from router.conversations import MAX_TURNS, Conversations, places_of
from router.need import need_of
from router.policy import Need
from tests.fakes.judges import shipped

JUDGE = shipped()
READER = ChatReader(JUDGE)
MIX = 0x9E3779B97F4A7C15


def test_a_turn_is_remembered_for_at_least_half_of_the_time_and_then_forgotten() -> None:
    turns = Conversations(0.0, max_turns=100, keep_s=60)
    turns.remember(1, "small")
    for now_s in range(60):
        assert turns.earlier(1) == "small"
        turns.sweep(float(now_s))
    turns.sweep(60.0)
    assert turns.earlier(1) is None
    assert len(turns) == 0


def test_the_newest_answer_counts() -> None:
    turns = Conversations(0.0, max_turns=100, keep_s=60)
    turns.remember(1, "small")
    turns.sweep(30.0)
    turns.remember(1, "large")
    assert turns.earlier(1) == "large"
    assert turns.earlier(2) is turns.earlier(None) is None


def test_memory_stays_bounded_with_200_000_conversations() -> None:
    tracemalloc.start()
    turns = Conversations(0.0)
    for number in range(200_000):
        turns.remember(number * MIX % 2**63, "small")
        assert len(turns) <= MAX_TURNS
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held < 12 * 1024 * 1024
    # Those that came last are known, a third of all and no less.
    assert all(turns.earlier(number * MIX % 2**63) for number in range(200_000 - MAX_TURNS // 2, 200_000))


# ---- how a turn is known ---------------------------------------------------------------------------------------------


def user(text: Any) -> dict[str, Any]:
    return {"role": "user", "content": text}


def said(text: str) -> dict[str, Any]:
    return {"role": "assistant", "content": text}


def need(*messages: dict[str, Any]) -> Need:
    """The need of a conversation, read both ways where the quick one takes it."""
    body = {"model": "auto", "messages": list(messages)}
    thorough = need_of("chat", body, JUDGE)
    quick = READER.read(orjson.dumps(body))
    if quick is not None:
        assert quick[1] is not None
        assert (quick[1].before, quick[1].here) == (thorough.before, thorough.here)
    return thorough


HI = (user("你好"), said("您好，请问有什么可以帮您？"))


def test_each_turn_finds_the_one_before() -> None:
    messages = [{"role": "system", "content": "You help."}, user("Hello"), said("Hi!"), user("1 + 1?"), said("2"),
                user("Why?"), said("Because."), user("为什么？" * 400), said("x" * 3000), user("And?")]  # fmt: skip
    before = None
    for end in (2, 4, 6, 8, 10):
        turn = need(*messages[:end])
        assert turn.before == before
        before = turn.here


def test_conversations_that_begin_with_the_same_words_part_where_their_words_do() -> None:
    one, other = need(*HI, user("退休年龄是多少？")), need(*HI, user("怎么办居住证？"))
    assert one.before == other.before == need(user("你好")).here
    assert one.here != other.here
    answered = need(*HI, user("退休年龄是多少？"), said("60"), user("谢谢"))
    assert answered.before == one.here
    assert answered.before != other.here
    # The same question again, after other answers.
    assert need(user("a"), said("b"), user("more")).here != need(user("a"), said("c"), user("more")).here
    far = said("b" + "x" * 5000)
    assert need(user("a"), far, user("more")).here != need(user("a"), said("bb" + "x" * 5000), user("more")).here


def test_a_first_turn_has_nothing_before_it_and_a_completion_is_no_conversation() -> None:
    assert need(user("Hello")).before is None
    assert need(user("Hello")).here is not None
    completion = need_of("completions", {"model": "auto", "prompt": "Once upon"}, JUDGE)
    assert (completion.before, completion.here) == (None, None)
    assert places_of([{"role": "system", "content": "a"}], ["a"]) == (None, None)


def test_the_steps_of_one_turn_with_tools_stay_together() -> None:
    call = {"role": "assistant", "content": None, "tool_calls": [{"id": "1", "type": "function", "function": {}}]}
    result = {"role": "tool", "tool_call_id": "1", "content": "12:00"}
    first = need(user("What time is it?"))
    second = need(user("What time is it?"), call, result)
    assert second.before == second.here == first.here
    later = need(user("What time is it?"), call, result, said("Noon."), user("And in Paris?"))
    assert later.before == first.here
    assert need(user("What time is it?"), call).before == first.here


def test_a_question_made_of_parts_is_known_by_its_text() -> None:
    parts = need(user([{"type": "text", "text": "Hello"}]))
    assert parts.here == need(user("Hello")).here


@given(
    st.lists(st.tuples(st.sampled_from(["user", "assistant", "system"]), st.text(max_size=40)), min_size=1, max_size=8)
)
def test_both_ways_of_reading_know_a_turn_by_the_same_place(messages: list[tuple[str, str]]) -> None:
    need(*({"role": role, "content": text} for role, text in messages))


@pytest.mark.parametrize("text", ["\ud800", "a\ud800b"])
def test_half_a_surrogate_pair_breaks_nothing(text: str) -> None:
    assert places_of([user(text), said(text), user(text)], [text] * 3)[0] is not None
