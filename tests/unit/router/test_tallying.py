"""What is counted for the watch over drift."""

import json

import numpy as np
import pytest

from cluster.outcomes import LENGTH_BINS, NGRAM_BINS
from router.outcome import Finding, Findings
from router.outcome_record import Asked, Record
from router.tallying import MAX_CHARS, Tallies, bin_of, pairs_in
from tests.fakes.drawing import to_canary


def finding(question: str, answer: str = "Paris", model: str = "small", *, has_split: bool = False) -> Finding:
    raw = json.dumps({"messages": [{"role": "user", "content": question}]}).encode()
    body = json.dumps(
        {
            "choices": [{"message": {"content": answer}, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 1, "completion_tokens": len(answer)},
        }
    ).encode()
    asked = Asked(model, "chat", False, raw, len(raw))
    drawn = to_canary() if has_split else None
    return Findings({}).of(Record(asked, drawn, model, True, False, 1.0, 2.0, 3.0, 200, "", (body,)))


@pytest.mark.parametrize(
    ("length", "number"),
    [(0, 0), (1, 1), (2, 2), (3, 2), (4, 3), (2**14 - 1, 14), (2**14, 15), (2**15, 15), (10**9, 15)],
)
def test_lengths_fall_into_powers_of_two(length: int, number: int) -> None:
    assert bin_of(length) == number
    assert number < LENGTH_BINS


def test_each_version_of_each_name_has_a_window_of_its_own() -> None:
    tallies = Tallies()
    for one in (finding("hello"), finding("hello"), finding("hello", model="large"), finding("hi", has_split=True)):
        tallies.add(one)
    counted = tallies.flush()
    assert [(tally.name, tally.version, tally.requests) for tally in counted] == [
        ("large", 0, 1),
        ("small", 0, 2),
        ("small", 2, 1),
    ]
    assert tallies.flush() == ()


def test_a_window_says_how_long_in_which_language_and_how_good() -> None:
    tallies = Tallies()
    tallies.add(finding("What is the capital of France?", "Paris"))
    tallies.add(finding("法国的首都是哪里", ""))
    tallies.add(finding("12 + 3", "I'm sorry, but I can't help with that."))
    (tally,) = tallies.flush()
    assert tally.languages == (("en", 1), ("none", 1), ("zh", 1))
    assert [place for place, count in enumerate(tally.input_lengths) if count] == [3, 4, 5]
    assert [place for place, count in enumerate(tally.output_lengths) if count] == [0, 3, 6]
    assert tally.faults == 2
    assert tally.requests == sum(tally.input_lengths) == sum(tally.output_lengths) == 3
    assert sum(tally.ngrams) == 29 + 7 + 5


def test_pairs_of_the_same_letters_fall_into_the_same_bins_for_ever() -> None:
    # A reference window of last year is worth nothing if these numbers change.
    assert np.flatnonzero(pairs_in("abcd")).tolist() == [6, 19, 47]
    assert np.flatnonzero(pairs_in("身份证")).tolist() == [21, 57]
    assert pairs_in("ABCD").tolist() == pairs_in("abcd").tolist()
    assert pairs_in("").sum() == pairs_in("a").sum() == 0


def test_pairs_spread_over_all_bins() -> None:
    letters = "abcdefghijklmnopqrstuvwxyz"
    counts = pairs_in("".join(one + two for one in letters for two in letters))
    assert counts.size == NGRAM_BINS
    assert counts.min() > 0
    assert counts.max() < 5 * counts.mean()
    han = "".join(chr(0x4E00 + 7 * step) for step in range(2000))
    assert (pairs_in(han) > 0).sum() > NGRAM_BINS / 2


def test_a_long_document_weighs_no_more_than_its_beginning() -> None:
    tallies = Tallies()
    tallies.add(finding("x" * 50_000))
    (tally,) = tallies.flush()
    assert sum(tally.ngrams) == MAX_CHARS - 1


def test_odd_characters_are_counted_like_others() -> None:
    assert pairs_in("a\ud800b").sum() == 2
    assert pairs_in("😀😀😀").sum() == 2


def test_what_people_say_is_told_with_the_next_requests_of_that_version() -> None:
    tallies = Tallies()
    for rating in (1, 5, 5):
        tallies.rated("small", 0, rating)
    tallies.rated("small", 7, 3)
    assert tallies.flush() == ()
    tallies.add(finding("hello"))
    (tally,) = tallies.flush()
    assert (tally.version, tally.requests, tally.ratings) == (0, 1, (1, 0, 0, 0, 2))
    tallies.add(finding("hello"))
    assert [tally.ratings for tally in tallies.flush()] == [()]
