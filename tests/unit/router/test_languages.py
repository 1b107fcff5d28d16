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


@given(st.text())
def test_any_text_gets_known_codes_and_width_does_not_matter(text: str) -> None:
    found = languages_of(text)
    assert found <= {"zh", "ja", "ko", "en", "ru", "ar", "th", "el", "he", "hi"}
    assert languages_of(text + "Ａ") == languages_of(text + "A")
