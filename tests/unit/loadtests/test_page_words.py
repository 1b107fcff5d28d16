"""Figures as people read them."""

import pytest

from loadtests.page.words import clock, duration, error_words, moment, number, percent, rate
from loadtests.records.sample import ERRORS


@pytest.mark.parametrize(
    ("value_s", "words"),
    [(None, "–"), (0.00042, "0.42 ms"), (0.0834, "83.4 ms"), (0.9999, "1.00 s"), (1.5, "1.50 s"), (123.4, "123 s")],
)
def test_durations_have_three_digits_and_a_unit(value_s: float | None, words: str) -> None:
    assert duration(value_s) == words


@pytest.mark.parametrize(
    ("ratio", "words"),
    [(0, "0 %"), (0.0001, "<0.1 %"), (0.5, "50.0 %"), (0.99999, "99.9 %"), (1, "100 %"), (None, "–")],
)
def test_a_share_is_only_all_or_nothing_if_it_is(ratio: float | None, words: str) -> None:
    assert percent(ratio) == words


def test_every_kind_of_error_has_a_meaning_in_both_languages() -> None:
    for kind in (*ERRORS, "http_503", "http_418"):
        assert all(error_words(kind)), kind
    assert error_words("http_418")[1] == "the server answered with status 418"


def test_other_figures() -> None:
    assert number(1234.5) == "1,234"
    assert rate(12.34) == "12.3/s"
    assert clock(90) == "90 s"
    assert clock(3000) == "50 min"
    assert clock(7200) == "2.0 h"
    assert moment(0) == "1970-01-01 00:00:00 UTC"
