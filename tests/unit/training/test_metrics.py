"""Values worked out by hand."""

import random

import pytest

from training.metrics import (
    common_subsequence,
    exact_match,
    folded,
    json_object,
    rouge_l,
    same_json,
    token_f1,
    token_spans,
    tokens_of,
)


@pytest.mark.parametrize(
    ("answer", "reference"),
    [
        ("市公安局", " 市公安局\n"),
        ("身份证 原件", "身份证原件"),
        ("使用 APP 办理", "使用app办理"),
        ("Hello,  World", "hello, world"),
        ("１２３４５", "12345"),
        ("带身份证，户口簿", "带身份证,户口簿"),  # NFKC makes the comma narrow
    ],
)
def test_an_exact_match_overlooks_width_case_and_idle_spaces(answer: str, reference: str) -> None:
    assert exact_match(answer, reference) == 1


@pytest.mark.parametrize(
    ("answer", "reference"), [("市公安局", "市公安局。"), ("a b", "ab"), ("1 000", "1000"), ("", "x"), ("3.5", "35")]
)
def test_an_exact_match_overlooks_nothing_else(answer: str, reference: str) -> None:
    assert exact_match(answer, reference) == 0


def test_chinese_is_counted_by_characters_latin_by_words_and_numbers_whole() -> None:
    assert tokens_of("带ID卡,去12345窗口, at 9:30!") == ["带", "id", "卡", "去", "12345", "窗", "口", "at", "9:30"]
    assert tokens_of("ひらがな naïve") == ["ひ", "ら", "が", "な", "naïve"]
    assert tokens_of("。!?") == []


def test_f1_is_worked_out_over_tokens_in_common() -> None:
    # 4 of 4 said are wanted, 4 of 6 wanted are said: 2 * 1 * (2/3) / (5/3)
    assert token_f1("带身份证", "请带身份证件") == pytest.approx(0.8)
    # Twice said counts once where it is wanted once.
    assert token_f1("the the", "the cat") == pytest.approx(0.5)
    assert token_f1("", "x") == 0
    assert token_f1("。", "!") == 1


def test_rouge_l_wants_the_same_order() -> None:
    # Longest common subsequence of abcd and acbd is 3 (a, b or c, d).
    assert rouge_l("a b c d", "a c b d") == pytest.approx(0.75)
    assert token_f1("a b c d", "a c b d") == 1
    assert rouge_l("办理居住证", "居住证办理") == pytest.approx(0.6)
    assert rouge_l("", "x") == 0


def test_the_bit_vectors_find_the_same_length_as_the_table() -> None:
    chance = random.Random(1)
    for _ in range(200):
        first = [chance.choice("abcd") for _ in range(chance.randrange(90))]
        second = [chance.choice("abcde") for _ in range(chance.randrange(90))]
        assert common_subsequence(first, second) == _by_table(first, second)


def _by_table(first: list[str], second: list[str]) -> int:
    above = [0] * (len(second) + 1)
    for one in first:
        row = [0]
        for place, other in enumerate(second):
            row.append(above[place] + 1 if one == other else max(above[place + 1], row[place]))
        above = row
    return above[-1]


def test_tokens_know_where_they_stand_in_the_text_itself() -> None:
    text = "去ＡＢＣ 窗口"
    assert [(token, text[begin:end]) for token, begin, end in token_spans(text)] == [
        ("去", "去"), ("abc", "ＡＢＣ"), ("窗", "窗"), ("口", "口"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "text",
    ["", "好的", "[1]", "3", '{"a": NaN}', '{"a": 1, "a": 2}', '```json\n{"a": 1}\n```', '{"a": 1} 好', "[" * 100_000],
)
def test_only_a_whole_json_object_is_one(text: str) -> None:
    assert json_object(text) is None


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        ({"a": 1, "b": "Ｘ"}, {"b": "x ", "a": 1.0}, True),
        ({"a": [1, {"b": None}]}, {"a": [1, {"b": None}]}, True),
        ({"a": [1, 2]}, {"a": [2, 1]}, False),
        ({"a": True}, {"a": 1}, False),
        ({"a": 1}, {"a": "1"}, False),
        ({"a": None}, {}, False),
        ({"a": False}, {"a": None}, False),
    ],
)
def test_json_is_compared_by_what_it_says(one: object, other: object, is_same: bool) -> None:
    assert same_json(one, other) is is_same
    assert same_json(other, one) is is_same


def test_folding_keeps_spaces_between_words() -> None:
    assert folded(" Big  CITY ") == "big city"
