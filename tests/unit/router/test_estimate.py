"""The estimate: chances that fit together, reasons for a person, and no change where the question is the same."""

import threading
from itertools import product

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from loadtests.questions import load
from router.estimate import Estimate, Judge
from router.features import normalised
from router.judge_file import LARGEST
from router.judge_scan import FAR
from router.learning.heads import read_texts
from router.query import Query
from router.scale import Scale
from router.tasks import TASKS
from tests.fakes.judges import weights

JUDGE = Judge(weights())
QUESTION = "房屋租赁合同被认定无效以后，押金应当怎样返还？请说明理由。"


@given(st.text(max_size=400))
def test_any_text_has_an_estimate(text: str) -> None:
    estimate = JUDGE.estimate(Query(text))
    assert 0 <= estimate.difficulty <= 1
    assert all(0 <= estimate.chance(ability) <= 1 for ability in (-1.0, 0.0, 0.5, 1.0, 2.0))
    assert estimate.task in TASKS
    assert estimate.reason.startswith(f"{estimate.task}; ")
    assert len(estimate.reason) < 80
    assert estimate.reason.isascii()
    assert estimate.reason.isprintable()


@given(st.lists(st.text(max_size=100), min_size=1, max_size=5))
def test_earlier_questions_leave_no_trace(texts: list[str]) -> None:
    for text in texts:
        JUDGE.estimate(Query(text))
    assert JUDGE.estimate(Query(QUESTION)) == Judge(weights()).estimate(Query(QUESTION))


@pytest.mark.parametrize(
    "same",
    [
        "  房屋租赁合同被认定无效以后 ，押金应当怎样返还？ 请说明理由。  ",
        "您好，请问房屋租赁合同被认定无效以后，押金应当怎样返还？请说明理由。谢谢！",
        "房屋租赁合同被认定无效以后,押金应当怎样返还?请说明理由。",
    ],
)
def test_spaces_width_and_courtesies_change_nothing(same: str) -> None:
    assert abs(JUDGE.estimate(Query(same)).difficulty - JUDGE.estimate(Query(QUESTION)).difficulty) < 0.02


def test_a_models_place_between_the_two_decides_its_chance() -> None:
    estimate = Estimate(-1.0, 2.0, Scale().difficulty(-1.0, 2.0), "code", "")
    assert estimate.chance(0) < estimate.chance(0.3) < estimate.chance(1) < estimate.chance(1.3)
    assert estimate.difficulty == estimate.difficulty_for(0) > estimate.difficulty_for(0.3) > estimate.difficulty_for(1)


def test_a_question_that_the_small_model_fails_and_the_large_one_answers_is_the_most_difficult() -> None:
    scale = Scale(strong_trust_ratio=0.5)
    assert scale.difficulty(-3, 3) > scale.difficulty(-3, -3) > scale.difficulty(3, 3)


@given(st.floats(0.01, 0.99), st.floats(-8, 8), st.floats(-8, 8), st.floats(0, 1))
def test_the_border_becomes_a_half_and_the_order_stays(border: float, small: float, large: float, trust: float) -> None:
    raw = Scale(trust).difficulty(small, large)
    at_border = Scale(trust, raw).difficulty(small, large)
    assert at_border == pytest.approx(0.5)
    shifted = Scale(trust, border).difficulty(small, large)
    assert shifted == pytest.approx(raw * (1 - border) / (raw * (1 - border) + (1 - raw) * border))
    assert (shifted >= 0.5) == (raw >= border) or raw == pytest.approx(border)


def test_even_the_surest_chances_have_a_difficulty() -> None:
    for small, large in product((-1e9, 0.0, 1e9), repeat=2):
        assert 0 <= Scale(1.0, 0.9).difficulty(small, large) <= 1


