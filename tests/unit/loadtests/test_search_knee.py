"""The knee of load against latency, the collapse of goodput, and the time until the promise is kept again."""

import pytest

from loadtests.plan import Slo
from loadtests.records.sample import Sample
from loadtests.search.knee import Load, collapse_of, knee_of
from loadtests.search.recovery import recovery_s
from tests.unit.loadtests.search_servers import Desks, sample_of

SLO = Slo(ttft_s=0.5, share_ratio=0.95)


def loads(*points: tuple[float, float]) -> list[Load]:
    return [Load(rate, first_s, 1.0, is_cut=False) for rate, first_s in points]


def test_the_knee_is_where_a_flat_curve_turns_up() -> None:
    knee = knee_of(loads((5, 0.1), (10, 0.1), (15, 0.11), (20, 0.12), (25, 0.6), (30, 5)))

    assert knee.rate_per_s == 20
    assert knee.reason == "above it latency rises out of proportion, up to 50 times that of the lowest load"


def test_the_order_of_the_points_and_two_of_one_rate_do_not_matter() -> None:
    points = loads((30, 5), (5, 0.1), (20, 0.11), (25, 0.6), (10, 0.1), (20, 0.13), (15, 0.11))

    assert knee_of(points).rate_per_s == 20


def test_a_dip_by_chance_is_no_knee() -> None:
    assert knee_of(loads((5, 0.12), (10, 0.1), (15, 0.11), (20, 0.12), (25, 0.6), (30, 5))).rate_per_s == 20


def test_the_knee_of_a_line_of_desks_lies_below_its_capacity() -> None:
    desks = Desks(8, 0.2)
    capacity = desks.desks / desks.service_s
    # Mean time in an M/M/1 of the same capacity: the textbook's curve.
    knee = knee_of(loads(*((rate, 1 / (capacity - rate)) for rate in (4, 8, 16, 24, 32, 36, 38, 39))))

    assert knee.rate_per_s is not None
    assert 0.7 * capacity <= knee.rate_per_s < capacity


@pytest.mark.parametrize(
    ("points", "reason"),
    [
        (((1, 0.1), (2, 0.1), (4, 9)), "it needs 4 rates or more to be seen, and there are 3"),
        (((1, 0.1), (2, 0.11), (3, 0.12), (4, 0.13)), "latency rises by only 30% from the lowest to the highest load"),
        (((1, 0.1), (2, 0.2), (3, 0.4), (4, 0.8), (5, 1.6)), "latency rises evenly with load, without a knee"),
    ],
)
def test_where_there_is_no_knee_none_is_made_up(points: tuple[tuple[float, float], ...], reason: str) -> None:
    assert knee_of(loads(*points)) == (None, reason)


def test_loads_beyond_the_first_that_was_cut_do_not_bend_the_curve() -> None:
    flat = loads((5, 0.1), (10, 0.1), (15, 0.11), (20, 0.12), (25, 0.6))
    cut = [Load(30, 5, 0, is_cut=True), Load(90, 4, 0, is_cut=True), Load(300, None, 0, is_cut=True)]

    assert knee_of([*flat, *cut]).rate_per_s == 20


def test_goodput_collapses_where_half_of_the_best_is_gone() -> None:
    points = [Load(rate, 1, met, is_cut=False) for rate, met in ((10, 1), (20, 0.99), (30, 0.5), (60, 0.1))]

    assert collapse_of(points, 20) == (60, "6 requests/s in time there, 30% of the best (19.8)")
    assert collapse_of(points[:3], 20) == (None, "up to 30 requests/s it stays at 76% of the best (19.8) or more")


def test_goodput_below_the_best_is_no_collapse_before_the_best_is_reached() -> None:
    points = [Load(rate, 1, met, is_cut=False) for rate, met in ((1, 1), (2, 0.9), (9, 0.8))]

    assert collapse_of(points, 1) == (None, "it is best at the highest load that was looked at, 9 requests/s")


def test_a_load_that_was_cut_says_nothing_of_goodput() -> None:
    points = [Load(10, 1, 1, is_cut=False), Load(20, 1, 0, is_cut=True)]

    assert collapse_of(points, 10) == (None, "no load above the safe one was looked at to its end")


def after(*spans: tuple[float, float, float]) -> list[Sample]:
    """Two requests a second from 100 s on: (from, to, first token after)."""
    return [
        sample_of(100 + at / 2, first_s)
        for begin_s, end_s, first_s in spans
        for at in range(int(2 * begin_s), int(2 * end_s))
    ]


def test_recovered_is_when_the_promise_is_kept_and_goes_on_being_kept() -> None:
    assert recovery_s(after((0, 22, 3), (22, 90, 0.1)), SLO, 100, 190) == 25
    # Kept for a while in between, but not for 30 s on end.
    assert recovery_s(after((0, 10, 3), (10, 30, 0.1), (30, 40, 3), (40, 90, 0.1)), SLO, 100, 190) == 40
    assert recovery_s(after((0, 90, 0.1)), SLO, 100, 190) == 0


def test_not_recovered_within_what_was_looked_at_is_not_guessed() -> None:
    assert recovery_s(after((0, 90, 3)), SLO, 100, 190) is None
    # It may have recovered, but was not seen to go on.
    assert recovery_s(after((0, 70, 3), (70, 90, 0.1)), SLO, 100, 190) is None
    assert recovery_s([], SLO, 100, 190) is None


def test_a_single_late_answer_is_no_relapse() -> None:
    samples = after((0, 10, 3), (10, 50, 0.1), (50, 50.5, 3), (50.5, 90, 0.1))

    assert recovery_s(samples, SLO, 100, 190) == 10
