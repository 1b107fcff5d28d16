"""Our own questions: varied, of both kinds and languages, and none that a judge is measured on."""

import json
from collections import Counter

import numpy as np
import pytest

from loadtests.questions import load
from router.learning.labelled_rows import RowSet
from router.learning.own_rows import FILE, own_rows
from router.learning.public_rows import without
from router.learning.recipe import auc_of
from router.learning.rewording import wordings
from router.query import Query
from router.tasks import TASKS
from tests.fakes.judges import shipped
from tests.unit.router.test_shipped_judge import HELD_OUT, LONG_AND_EASY, SHORT_AND_HARD

HELD_BACK = {
    "load tests": [question.question for question in load()],
    "held out": [text for zh, en, _ in HELD_OUT for text in (zh, en)],
    "short and hard, long and easy": [*SHORT_AND_HARD, *LONG_AND_EASY],
    "rewordings": [text for one in wordings() for text in (one.question, *one.paraphrases)],
}


def pieces(text: str) -> set[str]:
    """Words of English, pairs of characters of Chinese."""
    letters = "".join(letter if letter.isalnum() else " " for letter in text.lower())
    if text.isascii():
        return set(letters.split())
    joined = letters.replace(" ", "")
    return {joined[place : place + 2] for place in range(len(joined) - 1)} or {joined}


def likeness(first: set[str], second: set[str]) -> float:
    return len(first & second) / max(1, len(first | second))


def test_there_are_enough_of_every_sort() -> None:
    rows = [json.loads(line) for line in FILE.read_text(encoding="utf-8").splitlines()]
    assert len(rows) >= 300
    assert min(Counter((row["language"], row["small"]) for row in rows).values()) >= 70
    assert 0.4 <= own_rows().small.mean() <= 0.6
    assert set(own_rows().kinds) == set(TASKS)
    assert min(Counter(own_rows().kinds).values()) >= 20
    assert (own_rows().large == 1).all()


def test_length_does_not_give_the_answer_away() -> None:
    chars = np.array([len(prompt) for prompt in own_rows().prompts], float)
    is_hard = own_rows().small < 0.5
    is_english = np.array([prompt.isascii() for prompt in own_rows().prompts])
    for language in (is_english, ~is_english):
        assert 0.4 < auc_of(chars[language], is_hard[language]) < 0.7


def test_no_question_stands_there_twice_or_with_swapped_nouns() -> None:
    own = [pieces(prompt) for prompt in own_rows().prompts]
    alike = [
        (own_rows().prompts[first], own_rows().prompts[second])
        for first in range(len(own))
        for second in range(first)
        if len(own[first]) > 5 and likeness(own[first], own[second]) > 0.6
    ]
    assert alike == []


@pytest.mark.parametrize("name", HELD_BACK)
def test_no_question_is_one_that_a_judge_is_measured_on(name: str) -> None:
    measured = HELD_BACK[name]
    assert len(
        without(own_rows(), [RowSet(name, measured, np.zeros((len(measured), 2)), [""] * len(measured))])
    ) == len(own_rows())
    others = [pieces(text) for text in measured]
    alike = [
        (prompt, text)
        for prompt in own_rows().prompts
        for text, other in zip(measured, others, strict=True)
        if likeness(pieces(prompt), other) > 0.6
    ]
    assert alike == []


def test_the_shipped_judge_ranks_everyday_questions_that_it_never_saw() -> None:
    judge = shipped()
    texts = [(text, hard) for zh, en, hard in HELD_OUT for text in (zh, en)]
    scores = [judge.estimate(Query(text)).difficulty for text, _ in texts]
    is_hard = np.array([hard for _, hard in texts])
    assert auc_of(np.array(scores), is_hard) >= 0.99
    assert ((np.array(scores) >= 0.5) == is_hard).mean() >= 0.9
