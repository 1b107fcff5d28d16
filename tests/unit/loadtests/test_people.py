"""Who is there in closed stages, and when they come."""

import pytest

from loadtests.asking.people import comings_of, sittings_of
from loadtests.plan import People, Poisson, Stage


def closed(count: int, seconds: float, ramp_s: float = 0.0) -> Stage:
    return Stage(name="people", seconds=seconds, people=People(count=count, ramp_s=ramp_s))


OPEN = Stage(name="open", seconds=10, arrivals=Poisson(rate_per_s=1))


def test_people_come_evenly_over_the_ramp() -> None:
    (sittings,) = sittings_of([closed(4, 20, ramp_s=8)])
    assert comings_of(sittings) == [(0, 0), (2, 1), (4, 2), (6, 3)]


def test_people_stay_from_one_stage_to_the_next() -> None:
    (sittings,) = sittings_of([closed(3, 10), closed(3, 10), closed(5, 10, ramp_s=4)])
    assert comings_of(sittings) == [(0, 0), (0, 1), (0, 2), (20, 3), (22, 4)]
    assert [sitting.stage for sitting in sittings] == [0, 1, 2]


def test_those_who_have_left_come_again_when_more_are_wanted() -> None:
    (sittings,) = sittings_of([closed(3, 10), closed(1, 10), closed(2, 10)])
    assert comings_of(sittings) == [(0, 0), (0, 1), (0, 2), (20, 1)]


def test_whoever_would_come_after_the_stage_comes_with_the_next() -> None:
    (sittings,) = sittings_of([closed(4, 10, ramp_s=20), closed(4, 10)])
    assert comings_of(sittings) == [(0, 0), (5, 1), (10, 2), (10, 3)]


def test_an_open_stage_between_two_closed_ones_sends_everybody_home() -> None:
    groups = sittings_of([closed(2, 10), OPEN, closed(2, 10)])
    assert [comings_of(sittings) for sittings in groups] == [[(0, 0), (0, 1)], [(20, 0), (20, 1)]]
    assert sittings_of([OPEN]) == []


@pytest.mark.parametrize("workers", [1, 3])
def test_every_person_belongs_to_one_worker(workers: int) -> None:
    (sittings,) = sittings_of([closed(10, 10)])
    comings = comings_of(sittings)
    parts = [[one for one in comings if one[1] % workers == worker] for worker in range(workers)]
    assert sorted(one for part in parts for one in part) == comings
