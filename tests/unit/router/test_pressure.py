"""How full pools are, and what that does to the choice. Time is a number that a test passes in."""

from collections.abc import Callable, Iterable
from itertools import pairwise
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.policy import Leaning, Need, Roster, candidates_of, choose
from router.pressure import CALM_S, ENDS_RATIO, NOBODY, Gauge, Pressure, Seen
from tests.fakes.stack import LARGE, SMALL

STEP_S = 0.5
MOST = 0.15


def gauge() -> Gauge:
    return Gauge(0.85, MOST)


def margins(one: Gauge, ratios: Iterable[float], start_s: float = 0.0) -> list[float]:
    """The margin after each look, with a pool that is full at 100 requests."""
    told = []
    for look, ratio in enumerate(ratios):
        one.look(Seen(round(ratio * 100), 100.0), start_s + look * STEP_S)
        told.append(one.margin)
    return told


def for_s(seconds: float, ratio: float) -> list[float]:
    return [ratio] * round(seconds / STEP_S)


def switches(told: list[float]) -> int:
    """How often relief began or ended."""
    return sum((before > 0) != (after > 0) for before, after in pairwise([0.0, *told]))


@pytest.mark.parametrize(
    ("ratio", "margin"), [(0.5, 0), (0.84, 0), (0.925, 0.0375), (1.0, 0.075), (1.15, MOST), (3, MOST)]
)
def test_the_margin_grows_with_what_a_pool_carries(ratio: float, margin: float) -> None:
    assert margins(gauge(), for_s(60, ratio))[-1] == pytest.approx(margin, abs=0.004)


def test_a_burst_of_a_second_moves_nothing() -> None:
    assert max(margins(gauge(), [*for_s(30, 0.5), *for_s(1, 1.5), *for_s(30, 0.5)])) == 0


def test_relief_ends_only_after_some_calm_seconds_below_the_lower_mark() -> None:
    one = gauge()
    assert margins(one, for_s(60, 1.3))[-1] == MOST
    # In the band nothing changes: what was moved away must not call itself back.
    assert margins(one, for_s(300, 0.9), 60)[-1] == MOST
    calm = margins(one, for_s(60, 0.55), 360)
    assert calm[round(CALM_S / STEP_S) - 2] == MOST
    # A margin that fell at once would call all of the load back at once.
    assert max(before - after for before, after in pairwise(calm)) < MOST / 50
    assert CALM_S < calm.index(0) * STEP_S < 60
    # A dip that is shorter than the calm seconds ends nothing.
    one = gauge()
    margins(one, for_s(60, 1.3))
    assert min(margins(one, [*for_s(2, 0.3), *for_s(60, 1.0)], 60)) == MOST


def test_relief_shrinks_step_by_step_as_the_load_falls() -> None:
    one = gauge()
    margins(one, for_s(60, 1.3))
    told = [
        margins(one, for_s(60, ratio), 60 * (number + 1))[-1] for number, ratio in enumerate((0.85, 0.75, 0.65, 0.5))
    ]
    assert told == [pytest.approx(share * MOST, abs=0.01) for share in (0.83, 0.5, 0.17, 0)]


@given(st.lists(st.floats(ENDS_RATIO, 0.84), min_size=1, max_size=200), st.booleans())
def test_a_load_that_wobbles_within_the_band_switches_relief_at_most_once(ratios: list[float], is_busy: bool) -> None:
    one = gauge()
    if is_busy:
        margins(one, for_s(60, 1.3))
    told = margins(one, ratios, 60)
    assert switches([MOST, *told] if is_busy else told) - is_busy <= 1


@given(st.lists(st.floats(0, 2), min_size=1, max_size=300))
def test_relief_begins_only_above_the_upper_mark_and_ends_only_below_the_lower(ratios: list[float]) -> None:
    one = gauge()
    before = 0.0
    for look, ratio in enumerate(ratios):
        one.look(Seen(round(ratio * 100), 100.0), look * STEP_S)
        assert 0 <= one.margin <= MOST
        if before == 0 < one.margin:
            assert one.ratio > 0.85
        if before > 0 == one.margin:
            assert one.ratio <= ENDS_RATIO
        before = one.margin


def test_a_pool_without_a_ready_engine_asks_for_nothing_and_begins_afresh() -> None:
    one = gauge()
    margins(one, for_s(60, 1.3))
    one.look(Seen(50, 0.0), 60)
    assert (one.ratio, one.margin) == (0, 0)
    assert margins(one, for_s(1, 2.0), 61) == [0, 0]


