"""Evaluation: curve, cost and chances of a judge on rows, and their picture."""

import numpy as np
import pytest

from router.estimate import Judge
from router.learning.evaluation import Scores, evaluate, scores_of
from router.learning.labelled_rows import RowSet
from router.learning.plot import picture
from router.query import Query
from tests.fakes.judges import weights

GENERATOR = np.random.default_rng(1)
COUNT = 400
HARD = GENERATOR.random(COUNT) < 0.5
ROWS = RowSet("test", ["a question"] * COUNT, np.stack([1.0 - HARD, np.ones(COUNT)], 1), [""] * COUNT)
KNOWING = Scores(HARD * 0.5 + GENERATOR.random(COUNT) / 3, np.where(HARD, 0.1, 0.9), np.full(COUNT, 0.97))


def test_half_of_the_questions_recover_all_where_half_are_hard() -> None:
    found = evaluate(ROWS, KNOWING, price_ratio=0.1)
    middle = found.points[5]
    assert middle.large_share == pytest.approx(0.5)
    assert middle.recovered > 0.9
    assert middle.low <= middle.recovered <= middle.high
    assert found.points[0].recovered == 0
    assert found.points[10].recovered == pytest.approx(1)
    assert found.rating.apgr > 0.7


def test_cost_runs_from_the_small_models_price_to_the_large_ones() -> None:
    costs = [point.cost for point in evaluate(ROWS, KNOWING, price_ratio=0.2).points]
    assert costs[0] == pytest.approx(0.2)
    assert costs[5] == pytest.approx(0.6)
    assert costs[10] == pytest.approx(1)


def test_quality_runs_from_the_small_models_to_the_large_ones() -> None:
    points = evaluate(ROWS, KNOWING, price_ratio=0.2).points
    assert points[0].quality == pytest.approx(ROWS.small.mean())
    assert points[10].quality == pytest.approx(1)


def test_the_bar_of_a_point_sends_its_share() -> None:
    for point in evaluate(ROWS, KNOWING, price_ratio=0.2).points[1:10]:
        assert (KNOWING.difficulty >= point.max_difficulty).mean() == pytest.approx(point.large_share, abs=0.01)


def test_chances_are_held_against_what_came_true() -> None:
    found = evaluate(ROWS, KNOWING, price_ratio=0.2)
    assert found.small_calibration_error == pytest.approx(0.1, abs=0.02)
    assert found.large_calibration_error == pytest.approx(0.03, abs=0.001)


def test_scores_are_the_judges_own() -> None:
    judge = Judge(weights())
    told: list[int] = []
    scores = scores_of(judge, ["Why?", "怎么办？"], 0.5, told.append)
    estimate = judge.estimate(Query("怎么办？"))
    assert scores.difficulty[1] == estimate.difficulty_for(0.5)
    assert (scores.small[1], scores.large[1]) == (estimate.chance(0.5), estimate.chance(1))
    assert told == [1, 2]


def test_the_same_figures_make_the_same_picture() -> None:
    found = evaluate(ROWS, KNOWING, price_ratio=0.2)
    first = picture([found, found])
    assert first.startswith(b"\x89PNG")
    assert first == picture([found, found])
