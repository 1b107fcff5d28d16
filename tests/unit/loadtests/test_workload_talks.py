"""Conversations and agents: their order, what is sent back, and what is forgotten."""

import json
from collections import Counter
from collections.abc import Mapping
from typing import cast

import orjson
import pytest

from loadtests.arrivals.arrival import Arrival
from loadtests.plan import Plan
from loadtests.workload.answer import Answer, ToolCall
from loadtests.workload.callers import Caller
from loadtests.workload.crowd import Crowd
from loadtests.workload.dialogues import MOST_KEPT_CHARS, Conversation, load_dialogues
from loadtests.workload.errands import Errand, load_errands
from loadtests.workload.open_talks import OpenTalks, Talk
from loadtests.workload.turn import Turn

DIALOGUES = {dialogue.id: dialogue for dialogue in load_dialogues()}
ERRANDS = {errand.id: errand for errand in load_errands()}


def crowd_of(kind: str, **workload: object) -> Crowd:
    stage = {"name": "a", "seconds": 60, "arrivals": {"kind": "constant", "rate_per_s": 10}}
    return Crowd(Plan.model_validate({"workload": {"kinds": {kind: 1}, **workload}, "stages": [stage]}), {})


def messages_in(turn: Turn) -> list[dict[str, object]]:
    messages = orjson.loads(turn.body)["messages"]
    assert isinstance(messages, list)
    return messages


def followed(crowd: Crowd, turn: Turn, answer: Answer) -> Turn:
    following = crowd.follow(turn, answer)
    assert following is not None
    return following[0]


def called(name: str, arguments: object, call_id: str = "c1") -> Answer:
    text = arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
    return Answer("", (ToolCall(call_id, name, text),))


def begun(crowd: Crowd, question: str) -> Turn:
    """The first turn of this script, by asking until it comes up."""
    return next(turn for turn in iter(crowd.begin, None) if turn.question == question)


def test_there_are_enough_scripts_of_each_language_and_difficulty() -> None:
    dialogues = Counter((one.language, one.difficulty) for one in DIALOGUES.values())
    errands = Counter((one.language, one.difficulty) for one in ERRANDS.values())
    assert len(dialogues) == len(errands) == 4
    assert min(dialogues.values()) >= 6
    assert min(errands.values()) >= 3
    assert len(DIALOGUES) == len(load_dialogues())
    assert len(ERRANDS) == len(load_errands())


def test_a_conversation_sends_back_what_the_model_said() -> None:
    crowd = crowd_of("conversation")
    turn = begun(crowd, "residence-permit-zh")
    script = DIALOGUES["residence-permit-zh"]
    said: list[str] = []
    for number in range(len(script.turns)):
        assert (turn.turn, turn.kind, turn.is_streamed) == (number, "conversation", True)
        history = messages_in(turn)
        assert history[0] == {"role": "system", "content": script.system}
        assert [one["content"] for one in history if one["role"] == "user"] == list(script.turns[: number + 1])
        assert [one["content"] for one in history if one["role"] == "assistant"] == said
        assert [one["role"] for one in history[1:]] == ["user", "assistant"] * number + ["user"]
        said.append(f"answer {number}")
        following = crowd.follow(turn, Answer(said[-1]))
        if following is None:
            break
        assert (following[0].person, following[0].headers) == (turn.person, turn.headers)
        turn = following[0]
    assert len(said) == len(script.turns)


def test_a_conversation_ends_at_max_turns() -> None:
    crowd = crowd_of("conversation", max_turns=2)
    second = followed(crowd, crowd.begin(), Answer("ok"))
    assert second.turn == 1
    assert crowd.follow(second, Answer("ok")) is None
    assert crowd_of("conversation", max_turns=1).follow(crowd_of("conversation", max_turns=1).begin(), Answer()) is None


def test_a_long_answer_is_cut_in_the_history() -> None:
    crowd = crowd_of("conversation")
    second = followed(crowd, crowd.begin(), Answer("好" * (MOST_KEPT_CHARS + 500)))
    assert messages_in(second)[2]["content"] == "好" * MOST_KEPT_CHARS


