"""Who asks what: shares, order, workers, and plans that cannot be asked."""

import itertools
import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

import orjson
import pytest

from cluster.errors import UserError
from loadtests.ability import body_of
from loadtests.arrivals.arrival import Arrival
from loadtests.plan import Plan
from loadtests.questions import load
from loadtests.workload.answer import Answer
from loadtests.workload.crowd import Crowd
from loadtests.workload.turn import Turn

QUESTIONS = {question.id: question for question in load()}


def plan_of(workload: Mapping[str, object], seed: int = 7, stage: Mapping[str, object] | None = None) -> Plan:
    arrivals = {"name": "a", "seconds": 60, "arrivals": {"kind": "constant", "rate_per_s": 10}}
    return Plan.model_validate({"seed": seed, "workload": workload, "stages": [stage or arrivals]})


def asked(crowd: Crowd, count: int, answer: Answer | None = None) -> list[Turn]:
    """So many arrivals, a tenth of a second apart, each answered before the next if there is an answer."""
    turns = []
    for number in range(count):
        turn = crowd.due(Arrival(number / 10, 0))
        if answer:
            crowd.answered(turn, answer, number / 10)
        turns.append(turn)
    return turns


def assert_shares(found: Iterable[object], wanted: Mapping[object, float]) -> None:
    """Each count lies within four standard deviations of its binomial distribution."""
    counts = Counter(found)
    total, whole = sum(counts.values()), sum(wanted.values())
    assert set(counts) <= {name for name, share in wanted.items() if share}
    for name, share in wanted.items():
        ratio = share / whole
        off = abs(counts[name] - total * ratio)
        assert off <= 4 * math.sqrt(total * ratio * (1 - ratio)) + 1e-9, (name, counts[name], total * ratio)


MIX: dict[str, object] = {
    "kinds": {"stream": 6, "chat": 1, "conversation": 2, "agent": 1},
    "difficulty": {"easy": 7, "hard": 3},
    "languages": {"zh": 6, "en": 4},
    "tenants": [
        {"name": "hotline", "share": 3, "levels": {"red": 1, "yellow": 2, "blue": 7}},
        {"name": "tax", "share": 1, "levels": {"blue": 1, "red": 0}},
    ],
}


def test_the_shares_of_a_plan_are_those_of_its_requests() -> None:
    turns = asked(Crowd(plan_of(MIX), {}), 8000, Answer("好的"))
    assert_shares((turn.kind for turn in turns), {"stream": 6, "chat": 1, "conversation": 2, "agent": 1})
    single = [turn for turn in turns if turn.kind in ("chat", "stream")]
    assert_shares((turn.language for turn in single), {"zh": 6, "en": 4})
    assert_shares((turn.difficulty for turn in single), {"easy": 7, "hard": 3})
    assert_shares((turn.tenant for turn in single), {"hotline": 3, "tax": 1})
    assert_shares((turn.level for turn in single if turn.tenant == "hotline"), {"red": 1, "yellow": 2, "blue": 7})
    assert {turn.level for turn in single if turn.tenant == "tax"} == {"blue"}


def test_shares_of_kinds_hold_of_requests_however_slow_the_answers_are() -> None:
    # Nothing is ever answered: each conversation is a new one, and there are not more of them for that.
    turns = asked(Crowd(plan_of(MIX), {}), 4000)
    assert_shares((turn.kind for turn in turns), {"stream": 6, "chat": 1, "conversation": 2, "agent": 1})
    assert {turn.turn for turn in turns} == {0}


def test_shares_of_kinds_hold_of_requests_in_a_closed_loop_too() -> None:
    crowd = Crowd(plan_of(MIX), {})
    kinds: list[object] = []
    people = [crowd.begin() for _ in range(50)]
    for _ in range(200):
        kinds += [turn.kind for turn in people]
        followed = [crowd.follow(turn, Answer("好的")) for turn in people]
        people = [following[0] if following else crowd.begin() for following in followed]
    counts = Counter(kinds)
    # What an agent will do is learned while it runs: a tenth off is near enough.
    for kind, share in {"stream": 0.6, "chat": 0.1, "conversation": 0.2, "agent": 0.1}.items():
        assert counts[kind] / len(kinds) == pytest.approx(share, rel=0.1)


def test_every_question_of_a_cell_is_asked() -> None:
    turns = asked(Crowd(plan_of({"kinds": {"stream": 1}, "languages": {"zh": 1}, "difficulty": {"easy": 1}}), {}), 500)
    wanted = {one.id for one in QUESTIONS.values() if one.language == "zh" and one.level_of_difficulty == "easy"}
    assert {turn.question for turn in turns} == wanted


def test_the_same_seed_and_worker_ask_the_same() -> None:
    first, again = (asked(Crowd(plan_of(MIX), {}, 1, 3), 300, Answer("ok")) for _ in range(2))
    assert [(turn.body, turn.headers) for turn in first] == [(turn.body, turn.headers) for turn in again]
    other_seed = asked(Crowd(plan_of(MIX, seed=8), {}, 1, 3), 300)
    other_worker = asked(Crowd(plan_of(MIX), {}, 2, 3), 300)
    for others in (other_seed, other_worker):
        assert [turn.question for turn in others] != [turn.question for turn in first]


def test_no_two_workers_have_a_person_in_common() -> None:
    people = [
        {turn.person for turn in asked(Crowd(plan_of(MIX), {}, worker, 3), 200, Answer("ok"))} for worker in range(3)
    ]
    assert all(not one & other for one, other in itertools.combinations(people, 2))