def test_nobody_asks_for_relief_while_no_pool_is_busy_or_where_it_is_switched_off() -> None:
    busy = {"small": Seen(10, 100.0), "large": Seen(300, 100.0)}
    pressure, off = (Pressure(("small", "large"), from_ratio=0.85, max_relief=most) for most in (MOST, 0))
    for look in range(100):
        pressure.look(busy, look * STEP_S)
        off.look(busy, look * STEP_S)
    assert pressure.relief == {"small": 0, "large": MOST}
    assert off.relief is NOBODY
    for look in range(100, 300):
        pressure.look({"small": Seen(10, 100.0), "large": Seen(10, 100.0)}, look * STEP_S)
    assert pressure.relief is NOBODY


# ---- the whole loop: arrivals, two pools with queues, the choice -----------------------------------------------------


class Queue:
    """A pool that works on `slots` requests at once, each for `service_s`, and lets the others wait in turn."""

    def __init__(self, slots: int, service_s: float) -> None:
        self.slots, self.service_s = slots, service_s
        self.free_at_s = [0.0] * slots
        self.ends_s: list[float] = []
        self.waits_s: list[float] = []

    def take(self, now_s: float) -> None:
        self.free_at_s.sort()
        begins_s = max(now_s, self.free_at_s[0])
        self.free_at_s[0] = begins_s + self.service_s
        self.ends_s.append(self.free_at_s[0])
        self.waits_s.append(begins_s - now_s)

    def in_flight(self, now_s: float) -> int:
        self.ends_s = [end for end in self.ends_s if end > now_s]
        return len(self.ends_s)


class Simulated(NamedTuple):
    """What came of a simulation."""

    small: Queue
    large: Queue
    margins: list[float]
    """The large pool's, at each look."""
    moved_ratio: float


def simulated(max_relief: float, rate: Callable[[float], float], until_s: float, spread: float = 1.0) -> Simulated:
    """Questions at `rate` a second, half of them hard, within `spread` round the bar; the large pool does 10."""
    small, large = Queue(60, 1.0), Queue(20, 2.0)
    pressure = Pressure(("small", "large"), from_ratio=0.85, max_relief=max_relief)
    roster = Roster(candidates_of((SMALL, LARGE))).chat
    now_s, looked_s, asked, told, moved = 0.0, 0.0, 0, [], 0
    while now_s < until_s:
        now_s += 1 / rate(now_s)
        if now_s - looked_s >= STEP_S:
            looked_s = now_s
            seen = {"small": Seen(small.in_flight(now_s), 60.0), "large": Seen(large.in_flight(now_s), 20.0)}
            pressure.look(seen, now_s)
            told.append(pressure.gauges["large"].margin)
        asked += 1
        # The golden ratio's multiples are spread evenly, in an order that looks random.
        difficulty = 0.5 + spread * (asked * 0.6180339887 % 1 - 0.5)
        need = Need(difficulty, "any", frozenset(), False, 10)
        choice = choose(need, roster, lambda name: True, Leaning(pressure.relief))
        moved += choice.relieved != ""
        (small if choice.model == "small" else large).take(now_s)
    return Simulated(small, large, told, moved / asked)


def overload(now_s: float) -> float:
    """For five minutes twice what the large pool can do, before and after half of it."""
    return 40 if 60 <= now_s < 360 else 10


@pytest.mark.parametrize("spread", [0.5, 0.1])
def test_under_a_load_that_one_pool_cannot_carry_waiting_stays_bounded(spread: float) -> None:
    queued, eased = simulated(0.0, overload, 480, spread), simulated(MOST, overload, 480, spread)
    assert max(queued.large.waits_s) > 200
    assert max(eased.large.waits_s) < 5
    assert max(eased.small.waits_s) < 5
    # However near the bar the questions lie, relief begins once and ends once, when the load has gone.
    assert switches(eased.margins) == 2
    assert eased.margins[-1] == 0
    # More than a quarter has to move, or the large pool would fill; not all that is hard does.
    assert 0.2 < eased.moved_ratio < 0.4


def test_two_pools_that_are_both_full_move_nothing_for_long() -> None:
    assert simulated(MOST, lambda now_s: 300, 60).moved_ratio < 0.02
