"""Wording that does not change the question hardly ever changes the shipped judge's choice."""

import pytest

from router.estimate import Estimate
from router.learning.own_rows import own_rows
from router.learning.rewording import MECHANICAL, PARAPHRASE, Flips, all_of, flips_of, wordings
from router.query import Query
from tests.fakes.judges import shipped

FLIPS = flips_of(shipped())


@pytest.mark.parametrize("name", [*MECHANICAL, PARAPHRASE])
def test_fewer_than_eight_in_a_hundred_flip(name: str) -> None:
    assert FLIPS[name].cases >= 40
    assert FLIPS[name].ratio < 0.08


def test_all_together_stay_below_as_well() -> None:
    assert all_of(FLIPS).ratio < 0.08
    assert all_of({"a": Flips(1, 10), "b": Flips(0, 30)}).ratio == pytest.approx(1 / 40)


def test_both_sides_and_both_languages_are_asked() -> None:
    hard = [shipped().estimate(Query(one.question)).difficulty >= 0.5 for one in wordings()]
    assert len(hard) >= 120
    assert 0.3 < sum(hard) / len(hard) < 0.7
    assert 0.4 < sum(one.language == "zh" for one in wordings()) / len(wordings()) < 0.6
    assert all(len(set(one.paraphrases) - {one.question}) >= 2 for one in wordings())


def test_a_judge_that_is_moved_by_wording_is_found_out() -> None:
    class Moved:
        """Finds every question with a capital hard."""

        def estimate(self, query: Query) -> Estimate:
            return Estimate(0, 0, float(query.text.upper() == query.text), "code", "")

    flips = flips_of(Moved())  # type: ignore[arg-type]
    assert flips["capitals"].ratio > 0.9
    assert flips["courtesy before"].cases == len(wordings())


def test_no_question_is_among_those_that_are_trained_on() -> None:
    assert not {one.question for one in wordings()} & set(own_rows().prompts)
