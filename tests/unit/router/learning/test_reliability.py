"""Chances that come true, and the line that mends those that do not."""

import numpy as np
import pytest

from router.learning.reliability import bins_of, calibration_error, line_of

GENERATOR = np.random.default_rng(0)
LOG_ODDS = GENERATOR.normal(0.3, 1.5, 20_000)
HAPPENED = (GENERATOR.random(20_000) < 1 / (1 + np.exp(-LOG_ODDS))).astype(float)
EVENLY = np.ones(20_000)


def chances(log_odds: np.ndarray) -> np.ndarray:
    return np.asarray(1 / (1 + np.exp(-log_odds)))


def test_a_calibrated_judge_needs_no_line() -> None:
    line = line_of(LOG_ODDS, HAPPENED, EVENLY)
    assert line.slope == pytest.approx(1, abs=0.05)
    assert line.offset == pytest.approx(0, abs=0.05)


def test_too_sure_and_too_hopeful_chances_are_mended() -> None:
    stated = 3 * LOG_ODDS + 2
    assert calibration_error(bins_of(chances(stated), HAPPENED)) > 0.1
    line = line_of(stated, HAPPENED, EVENLY)
    mended = line.slope * stated + line.offset
    assert calibration_error(bins_of(chances(mended), HAPPENED)) < 0.02


def test_rows_that_weigh_nothing_say_nothing() -> None:
    weights = np.repeat([1.0, 0.0], 10_000)
    lied = np.where(weights > 0, HAPPENED, 1 - HAPPENED)
    assert line_of(LOG_ODDS, lied, weights) == pytest.approx(line_of(LOG_ODDS, HAPPENED, weights))


def test_a_model_that_is_always_right_gives_a_finite_line() -> None:
    line = line_of(LOG_ODDS[:500], np.ones(500), np.ones(500))
    assert 0 < line.slope <= 5
    assert 0 < line.offset < 20


def test_the_error_is_the_mean_distance() -> None:
    stated, came_true = np.repeat([0.2, 0.8], 50), np.repeat([0.5, 1.0], 50)
    assert calibration_error(bins_of(stated, came_true)) == pytest.approx(0.25)


def test_bins_hold_equally_many_rows() -> None:
    assert {one.rows for one in bins_of(chances(LOG_ODDS), HAPPENED)} == {2000}
