"""Bars for a share or a quality, against figures worked out by hand."""

import numpy as np
import pytest

from cluster.errors import UserError
from router.learning.calibration import Traffic, bar_for_quality, bar_for_share, quality_at, share_at

# A hundred questions; the small model fails the hardest thirty, the large one none.
DIFFICULTY = (np.arange(100) + 0.5) / 100
LEVEL = Traffic(DIFFICULTY, (DIFFICULTY < 0.7).astype(float), np.ones(100), is_labelled=True)


def test_a_share_is_kept() -> None:
    bar = bar_for_share(LEVEL, 0.3, draws=100)
    assert share_at(LEVEL, bar.max_difficulty.value) == bar.large_share.value == pytest.approx(0.3)
    assert bar.quality.value == 1
    assert bar.large_share.low < 0.3 < bar.large_share.high
    assert bar.max_difficulty.low < bar.max_difficulty.value < bar.max_difficulty.high


def test_a_quality_takes_no_more_of_the_large_model_than_it_needs() -> None:
    bar = bar_for_quality(LEVEL, 0.9, draws=100)
    assert quality_at(LEVEL, bar.max_difficulty.value) == pytest.approx(0.9)
    assert bar.large_share.value == pytest.approx(0.2)


def test_where_the_small_model_does_it_all_the_bar_is_1() -> None:
    alike = LEVEL._replace(small=np.ones(100))
    bar = bar_for_quality(alike, 0.95, draws=20)
    assert bar.max_difficulty.value == 1
    assert bar.large_share.value == 0


def test_the_interval_narrows_with_more_questions() -> None:
    many = Traffic(np.tile(DIFFICULTY, 20), np.tile(LEVEL.small, 20), np.ones(2000), is_labelled=True)
    few, more = (bar_for_share(one, 0.3, draws=200).large_share for one in (LEVEL, many))
    assert more.high - more.low < (few.high - few.low) / 2


def test_questions_of_one_difficulty_go_one_way() -> None:
    lumped = LEVEL._replace(difficulty=np.repeat([0.2, 0.8], 50))
    bar = bar_for_quality(lumped, 0.95, draws=20)
    assert 0.2 < bar.max_difficulty.value < 0.8
    assert bar.quality.value == 1


def test_the_interval_holds_what_fresh_traffic_brings() -> None:
    generator = np.random.default_rng(5)
    inside = 0
    for _ in range(40):
        seen, fresh = generator.beta(2, 3, 400), generator.beta(2, 3, 100_000)
        bar = bar_for_share(Traffic(seen, np.ones(400), np.ones(400), is_labelled=False), 0.3, draws=200)
        inside += bar.large_share.low <= (fresh >= bar.max_difficulty.value).mean() <= bar.large_share.high
    assert inside >= 34


@pytest.mark.parametrize("share", [0.0, 1.0, -1.0, 2.0])
def test_a_share_outside_its_range_is_refused(share: float) -> None:
    with pytest.raises(UserError, match="between 0 and 1"):
        bar_for_share(LEVEL, share)
    with pytest.raises(UserError, match="between 0 and 1"):
        bar_for_quality(LEVEL, share)


def test_a_large_model_that_fails_everything_keeps_no_quality() -> None:
    with pytest.raises(UserError, match="none of these rows"):
        bar_for_quality(LEVEL._replace(large=np.zeros(100)), 0.9)
