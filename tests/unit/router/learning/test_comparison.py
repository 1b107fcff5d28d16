"""How answers are held against a reference and against each other."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.learning.comparison import agreement, is_right


@pytest.mark.parametrize(
    ("answer", "reference"),
    [
        ("Paris.", "paris"),
        ("The capital is **Paris**, on the Seine.", "Paris"),
        ("法国的首都是巴黎。", "巴黎"),
        ("The answer is **B**.", "B"),
        ("答案是Ｂ，因为……", "B"),
        ("B. Paris", "B"),
        ("选项：ACD", "ACD"),
        ("故选 D", "D"),
        ("I think (C) is right, nothing else.", "C"),
        (r"so \boxed{\text{C}}", "C"),
        ("A,C", "AC"),
        ("5 + 7 = 12", "12"),
        ("We get 3, then 4.\n#### 1,234", "1234"),
        ("The answer is 5 + 7 = 12. Check: 13 - 1.", "12"),
        ("结果为１２。", "12"),
        ("一共25元", "25"),
        ("It is 50%.", "0.5"),
        ("3/4 of them", "0.75"),
    ],
)
def test_a_right_answer_is_known_by_its_reference(answer: str, reference: str) -> None:
    assert is_right(answer, reference)


@pytest.mark.parametrize(
    ("answer", "reference"),
    [
        ("", "Paris"),
        ("Paris", ""),
        ("London", "Paris"),
        ("A Parisian", "Paris"),
        ("A dog barks, B or C", "A"),
        ("The answer is C.", "B"),
        ("AC", "ACD"),
        ("The answer is 13", "12"),
        ("12 and then 14", "12"),
        ("112", "12"),
        ("上海", "北京"),
    ],
)
def test_a_wrong_answer_is_known_by_its_reference(answer: str, reference: str) -> None:
    assert not is_right(answer, reference)


@pytest.mark.parametrize(
    ("one", "other", "value"),
    [
        ("Paris.", " paris", 1),
        ("**巴黎**", "巴黎。", 1),
        ("42", "it is 42", 1),
        ("42 apples", "43 apples", 0),
        ("Each has 4 and 5, so the answer is 20.", "We multiply 2 by 10. The answer is 20", 1),
        ("Each has 4 and 5, so the answer is 20.", "We multiply 2 by 10. The answer is 21", 0),
        ("B. Paris", "b) it is Paris, because", 1),
        ("答案：B", "答案是C", 0),
        ("Yes, you can.", "No, you cannot.", 0),
        ("可以办理", "不可以", 0),
        ("", "anything", 0),
        ("red", "blue", 0),
    ],
)
def test_answers_agree_or_not(one: str, other: str, value: float) -> None:
    assert agreement(one, other) == agreement(other, one) == value


@pytest.mark.parametrize(
    ("answer", "near", "far"),
    [
        (
            "To renew the permit bring your card and a photo to the counter.",
            "Bring a photo and your card to the counter and renew the permit there.",
            "The weather in spring is mild, with some rain in the north.",
        ),
        (
            "办理居住证需要身份证、照片和租房合同，到派出所申请。",
            "请带身份证、租房合同和照片，到派出所办理居住证。",
            "春天天气温和，北方有时下雨。",
        ),
    ],
)
def test_longer_answers_are_ranked_by_what_they_share(answer: str, near: str, far: str) -> None:
    assert 0.4 < agreement(answer, near) < 1
    assert agreement(answer, far) < 0.2


@given(st.text(), st.text())
def test_agreement_is_a_share_and_the_same_both_ways(one: str, other: str) -> None:
    value = agreement(one, other)
    assert 0 <= value <= 1
    assert value == agreement(other, one)


@given(st.text())
def test_an_answer_agrees_with_itself_unless_it_says_nothing(text: str) -> None:
    assert agreement(text, text) in (1.0, 0.0)
    assert agreement(f"word {text}", f"word {text}") == 1.0


@given(st.text(), st.text())
def test_nothing_that_a_model_says_is_an_error(answer: str, reference: str) -> None:
    is_right(answer, reference)


def test_a_text_without_end_is_not_looked_at_to_its_end() -> None:
    assert agreement("好" * 1_000_000, "好" * 1_000_000) == 1.0
    assert agreement("answer is " * 100_000, "因为" * 100_000) == 0.0
