"""A split keeps groups apart, loses nothing, and is the same for the same rows and seed."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.errors import UserError
from training.splitting import MAX_OFF_RATIO, split

GROUPS = st.lists(st.sampled_from(["", "公安局", "民政局", *"abcdefgh"]), min_size=1, max_size=80)
RATIOS = st.floats(0.05, 0.8)


def keys(groups: list[str]) -> list[str]:
    # Some questions are asked more than once.
    return [f"q{number // 2}" for number in range(len(groups))]


@settings(deadline=None)
@given(GROUPS, RATIOS, st.integers(0, 5))
def test_groups_stay_together_nothing_is_lost_and_the_ratio_is_near_or_refused(
    groups: list[str], ratio: float, seed: int
) -> None:
    questions = keys(groups)
    units = [group or key for group, key in zip(groups, questions, strict=True)]
    if len(set(units)) < 2:
        with pytest.raises(UserError, match=r"are of one group|ask one question"):
            split(groups, questions, ratio, seed)
        return
    try:
        train, test = split(groups, questions, ratio, seed)
    except UserError:
        # What is refused is so large that no split of whole groups could be seen to fit.
        largest = max(units.count(unit) for unit in units)
        assert largest > max(1.0, MAX_OFF_RATIO * ratio * len(groups))
        return
    assert sorted([*train, *test]) == list(range(len(groups)))
    assert train
    assert test
    assert {units[place] for place in train}.isdisjoint(units[place] for place in test)
    target = ratio * len(groups)
    assert abs(len(test) - target) <= max(1.0, MAX_OFF_RATIO * target)


@settings(deadline=None)
@given(GROUPS, RATIOS, st.randoms(use_true_random=False))
def test_the_order_of_rows_changes_nothing(groups: list[str], ratio: float, order: random.Random) -> None:
    rows = list(zip(groups, keys(groups), strict=True))
    mixed = order.sample(rows, len(rows))
    held_out: list[list[tuple[str, str]] | str] = []
    for some in (rows, mixed):
        try:
            sides = split([group for group, _ in some], [key for _, key in some], ratio, 1)
            held_out.append(sorted(some[place] for place in sides.test))
        except UserError as error:
            held_out.append(str(error))
    assert held_out[0] == held_out[1]


@settings(deadline=None)
@given(st.integers(30, 200), RATIOS)
def test_single_rows_are_split_to_the_row(count: int, ratio: float) -> None:
    _, test = split([""] * count, [str(number) for number in range(count)], ratio, 1)
    assert abs(len(test) - ratio * count) <= 0.5


def test_another_seed_holds_out_other_rows() -> None:
    groups = [str(number) for number in range(100)]
    assert split(groups, groups, 0.2, 1) != split(groups, groups, 0.2, 2)


@pytest.mark.parametrize(
    ("groups", "says"),
    [
        ([], "there are no rows to split"),
        (["a"], "all 1 rows are of one group"),
        ([""], "1 rows ask one question"),
        (["a"] * 50 + ["b"] * 3, "whole groups give 0.06 at the nearest"),
    ],
)
def test_too_few_groups_are_told(groups: list[str], says: str) -> None:
    with pytest.raises(UserError, match=says):
        split(groups, ["q"] * len(groups), 0.3, 1)
