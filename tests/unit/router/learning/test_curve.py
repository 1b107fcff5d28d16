"""PGR curves against figures worked out by hand."""

import numpy as np
import pytest

from cluster.errors import UserError
from router.learning.curve import curve_of, rating_of, rating_with_interval

GENERATOR = np.random.default_rng(3)
ROWS = 1000
NEEDED = GENERATOR.permutation(np.arange(ROWS) < 500)
SMALL = np.where(NEEDED, 0.0, 1.0)
LARGE = np.ones(ROWS)


def test_a_ranking_that_knows_everything_has_recovered_all_when_half_are_sent() -> None:
    rating = rating_of(NEEDED + GENERATOR.random(ROWS) / 2, SMALL, LARGE)
    assert rating.apgr == pytest.approx(0.75)
    assert rating.cpt50 == pytest.approx(0.25)
    assert rating.cpt80 == pytest.approx(0.40)


def test_chance_recovers_half_and_the_worst_ranking_a_quarter() -> None:
    draws = [rating_of(GENERATOR.random(ROWS), SMALL, LARGE).apgr for _ in range(50)]
    assert np.mean(draws) == pytest.approx(0.5, abs=0.01)
    assert rating_of(GENERATOR.random(ROWS) / 2 - NEEDED, SMALL, LARGE).apgr == pytest.approx(0.25)


def test_where_the_small_model_is_better_on_some_it_passes_one() -> None:
    small = np.repeat([1.0, 0.0], [400, 600])
    large = 1 - small
    assert rating_of(large + GENERATOR.random(1000) / 2, small, large).apgr > 1


def test_a_scores_scale_does_not_matter() -> None:
    score = GENERATOR.random(ROWS) + NEEDED / 2
    assert rating_of(score, SMALL, LARGE) == rating_of(np.exp(7 * score), SMALL, LARGE)


def test_equal_scores_are_sent_together() -> None:
    shares, recovered = curve_of(np.repeat([0.0, 1.0], 500), SMALL, LARGE)
    assert sorted(set(shares.tolist())) == [0, 0.5, 1]
    assert recovered[-1] == pytest.approx(1)


def test_without_a_gap_there_is_nothing_to_recover() -> None:
    with pytest.raises(UserError, match="equally well"):
        curve_of(GENERATOR.random(ROWS), SMALL, SMALL)


def test_the_interval_holds_the_figure_and_narrows_with_more_rows() -> None:
    score = GENERATOR.random(ROWS) + NEEDED / 3
    wide = rating_with_interval(score[:200], SMALL[:200], LARGE[:200], draws=200)
    narrow = rating_with_interval(score, SMALL, LARGE, draws=200)
    assert narrow.ci_low < narrow.apgr < narrow.ci_high
    assert narrow.ci_high - narrow.ci_low < wide.ci_high - wide.ci_low
    assert narrow == rating_with_interval(score, SMALL, LARGE, draws=200)
