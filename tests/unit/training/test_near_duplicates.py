"""What is found fast is what comparing each with each finds."""

import random
from collections import Counter
from collections.abc import Sequence

from hypothesis import example, given, settings
from hypothesis import strategies as st

from training.near_duplicates import MIN_TEXTS_FOR_FORM, Near, near_duplicates, plain

# Few letters, so that much is alike.
TEXTS = st.lists(st.text("ab 电", max_size=12).map(plain), max_size=16)


def of(text: str) -> set[str]:
    padded = f"\0\0{text}\0\0"
    return {padded[at : at + 3] for at in range(len(padded) - 2)}


def each_with_each(train: Sequence[str], held_out: Sequence[str], threshold: float) -> tuple[Near | None, ...]:
    counts = Counter(one for text in held_out for one in of(text))
    form = {
        one for one, count in counts.items()
        if len(held_out) >= MIN_TEXTS_FOR_FORM and count > len(held_out) / 2
    }  # fmt: skip
    found: list[Near | None] = []
    for text in train:
        near = None
        for place, other in enumerate(held_out):
            here, there = of(text) - form, of(other) - form
            similarity = 1.0 if text == other else len(here & there) / len(here | there) if here | there else 0.0
            if similarity >= threshold - 1e-9 and (text == other or (here and there)):
                near = Near(place, similarity)
                break
        found.append(near)
    return tuple(found)


@settings(deadline=None)
@given(TEXTS, TEXTS, st.sampled_from([0.3, 0.5, 0.7, 0.8, 0.9, 1.0]))
@example(["ab"], [], 0.8)
# As far apart as the threshold allows, and all that only one of them has is rarer than what both have.
@example(["ab电电ab"], ["ab"], 0.5)
@example(["ab"], ["ab电电ab", "abb", "aab"], 0.5)
@example([""], [""], 0.8)
@example(["a" * 12], ["a" * 9] * 12, 0.8)
def test_it_finds_what_comparing_each_with_each_finds(train: list[str], held_out: list[str], threshold: float) -> None:
    assert near_duplicates(train, held_out, threshold) == each_with_each(train, held_out, threshold)


def test_long_texts_with_small_changes_are_found_as_well() -> None:
    draw = random.Random(1)
    held_out = ["".join(draw.choices("办理居住证需要哪些材料怎么去派出所", k=60)) for _ in range(40)]
    train = []
    for text in held_out:
        signs = list(text)
        for place in draw.sample(range(60), draw.randrange(5)):
            signs[place] = "的"
        train.append("".join(signs))
    found = near_duplicates(train, held_out)
    assert found == each_with_each(train, held_out, 0.8)
    assert 5 < sum(near is not None for near in found) < 40


def test_one_long_instruction_before_all_questions_makes_them_not_alike() -> None:
    form = "请判断下面这条诉求由哪个部门办理，只回答部门的名字，不要解释，不要写别的内容。诉求："
    asked = [
        "我们小区门口幸福路上的路灯坏了三天没人修",
        "楼上漏水漏到我家了",
        "医保卡丢了怎么补办",
        "孩子上学怎么报名",
        "工资三个月没发",
    ]
    held_out = [form + one for one in [*asked, *(f"{one}，请回复" for one in asked)]]
    assert len(held_out) >= MIN_TEXTS_FOR_FORM
    train = [form + "井盖不见了很危险", form + asked[0], form + asked[0] + "！"]
    first, second, third = near_duplicates(train, held_out)
    assert first is None
    assert second == Near(0, 1.0)
    assert third is not None
    assert third.held_out == 0


def test_width_case_and_space_make_no_difference() -> None:
    assert plain("  ＡＢＣ１２３\n你好　") == plain("abc123 你好")