def test_single_questions_do_not_depend_on_how_fast_answers_come() -> None:
    quick = asked(Crowd(plan_of(MIX), {}), 500, Answer("ok"))
    slow = asked(Crowd(plan_of(MIX), {}), 500)
    for one, other in zip(quick, slow, strict=True):
        assert one.kind == other.kind
        if one.kind in ("chat", "stream"):
            assert (one.body, one.headers) == (other.body, other.headers)


def test_a_question_is_put_as_the_measurement_of_ability_puts_it_and_marked() -> None:
    turns = asked(Crowd(plan_of({"kinds": {"chat": 1, "stream": 1}, "max_tokens": 77, "temperature": 0.5}), {}), 50)
    for turn in turns:
        question, body = QUESTIONS[turn.question], orjson.loads(turn.body)
        assert body["messages"] == body_of(question, "auto", 77)["messages"]
        assert (body["model"], body["max_tokens"], body["temperature"]) == ("auto", 77, 0.5)
        assert body["user"] == f"person-{turn.person}"
        assert (turn.language, turn.difficulty) == (question.language, question.level_of_difficulty)
        assert turn.is_right is not None
        assert turn.is_right("") is False


def test_a_chat_comes_whole_and_a_stream_tells_its_usage() -> None:
    for turn in asked(Crowd(plan_of(MIX), {}), 100):
        body = orjson.loads(turn.body)
        assert turn.is_streamed == (turn.kind != "chat")
        assert body.get("stream", False) is turn.is_streamed
        assert body.get("stream_options") == ({"include_usage": True} if turn.is_streamed else None)


def test_in_order_asks_each_question_once_and_then_ends() -> None:
    crowd = Crowd(plan_of({"kinds": {"stream": 1}, "in_order": True, "languages": {"zh": 1}}), {})
    begun = crowd.is_exhausted
    assert [turn.question for turn in asked(crowd, 80)] == list(QUESTIONS)
    assert (begun, crowd.is_exhausted) == (False, True)
    with pytest.raises(IndexError):
        crowd.due(Arrival(8.0, 0))
    with pytest.raises(IndexError):
        crowd.begin()


def test_in_order_workers_share_the_questions() -> None:
    plan = plan_of({"kinds": {"chat": 1}, "in_order": True})
    parts = []
    for worker in range(3):
        crowd = Crowd(plan, {}, worker, 3)
        part = []
        while not crowd.is_exhausted:
            part.append(crowd.begin().question)
        parts.append(part)
    assert [len(part) for part in parts] == [27, 27, 26]
    assert [parts[place % 3][place // 3] for place in range(80)] == list(QUESTIONS)


def test_in_order_with_more_workers_than_questions_leaves_some_without_work(tmp_path: Path) -> None:
    crowd = Crowd(plan_of({"kinds": {"chat": 1}, "in_order": True, "questions": own_questions(tmp_path)}), {}, 4, 5)
    assert crowd.is_exhausted


def own_questions(folder: Path) -> str:
    row = {
        "id": "q", "language": "en", "kind": "k", "level_of_difficulty": "easy", "question": "1+1?",
        "reference": {"number": 2},
    }  # fmt: skip
    path = folder / "own.jsonl"
    path.write_text(json.dumps(row), encoding="utf-8")
    return str(path)


def test_questions_of_ones_own_are_asked(tmp_path: Path) -> None:
    work = {
        "kinds": {"chat": 1}, "questions": own_questions(tmp_path), "languages": {"en": 1}, "difficulty": {"easy": 1},
    }  # fmt: skip
    (turn,) = asked(Crowd(plan_of(work), {}), 1)
    assert turn.question == "q"
    assert turn.is_right is not None
    assert turn.is_right("Answer: 2")


def test_a_file_without_a_question_that_is_to_be_drawn_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"own\.jsonl hold none that is zh and easy"):
        Crowd(plan_of({"kinds": {"chat": 1}, "questions": own_questions(tmp_path)}), {})


TRACE: dict[str, object] = {"name": "t", "seconds": 60, "arrivals": {"kind": "trace", "path": "t.csv"}}


@pytest.mark.parametrize(
    ("workload", "stage", "told"),
    [
        ({"kinds": {"stream": 0}}, None, r"workload\.kinds has no share above 0"),
        ({"kinds": {}}, None, r"workload\.kinds has no share above 0"),
        ({"difficulty": {"easy": 0}}, None, r"workload\.languages or workload\.difficulty has no share"),
        ({"tenants": [{"name": "tax", "levels": {"red": 0}}]}, None, "'tax' has no level"),
        ({"tenants": [{"name": "tax"}, {"name": "tax"}]}, None, "'tax' twice"),
        ({"lengths": {"prompt_tokens": 9}}, None, "chat and stream only, not agent and conversation"),
        ({"lengths": {}, "kinds": {"chat": 1}}, None, r"lengths\.prompt_tokens is needed: stage 'a'"),
        ({"in_order": True}, None, "asks each question once, so workload.kinds"),
        (
            {"in_order": True, "kinds": {"chat": 1}, "lengths": {"prompt_tokens": 9}},
            None,
            r"and workload\.lengths makes up prompts",
        ),
        ({"in_order": True, "kinds": {"chat": 1}}, TRACE, "the trace of stage 't' makes up prompts"),
        ({"kinds": {"agent": 1}}, TRACE, "stage 't' replays a trace"),
        ({"think_s": [3, 1]}, None, "think_s is from and to"),
    ],
)
def test_a_plan_that_cannot_be_asked_is_refused_with_what_to_mend(
    workload: Mapping[str, object], stage: Mapping[str, object] | None, told: str
) -> None:
    with pytest.raises(UserError, match=told):
        Crowd(plan_of(workload, stage=stage), {})