def test_an_answer_with_half_a_character_is_sent_back_without_it() -> None:
    crowd = crowd_of("conversation")
    assert messages_in(followed(crowd, crowd.begin(), Answer("a\ud83db")))[2]["content"] == "a?b"


def test_whoever_gets_an_error_goes_away() -> None:
    crowd = crowd_of("conversation")
    turn = crowd.begin()
    assert crowd.follow(turn, Answer(error="timeout")) is None
    # And does not come back when a late answer arrives.
    assert crowd.follow(turn, Answer("late")) is None


def test_an_open_conversation_goes_on_only_after_thinking() -> None:
    crowd = crowd_of("conversation", think_s=[5, 5])
    first = crowd.due(Arrival(0.0, 0))
    crowd.answered(first, Answer("ok"), 1.0)
    assert crowd.due(Arrival(5.9, 0)).person != first.person
    second = crowd.due(Arrival(6.0, 0))
    assert (second.person, second.turn) == (first.person, 1)
    # It is being asked, and cannot be asked twice.
    assert crowd.due(Arrival(7.0, 0)).person != first.person


def test_who_has_waited_longest_goes_on_first() -> None:
    crowd = crowd_of("conversation")
    first, second = crowd.due(Arrival(0.0, 0)), crowd.due(Arrival(0.1, 0))
    crowd.answered(second, Answer("ok"), 1.0)
    crowd.answered(first, Answer("ok"), 2.0)
    assert [crowd.due(Arrival(3.0, 0)).person for _ in range(2)] == [second.person, first.person]


def test_thinking_times_are_drawn_between_the_two() -> None:
    crowd = crowd_of("conversation", think_s=[2, 6])
    waits = []
    for _ in range(200):
        following = crowd.follow(crowd.begin(), Answer("ok"))
        assert following is not None
        waits.append(following[1])
    assert 2 <= min(waits) < 2.5
    assert 5.5 < max(waits) <= 6


def test_an_agent_offers_its_tools_and_gets_their_results() -> None:
    crowd = crowd_of("agent", think_s=[5, 5])
    turn = begun(crowd, "case-status-en")
    assert [tool["function"]["name"] for tool in orjson.loads(turn.body)["tools"]] == ["query_case", "office_hours"]
    answer = called("query_case", {"case_number": "YZ-2026-051208"}, "call-abc")
    following = crowd.follow(turn, answer)
    assert following is not None
    second, think_s = following
    assert (second.turn, second.person, think_s) == (1, turn.person, 0)
    assistant, tool = messages_in(second)[2:]
    function = {"name": "query_case", "arguments": '{"case_number": "YZ-2026-051208"}'}
    assert assistant == {
        "role": "assistant", "content": "",
        "tool_calls": [{"id": "call-abc", "type": "function", "function": function}],
    }  # fmt: skip
    assert (tool["role"], tool["tool_call_id"]) == ("tool", "call-abc")
    assert json.loads(str(tool["content"]))["officer"] == "desk 41"
    assert orjson.loads(second.body)["tools"] == orjson.loads(turn.body)["tools"]
    assert crowd.follow(second, Answer("Desk 41 has it.")) is None


def test_an_errand_is_right_if_its_fact_was_found() -> None:
    turn = begun(crowd_of("agent"), "fee-archive-zh")
    assert turn.is_right is not None
    assert turn.is_right("一共25.2元。") is True
    assert turn.is_right("大约三十元。") is False
    # Calls come without text: there is nothing to mark yet.
    assert turn.is_right("") is None


@pytest.mark.parametrize("errand", ERRANDS.values(), ids=lambda errand: errand.id)
def test_the_fact_of_an_errand_stands_in_a_result_and_not_in_the_question(errand: Errand) -> None:
    results = [
        json.dumps(said, ensure_ascii=False)
        for tool in errand.tools
        for said in (*(result.says for result in tool.results), tool.otherwise)
    ]
    assert any(errand.marks(result) for result in results)
    assert not errand.marks(errand.question)
    assert not errand.marks(json.dumps(errand.offered, ensure_ascii=False))


