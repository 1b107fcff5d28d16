"""Scripts tell languages, and a name in Latin letters does not make a Chinese text English."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.languages import languages_of


@pytest.mark.parametrize(
    ("text", "languages"),
    [
        ("你好", {"zh"}),
        ("How do I say 你好?", {"zh"}),
        ("我的 iPhone 坏了", {"zh"}),
        ("约翰・史密斯是谁", {"zh"}),
        ("Hello", {"en"}),
        ("Où est la gare ?", {"en"}),
        ("Ｈｅｌｌｏ", {"en"}),
        ("駅はどこですか", {"ja"}),
        ("カタカナ", {"ja"}),
        ("ｶﾀｶﾅ API", {"ja"}),
        ("안녕하세요", {"ko"}),
        ("안녕 中國", {"ko", "zh"}),
        ("Привет", {"ru"}),
        ("Привет world", {"ru", "en"}),
        ("مرحبا", {"ar"}),
        ("สวัสดี", {"th"}),
        ("Καλημέρα", {"el"}),
        ("圆的面积是πr²吗", {"zh"}),
        ("שלום", {"he"}),
        ("नमस्ते", {"hi"}),
        ("𠮷野家", {"zh"}),
        ("", set()),
        ("12 + 30 = ?", set()),
        ("１２３，。！×÷ 🙂", set()),
    ],
)
def test_scripts_tell_the_languages(text: str, languages: set[str]) -> None:
    assert languages_of(text) == languages


def test_one_chinese_character_in_a_long_english_text_is_seen() -> None:
    assert languages_of("word " * 10_000 + "好" + " word" * 10_000) == {"zh"}


@pytest.mark.parametrize(
    ("code", "first", "last"),
    [
        ("ja", "ぁ", "ゖ"),
        ("ja", "ァ", "ヺ"),
        ("ja", "ㇰ", "ㇿ"),
        ("ja", "ｦ", "ﾝ"),
        ("ko", "가", "힣"),
        ("ko", "ㄱ", "ㆎ"),
        ("ru", "Ѐ", "ԯ"),
        ("ar", "ؠ", "ي"),
        ("th", "ก", "ะ"),
        ("el", "Ͱ", "Ͽ"),
        ("he", "א", "ת"),
        ("hi", "ऄ", "ह"),
    ],
)
def test_every_letter_of_a_script_is_seen_in_the_middle_of_a_chinese_text(code: str, first: str, last: str) -> None:
    for letter in map(chr, range(ord(first), ord(last) + 1)):
        # Three of them, for one or two Greek letters are a formula.
        assert languages_of(f"前面{letter * 3}后面") == ({"ja"} if code == "ja" else {code, "zh"}), letter


@given(st.lists(st.text() | st.text("ab 1，。你か가Жαβ…é", max_size=9), min_size=1, max_size=4))
def test_several_texts_are_read_as_one(texts: list[str]) -> None:
    assert languages_of(*texts) == languages_of("\n".join(texts))


@given(st.text())
def test_any_text_gets_known_codes_and_width_does_not_matter(text: str) -> None:
    found = languages_of(text)
    assert found <= {"zh", "ja", "ko", "en", "ru", "ar", "th", "el", "he", "hi"}
    assert languages_of(text + "Ａ") == languages_of(text + "A")
