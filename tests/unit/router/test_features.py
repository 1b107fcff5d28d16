"""What is folded before a question is judged, and what is counted of it."""

import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.features import normalised, points_of
from router.scan_tables import FEATURES
from router.signs import SignReader

HAN = "[\u2e80-\uffff]"
ALPHABETS = st.sampled_from(
    ["a 你\t好 \t", "你好 aB，。\u3000Ａ１①", "αΣσ İı你ǅ\u00a0 \t", "“a” …é—你\u200b😀 𠮷", "ab, \t"]
)


def features_of(text: str) -> dict[str, float]:
    row = SignReader().read(points_of(normalised(text)), len(text))
    return {name: amount for name, amount in zip(FEATURES, row.tolist(), strict=False) if amount}


def slowly_folded(text: str) -> str:
    """The rules of folding, one after the other and without short cuts."""
    for wide, narrow in zip("，：；？！（）", ",:;?!()", strict=True):
        text = text.replace(wide, narrow)
    wide_ones = "[\u00a0\u2000-\u200d\u202f\u205f\u2460-\u24ff\u3000\ufb00-\ufb06\ufeff\uff00-\uffef]+"
    text = re.sub(wide_ones, lambda run: unicodedata.normalize("NFKC", run[0]), text)
    if " " in text:
        text = re.sub(f"[ \t]+(?={HAN})|(?<={HAN})[ \t]+", "", text)
    return text.lower()


@given(ALPHABETS.flatmap(lambda letters: st.text(letters, max_size=30)) | st.text())
def test_folding_takes_no_short_cut_that_shows(text: str) -> None:
    # Between two words that nothing strips.
    assert normalised(f"题{text}题") == slowly_folded(f"题{text}题")
    assert normalised(f"x{text}x") == slowly_folded(f"x{text}x")


def test_no_character_keeps_its_width_or_its_capital() -> None:
    # Beyond these there is neither width nor case.
    changing = [
        letter
        for letter in map(chr, range(0x1F000))
        if letter.lower() != letter or unicodedata.east_asian_width(letter) in "FH"
    ]
    assert len(changing) > 1400
    for letter in changing:
        assert normalised(f"题{letter}题") == slowly_folded(f"题{letter}题"), letter


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("x\n- tea\n- milk\n• salt", {"items"}),
        ("x\n1. tea\n2) milk\n(3) salt", {"items", "numbers", "clauses"}),
        ("x\nA. tea\nB) milk\n(C) salt", {"choice"}),
        ("x\nA. tea\nB) milk", {"clauses"}),
        ("x\n1. tea\nA. milk\nB) salt\nC: sugar", {"choice", "items", "numbers", "clauses"}),
        ("1 + 1 = 2", {"numbers", "symbols"}),
        ("```x```", {"fence"}),
        ("真的吗？", {"closed", "yes_no", "clauses"}),
        ("is x y", {"closed"}),
        ("x? y? z?", {"questions", "clauses"}),
        ("", {"empty"}),
    ],
)
def test_shapes_are_seen(text: str, found: set[str]) -> None:
    assert features_of(text).keys() - {"length"} == found


def test_what_is_absent_is_left_out() -> None:
    bare = "word " * 14
    assert features_of(bare) == {}


def test_the_stem_of_a_multiple_choice_ends_before_its_first_option() -> None:
    options = "\nA. why, why\nB. prove it!\nC. compare?"
    assert features_of("a stem" + options).keys() == {"choice", "length"}
    assert "proof" in features_of("prove it" + options)