def test_tools_and_a_long_conversation_take_from_the_small_model() -> None:
    alone = JUDGE.estimate(Query(QUESTION))
    surrounded = JUDGE.estimate(Query(QUESTION, context_chars=20_000, turns=4, has_tools=True))
    assert surrounded.small_log_odds < surrounded.large_log_odds - (alone.large_log_odds - alone.small_log_odds)
    assert surrounded.difficulty > alone.difficulty


@given(st.text(max_size=400) | st.sampled_from([question.question for question in load()]))
def test_the_estimate_is_what_was_trained(text: str) -> None:
    # Where nothing is left, nobody asks anything and nothing is weighed.
    assume(normalised(text))
    numbers = weights()
    texts = read_texts([text])
    seen = np.clip((texts.signs - numbers.sign_means) / numbers.sign_spreads, -FAR, FAR)
    worded = texts.ngrams @ (numbers.ngrams * (np.array(numbers.ngram_most) / LARGEST))
    small, large = (worded + seen @ numbers.signs + numbers.bias)[0]
    assert JUDGE.estimate(Query(text)).chances == pytest.approx((small, large), abs=1e-3)


@pytest.mark.parametrize("text", ["", " ", "你好！", "Thank you very much!"])
def test_a_greeting_is_for_anyone(text: str) -> None:
    estimate = JUDGE.estimate(Query(text))
    assert estimate.reason == "chat; greeting or no question"
    assert estimate.chance(0) > 0.95
    assert JUDGE.estimate(Query(text, context_chars=9000, turns=3)).difficulty > estimate.difficulty


@pytest.mark.parametrize(
    ("text", "task"),
    [
        ("市政府的地址和电话？", "look-up"),
        ("怎么办理居住证", "procedure"),
        ("How do I renew my driving licence?", "procedure"),
        ("写一篇关于春天的演讲稿", "drafting"),
        ("从以下文本中抽取所有人名", "extraction"),
        ("每吨3元，用水31吨，一共多少元？", "calculation"),
        ("Why does lowering interest rates raise house prices?", "reasoning"),
        ("Who were the three kings?", "look-up"),
        ("Write a Python function that reverses a list.", "code"),
        ("证明素数有无穷多个", "reasoning"),
        ("Compare both plans and justify your choice.", "reasoning"),
        ("你好！", "chat"),
    ],
)
def test_the_kind_of_task_is_named(text: str, task: str) -> None:
    assert JUDGE.estimate(Query(text)).task == task


def test_a_short_turn_is_judged_with_the_question_before_it() -> None:
    alone = JUDGE.estimate(Query(QUESTION, turns=2))
    assert JUDGE.estimate(Query("继续", turns=2, before=QUESTION)).difficulty == pytest.approx(
        alone.difficulty, abs=0.05
    )
    assert JUDGE.estimate(Query("继续", turns=2)).difficulty != pytest.approx(alone.difficulty, abs=0.05)
    assert JUDGE.estimate(Query("谢谢！", turns=2, before=QUESTION)) == JUDGE.estimate(Query("谢谢！", turns=2))


def test_a_long_text_is_judged_by_its_head_and_tail() -> None:
    head, tail = "总结下面的材料。" * 260, "上文的结论是什么？" * 260
    one = JUDGE.estimate(Query(head + "甲" * 9000 + tail))
    other = JUDGE.estimate(Query(head + "乙" * 9000 + tail))
    assert one.small_log_odds == pytest.approx(other.small_log_odds)


def test_reasons_name_words_and_signs_heaviest_first() -> None:
    reasons = JUDGE.reasons(Query(QUESTION))
    sizes = [abs(reason.log_odds) for reason in reasons]
    assert sizes == sorted(sizes, reverse=True)
    assert reasons
    assert JUDGE.reasons(Query("")) is not None


def test_a_judge_of_its_own_for_each_thread_gives_the_same_answers() -> None:
    wanted = JUDGE.estimate(Query(QUESTION))
    got: list[Estimate] = []

    def ask() -> None:
        judge = Judge(weights())
        got.extend(judge.estimate(Query(QUESTION)) for _ in range(50))

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    assert got == [wanted] * 150