def test_an_agent_that_answers_at_once_is_done() -> None:
    crowd = crowd_of("agent")
    assert crowd.follow(crowd.begin(), Answer("Please call the office.")) is None


def test_an_agent_may_call_tools_max_turns_times() -> None:
    crowd = crowd_of("agent", max_turns=3)
    turn, answer = crowd.begin(), called("nothing", {})
    for _ in range(3):
        turn = followed(crowd, turn, answer)
    assert turn.turn == 3
    assert crowd.follow(turn, answer) is None


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (called("sing", {}), "there is no such tool; there are query_case, office_hours"),
        (called("query_case", '{"case_number": '), "the arguments must be one JSON object"),
        (called("query_case", "[1, 2]"), "the arguments must be one JSON object"),
        (called("query_case", "[" * 1999), "the arguments must be one JSON object"),
        (called("query_case", '{"case_number": NaN}'), "the arguments must be one JSON object"),
        (called("query_case", '{"case_number": "\ud83d"}'), "the arguments must be one JSON object"),
        (called("query_case", {"case_number": "x" * 3000}), "and not a long one"),
        (called("query_case", {"case_number": "YZ-0"}), "nothing found"),
        (called("query_case", {}), "nothing found"),
        (called("query_case", ""), "nothing found"),
    ],
)
def test_a_broken_call_is_told_to_the_model_and_sent_back_as_readable_json(answer: Answer, told: str) -> None:
    crowd = crowd_of("agent")
    second = followed(crowd, begun(crowd, "case-status-en"), answer)
    assistant, tool = messages_in(second)[2:]
    assert told in str(tool["content"])
    calls = cast(list[dict[str, dict[str, str]]], assistant["tool_calls"])
    assert isinstance(orjson.loads(calls[0]["function"]["arguments"]), dict)


def test_calls_without_an_id_get_one_and_hundreds_of_calls_are_cut() -> None:
    crowd = crowd_of("agent")
    calls = tuple(ToolCall("", "x" * 1000, "{}") for _ in range(300))
    messages = messages_in(followed(crowd, crowd.begin(), Answer("", calls)))
    tools = [message for message in messages if message["role"] == "tool"]
    assert len(tools) == len({str(tool["tool_call_id"]) for tool in tools}) == 8
    assert len(orjson.dumps(messages)) < 20_000


def test_numbers_in_arguments_are_understood_however_they_are_written() -> None:
    compute_fee = next(tool for tool in ERRANDS["fee-archive-zh"].tools if tool.name == "compute_fee")
    for pages in (36, 36.0, "36", " 36 "):
        assert "25.2" in compute_fee.answer({"service": "复印", "quantity": pages})
    assert "25.2" not in compute_fee.answer({"quantity": 35})


def talk_of(person: int) -> Talk:
    caller = Caller("hotline", "blue", ())
    return Talk("conversation", person, caller, Conversation(DIALOGUES["library-card-zh"], 4))


def test_the_oldest_conversations_are_forgotten() -> None:
    talks = OpenTalks(most=3)
    for person in range(5):
        talks.begin(talk_of(person))
    assert len(talks) == 3
    assert [talks.asked(person, 0) is None for person in range(5)] == [True, True, False, False, False]


def test_forgotten_conversations_take_no_room_among_those_that_think() -> None:
    talks = OpenTalks(most=3)
    for person in range(1000):
        talk = talk_of(person)
        talks.begin(talk)
        talks.think(talk, until_s=1e6 - person)
    assert sum(len(waiting) for waiting in talks.thinking.values()) <= 7
    ready = [talks.ready("conversation", 2e6) for _ in range(4)]
    assert [talk.person if talk else None for talk in ready] == [999, 998, 997, None]


def test_a_dialogue_may_begin_with_a_notice_of_some_length() -> None:
    long: Mapping[str, int] = {one.id: len(one.turns[0]) for one in DIALOGUES.values() if len(one.turns[0]) > 500}
    assert {DIALOGUES[name].language for name in long} == {"zh", "en"}
