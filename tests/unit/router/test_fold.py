"""The compiled folding of a question: the same as Python's, or left to it."""

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.features import normalised
from router.fold import fold
from router.fold_tables import TABLES
from router.scan import WINDOW_CHARS

Points = np.ndarray[Any, np.dtype[np.uint32]]

QUESTIONS = Path(__file__).parents[3] / "loadtests" / "questions.jsonl"
COURTESIES = [
    "尊敬的", "工作人员", "工作人員", "您们好", "你們好", "你好", "早上好", "大家好", "打扰了", "打擾", "不好意思",
    "劳驾", "能不能", "可不可以", "可以", "能", "麻烦", "拜託", "您", "你", "我", "想", "请", "請", "问一下",
    "教一下", "问", "帮我", "幫忙", "非常", "十分", "谢谢", "謝謝", "多谢", "感谢", "了", "啦", "辛苦", "麻烦您了",
    "辛苦你了", "hello", "Hi", "hey", "dear ", "sir", "assistant", "good ", "evening", "sorry", "Excuse me", "please",
    "Please ", "kindly ", "could you ", "can", "will you ", "help me", "tell me", "me", "I", "i'd", " would",
    "would you mind", " like to ask", "know", "i have a question", "many ", "thanks", " a lot", " in advance",
    "thank you", " very much", " so much", "thank", "you", "mesh", "youth", "ＨＩ", "Ｔｈａｎｋｓ",
]  # fmt: skip
MARKS = [*" \t\n\r,.!:;?。、~，：；？！（）\u3000\u00a0\u2003\u2028\u200b\x0b\x1c“”…—_-'", "  ", " \t", "！！"]
LETTERS = [*"ab0AZ中题é１Ａａ①가ß"]
RARE = [*"𠮷ﬁΣİﾞｶ⑩￣😀𐐀Ꭰ\ud800"]


def points_of(text: str) -> Points:
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)


def compiled(text: str) -> str | None:
    out = np.empty(2 * WINDOW_CHARS + 1, np.uint32)
    size = fold(points_of(text), out, *TABLES)
    return None if size < 0 else out[:size].tobytes().decode("utf-32-le", "surrogatepass")


def assert_same(text: str) -> None:
    assert compiled(text) in (None, normalised(text)), text


@given(st.lists(st.sampled_from([*COURTESIES, *MARKS, *LETTERS, *RARE]) | st.characters(), max_size=16).map("".join))
def test_what_is_folded_is_folded_as_in_python(text: str) -> None:
    assert_same(text)
    assert_same(f"x{text}")


def test_no_mixture_of_courtesies_and_marks_is_cut_elsewhere_than_in_python() -> None:
    chance = random.Random(3)
    for _ in range(20_000):
        kinds = chance.choices((COURTESIES, MARKS, [" "], LETTERS), (6, 2, 2, 1), k=chance.randint(1, 14))
        text = "".join(chance.choice(kind) for kind in kinds)
        assert compiled(text) == normalised(text), text


def test_every_character_is_folded_as_in_python() -> None:
    left = 0
    for letter in map(chr, [*range(0x10000), *range(0x10000, 0x110000, 97)]):
        # A blank on one side, an edge of a word on the other.
        text = f"hi{letter} x题"
        folded = compiled(text)
        assert folded in (None, normalised(text)), text
        left += folded is None and letter < "\U00010000"
    assert left < 250


@pytest.mark.parametrize(
    ("text", "folded"),
    [
        ("", ""),
        ("您好，请问　ＡＢＣ１２３：怎么办？谢谢！", "abc123:怎么办?"),
        ("“甲” — ‘乙’…\u00a0丙 d e\u200b", "“甲” — ‘乙’…丙d e\u200b"),
        ("甲\t乙", "甲\t乙"),
        ("甲\t乙 丙", "甲乙丙"),
        ("办证，\t 要带什么 ，a b", "办证,要带什么,a b"),
        ("可不可以麻烦您帮我看看", "看看"),
        ("请您问一下", "问一下"),
        ("我想请问一下一下", "一下"),
        ("could you please help me mend it", "mend it"),
        ("Can you help mesh", "help mesh"),
        ("can you please", ""),
        ("hi你好", "hi你好"),
        ("thanksgiving", "thanksgiving"),
        ("what is thanksgiving, please", "what is thanksgiving"),
        ("where to, many thanks in advance. Thank you so much!", "where to"),
        ("where to, thank you in advance", "where to"),
        ("好吧，谢谢，", "好吧"),
        ("好吧、谢谢、。", "好吧、谢谢、。"),
        ("不要谢谢、", "不要谢谢、"),
        ("好吧、谢谢、感谢您了", "好吧、谢谢、感谢您了"),
        ("好吧、谢谢、感谢您", "好吧"),
        ("x" + "谢谢" * 40, "x" + "谢谢" * 10),
        ("一𠮷 😀 二", "一𠮷 😀二"),
        ("ⅣÉ", "ⅳé"),
    ],
)
def test_ordinary_text_is_not_left_to_python(text: str, folded: str) -> None:
    assert compiled(text) == normalised(text) == folded


@pytest.mark.parametrize("text", ["ﬁn", "⑩", "ΟΔΟΣ", "İ", "ｶﾞ", "ﾡￂ", "￣", "\U00010400", "hi😀"])
def test_what_takes_more_than_one_character_is_left_to_python(text: str) -> None:
    assert compiled(text) is None


def test_no_question_of_the_load_test_is_left_to_python() -> None:
    for line in QUESTIONS.read_text(encoding="utf-8").splitlines():
        question = json.loads(line)["question"]
        assert compiled(question) == normalised(question)


@pytest.mark.parametrize("more", [-1, 0, 1, 2, 3000])
@pytest.mark.parametrize("piece", ["请问，甲 乙 ", "Please, a B ", "（１） 丙\u00a0d谢谢 "])
def test_of_a_long_text_both_ends_are_folded(piece: str, more: int) -> None:
    text = (piece * WINDOW_CHARS)[: 2 * WINDOW_CHARS + more]
    assert compiled(text) == normalised(text)


def test_text_may_be_lent_or_owned() -> None:
    text, out = "你好，Ａ b？", np.empty(20, np.uint32)
    owned = np.zeros(20, np.uint32)
    owned[3 : 3 + len(text)] = points_of(text)
    assert fold(owned[3 : 3 + len(text)], out, *TABLES) == fold(points_of(text), out, *TABLES) == 4
    assert out[:4].tobytes().decode("utf-32-le") == "a b?"


def test_nothing_is_written_where_there_is_no_room() -> None:
    out = np.zeros(3, np.uint32)
    assert fold(points_of("abcd"), out, *TABLES) == -1
    assert not out.any()
