"""Intervals say what they promise."""

import numpy as np
import pytest

from training.bootstrap import gain_interval, mean_interval, weighted_mean


def test_an_interval_holds_the_truth_about_as_often_as_it_says() -> None:
    chance = np.random.default_rng(7)
    rounds, held = 200, 0
    for _ in range(rounds):
        values = (chance.random(60) < 0.6).astype(float)
        low, high = mean_interval(values.tolist(), [1.0] * 60, 0.9)
        held += low <= 0.6 <= high
    assert 0.83 <= held / rounds <= 0.96


def test_a_row_counts_by_its_weight() -> None:
    values, weights = [1.0, 3.0], [30.0, 10.0]
    assert weighted_mean(values, weights) == pytest.approx(1.5)
    low, high = mean_interval(values * 50, weights * 50, 0.95)
    assert low < 1.5 < high
    assert high - low < 0.6


def test_a_gain_is_surer_than_its_sides_because_rows_are_drawn_together() -> None:
    chance = np.random.default_rng(3)
    # Rows differ much from each other, and all become better by about the same.
    before = chance.normal(3, 1, 80)
    after = before - 0.2 + chance.normal(0, 0.05, 80)
    ones = [1.0] * 80
    low, high = gain_interval(before.tolist(), ones, after.tolist(), ones, 0.95)
    assert -0.23 < low < high < -0.17
    side_low, side_high = mean_interval(after.tolist(), ones, 0.95)
    assert side_high - side_low > 5 * (high - low)


def test_the_same_rows_give_the_same_interval() -> None:
    values, ones = [float(number % 3) for number in range(40)], [1.0] * 40
    assert mean_interval(values, ones, 0.95) == mean_interval(values, ones, 0.95)


def test_more_confidence_is_a_wider_interval() -> None:
    values, ones = [float(number % 3) for number in range(40)], [1.0] * 40
    narrow, wide = mean_interval(values, ones, 0.8), mean_interval(values, ones, 0.99)
    assert wide[0] < narrow[0] < narrow[1] < wide[1]


def test_one_row_or_none_has_no_width() -> None:
    assert mean_interval([0.5], [1.0], 0.95) == (0.5, 0.5)
    assert mean_interval([], [], 0.95) == (0.0, 0.0)
