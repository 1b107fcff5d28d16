"""Our questions are balanced and well formed, and answers are marked as a fair teacher would."""

import json
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.errors import UserError
from loadtests.questions import (
    ContainsAny,
    Number,
    OneChoice,
    Question,
    Reference,
    choice_in,
    is_right,
    load,
    number_in,
)

GOOD = {
    "id": "one-en",
    "language": "en",
    "kind": "look-up",
    "level_of_difficulty": "easy",
    "question": "How many?",
    "reference": {"number": 1},
}


def asked(reference: Reference) -> Question:
    return Question("x-en", "en", "any", "easy", "?", reference)


def test_levels_and_languages_are_balanced_and_every_question_has_its_counterpart() -> None:
    questions = load()
    assert len(questions) >= 48
    cells = Counter((question.language, question.level_of_difficulty) for question in questions)
    assert len(cells) == 4
    assert all(cells["en", level] == cells["zh", level] >= 16 for level in ("easy", "hard"))
    level = {question.id: question.level_of_difficulty for question in questions}
    assert all(level[name[:-2] + {"zh": "en", "en": "zh"}[name[-2:]]] == level[name] for name in level)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"level_of_difficulty": "medium"}, "easy or hard"),
        ({"question": ""}, "question must be a text"),
        ({"extra": 1}, "exactly the fields"),
        ({"reference": {"number": True}}, "reference must be"),
        ({"reference": {"number": 1, "choice": "A"}}, "reference must be"),
        ({"reference": {"contains_any": []}}, "reference must be"),
        ({"reference": {"choice": "Z"}}, "reference must be"),
    ],
)
def test_a_bad_line_is_named_with_its_number(tmp_path: Path, change: dict[str, object], complaint: str) -> None:
    path = tmp_path / "questions.jsonl"
    path.write_text(json.dumps(GOOD) + "\n" + json.dumps(GOOD | {"id": "two-en"} | change), encoding="utf-8")
    with pytest.raises(UserError, match=complaint) as caught:
        load(path)
    assert "questions.jsonl:2" in str(caught.value)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [("{", "1: not JSON"), ("", "no question"), (json.dumps(GOOD) + "\n" + json.dumps(GOOD), "stands there twice")],
)
def test_a_bad_file_is_explained(tmp_path: Path, content: str, complaint: str) -> None:
    path = tmp_path / "questions.jsonl"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(UserError, match=complaint):
        load(path)


def test_a_missing_file_is_the_callers_fault(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot read"):
        load(tmp_path / "none.jsonl")


@pytest.mark.parametrize(
    ("answer", "number"),
    [
        ("42", 42),
        ("15 x 3 = 45, 10 x 4.5 = 45, 6 x 7 = 42. In all 132 yuan.", 132),
        ("Answer: 132 yuan, for 31 tonnes", 132),
        ("**Answer: 1,600**", 1600),
        ("答案：１６００元", 1600),
        ("答案是 45+45+42=132 元。", 132),
        ("Answer: -5", -5),
        ("from 3-5", 5),
        ("共计1.6万元", 16000),
        ("first 12, then 34.", 34),
        ("USD1,234,567.50", 1234567.5),
        ("Answer: 7\n(31 tonnes)", 7),
        ("I do not know the answer", None),
        ("Answer: see above, 12", 12),
        ("", None),
    ],
)
def test_the_number_an_answer_ends_on_is_found(answer: str, number: float | None) -> None:
    assert number_in(answer) == number


@pytest.mark.parametrize(
    ("answer", "letter"),
    [
        ("B", "B"),
        ("B. Bob", "B"),
        ("(C)", "C"),
        ("Answer: B", "B"),
        ("**Answer:** B", "B"),
        ("The answer is (D).", "D"),
        ("answer: b", "B"),
        ("答案：B", "B"),
        ("答案是Ｂ。", "B"),
        ("应选B，不选A。答案：B", "B"),
        ("A resident must be 60. Li is not. Answer: B. No", "B"),
        ("A resident may not draw it, so B.", "B"),
        ("The answer is a number", None),
        ("If Ann lies, then ... hence B", "B"),
        ("no idea", None),
        ("", None),
    ],
)
def test_the_letter_an_answer_chooses_is_found(answer: str, letter: str | None) -> None:
    assert choice_in(answer) == letter


@pytest.mark.parametrize(
    ("reference", "answer", "right"),
    [
        (ContainsAny(("Beijing", "北京")), "It is BEIJING.", True),
        (ContainsAny(("Beijing", "北京")), "首都是北京市", True),
        (ContainsAny(("Beijing",)), "Nanjing", False),
        (ContainsAny(("hot",)), "shot", False),
        (ContainsAny(("0",)), "100 degrees", False),
        (ContainsAny(("0",)), "0 degrees", True),
        (ContainsAny(("0",)), "0.5", False),
        (ContainsAny(("7:00",)), "at 17:00", False),
        (ContainsAny(("4月18",)), "最迟4月18日", True),
        (Number(132), "132.0 yuan", True),
        (Number(132), "about 131", False),
        (OneChoice("B"), "B", True),
        (OneChoice("B"), "A", False),
    ],
)
def test_answers_are_marked(reference: Reference, answer: str, right: bool) -> None:
    assert is_right(asked(reference), answer) is right


@given(st.text())
def test_no_answer_whatever_stops_the_marking(answer: str) -> None:
    for reference in (ContainsAny(("x",)), Number(1), OneChoice("A")):
        assert is_right(asked(reference), answer) in (True, False)


@given(st.integers(-(10**9), 10**9))
def test_a_number_is_read_back_with_thousands_separators(number: int) -> None:
    assert number_in(f"so the result is {number:,}") == number
