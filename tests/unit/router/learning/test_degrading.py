"""What relief costs on labelled rows."""

import numpy as np
import pytest

from cluster.errors import UserError
from router.learning.degrading import relief_costs, staying_costs

DIFFICULTY = (np.arange(1000) + 0.5) / 1000
SMALL = 1 - DIFFICULTY
LARGE = np.ones(1000)


def test_a_margin_moves_what_lies_next_to_the_bar_and_costs_what_that_loses() -> None:
    up, down = relief_costs(DIFFICULTY, SMALL, LARGE, 0.5, margins=(0.1, -0.1), draws=200)
    assert up.moved_ratio == pytest.approx(0.1)
    assert up.large_ratio == pytest.approx(0.4)
    # The hundred questions above the bar are answered by the small model at 0.45 and not at 1.
    assert up.lost == pytest.approx(0.1 * 0.55)
    assert up.lost_low < up.lost < up.lost_high
    assert up.lost_by_chance == pytest.approx(0.1 * 0.75)
    # The other way the large model is better at everything.
    assert down.large_ratio == pytest.approx(0.6)
    assert down.lost == pytest.approx(-0.1 * 0.45)
    assert up.quality == pytest.approx(0.5 * 0.75 + 0.5 - up.lost)


def test_a_wider_margin_moves_more_and_no_margin_moves_what_is_clearly_hard() -> None:
    costs = relief_costs(DIFFICULTY, SMALL, LARGE, 0.5, margins=(0.05, 0.15, 0.25, 0.9), draws=50)
    assert [cost.moved_ratio for cost in costs] == [pytest.approx(share) for share in (0.05, 0.15, 0.25, 0.25)]


def test_the_same_rows_give_the_same_figures() -> None:
    one, other = (relief_costs(DIFFICULTY, SMALL, LARGE, 0.5, draws=50) for _ in range(2))
    assert one == other


@pytest.mark.parametrize("bar", [0.0, 1.0])
def test_a_bar_that_leaves_one_model_nothing_to_do_is_refused(bar: float) -> None:
    with pytest.raises(UserError, match="one model answers all of these rows"):
        relief_costs(DIFFICULTY, SMALL, LARGE, bar)


def test_staying_switches_less_and_costs_what_the_border_is_worth() -> None:
    free, held, bound = staying_costs(DIFFICULTY, SMALL, LARGE, 0.5, margins=((0, 0), (0.1, 0.1), (0.25, 0.25)))
    assert free.switched_ratio == pytest.approx(0.5, abs=0.01)
    assert held.switched_ratio == pytest.approx(0.4, abs=0.01)
    assert bound.switched_ratio == pytest.approx(0.25, abs=0.01)
    assert free.large_ratio == pytest.approx(0.5, abs=0.01)
    assert free.quality == pytest.approx(0.875, abs=0.005)
    assert bound.quality < held.quality < free.quality
