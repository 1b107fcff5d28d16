"""What is unlike anything seen is told from what is merely new."""

import base64
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtests.questions import load
from router.characters import HASH, KIND
from router.estimate import Judge
from router.features import normalised, points_of
from router.query import Query
from router.seen import SEEN_BYTES, is_strange, seen_in
from tests.fakes.judges import shipped, weights

JUDGE = shipped()
STRANGE = (
    "Сколько стоит проезд в городском автобусе и где можно купить билет?",
    "كم عدد سكان المدينة وأين تقع المكتبة العامة؟",
    "ห้องสมุดประชาชนเปิดกี่โมงและอยู่ที่ไหน",
    "도서관은 몇 시에 문을 열고 회원증은 어떻게 만드나요?",
    "図書館は何時に開きますか。また、利用カードを作るにはどうすればよいですか？",
    base64.b64encode(random.Random(1).randbytes(90)).decode(),
    random.Random(2).randbytes(60).hex(),
)


def points(text: str) -> np.ndarray:
    return points_of(normalised(text))


@pytest.mark.parametrize("text", STRANGE)
def test_another_language_or_noise_goes_to_the_large_model(text: str) -> None:
    estimate = JUDGE.estimate(Query(text))
    assert estimate.reason.endswith("unlike anything the judge has seen")
    assert all(estimate.difficulty_for(ability) > 0.9 for ability in (0, 0.5, 0.9))


def test_everyday_questions_are_not_strange() -> None:
    strange = [one.question for one in load() if "unlike" in JUDGE.estimate(Query(one.question)).reason]
    assert strange == []


@pytest.mark.parametrize("text", ["Grüezi!", "qwertz", "囧", "😀😀😀", "0x7f"])
def test_a_few_strange_words_are_not_enough(text: str) -> None:
    assert "unlike" not in JUDGE.estimate(Query(text)).reason


@given(st.text(max_size=200))
def test_what_a_judge_was_trained_on_is_never_strange(text: str) -> None:
    # Besides it some thousand rows' worth of something else.
    noise = np.random.default_rng(0).integers(0x4E00, 0x9000, 60_000, np.uint32)
    seen = seen_in([noise, noise, points(text), points(text)])
    assert len(seen) == SEEN_BYTES
    assert not is_strange(points(text), HASH, KIND, seen, np.empty(len(points(text)), np.uint32))


def test_a_judge_of_few_rows_calls_nothing_strange() -> None:
    assert len(seen_in([points("What is the capital of France?")] * 2)) == 0
    estimate = Judge(weights()).estimate(Query(STRANGE[0]))
    assert "unlike" not in estimate.reason
