"""Schedules: the right number of requests, spread as their family says, the same for any number of workers."""

import itertools
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, strategies
from hypothesis import settings as hypothesis_settings
from scipy import stats

from loadtests.arrivals.day import HOURLY
from loadtests.arrivals.schedule import arrivals_of
from loadtests.plan import Plan


def plan_of(*stages: tuple[float, dict[str, Any] | None], seed: int = 7) -> Plan:
    return Plan.model_validate(
        {
            "seed": seed,
            "stages": [
                {"name": f"s{number}", "seconds": seconds}
                | ({"arrivals": arrivals} if arrivals else {"people": {"count": 1}})
                for number, (seconds, arrivals) in enumerate(stages)
            ],
        }
    )


def times_of(seconds: float, seed: int = 7, **arrivals: Any) -> list[float]:
    return [arrival.at_s for arrival in arrivals_of(plan_of((seconds, arrivals), seed=seed))]


FAMILIES: list[dict[str, Any]] = [
    {"kind": "constant", "rate_per_s": 40},
    {"kind": "poisson", "rate_per_s": 40},
    {"kind": "gamma", "rate_per_s": 40, "burstiness": 4},
    {"kind": "ramp", "from_per_s": 0, "to_per_s": 80},
    {"kind": "spike", "rate_per_s": 30, "peak_per_s": 80, "peak_ratio": 0.2},
    {"kind": "day", "peak_per_s": 40 * len(HOURLY) / sum(HOURLY)},
]


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family["kind"])
def test_each_family_sends_as_many_as_it_says(family: dict[str, Any]) -> None:
    # All have a mean of 40/s. The count's variance is at most burstiness times its mean; 5 of its deviations.
    times = times_of(1000, **family)
    assert abs(len(times) - 40_000) <= 5 * math.sqrt(40_000 * family.get("burstiness", 1))
    assert times == sorted(times)
    assert times[0] >= 0
    assert times[-1] < 1000


def test_constant_arrivals_are_evenly_spaced_and_begin_at_once() -> None:
    assert times_of(1, kind="constant", rate_per_s=4) == [0, 0.25, 0.5, 0.75]


def test_hours_of_constant_arrivals_gather_no_error_of_rounding() -> None:
    times = times_of(36_000, kind="constant", rate_per_s=3)
    assert len(times) == 108_000
    assert times[-1] == pytest.approx(36_000 - 1 / 3, abs=1e-9)


@pytest.mark.parametrize("burstiness", [0.25, 1.0, 4.0])
def test_the_gaps_are_gamma_with_the_burstiness_as_squared_coefficient_of_variation(burstiness: float) -> None:
    family: dict[str, Any] = {"kind": "gamma", "rate_per_s": 20, "burstiness": burstiness}
    gaps = np.diff(times_of(1000, **family))
    assert stats.kstest(gaps, stats.gamma(1 / burstiness, scale=burstiness / 20).cdf).pvalue > 0.001
    assert np.var(gaps) / np.mean(gaps) ** 2 == pytest.approx(burstiness, rel=0.1)


def test_poisson_is_gamma_of_burstiness_1() -> None:
    assert times_of(50, kind="poisson", rate_per_s=9) == times_of(50, kind="gamma", rate_per_s=9, burstiness=1)


def test_bursts_do_not_begin_with_too_many() -> None:
    # A gamma process that began with a whole gap would send (9 - 1) / 2 = 4 more in each of these short stages.
    plan = plan_of(*[(1, {"kind": "gamma", "rate_per_s": 20, "burstiness": 9})] * 2000)
    counts = np.bincount([arrival.stage for arrival in arrivals_of(plan)], minlength=2000)
    assert counts.mean() == pytest.approx(20, abs=4 * math.sqrt(9 * 20 / 2000))


def distribution(times: list[float], rates: list[float], seconds: float) -> float:
    """The p value of these times having a rate that moves linearly between these rates."""
    knots = np.linspace(0, seconds, len(rates))
    fine = np.linspace(0, seconds, 20_001)
    total = np.concatenate([[0], np.cumsum(np.interp((fine[1:] + fine[:-1]) / 2, knots, rates))])
    return float(stats.kstest(times, lambda at_s: np.interp(at_s, fine, total / total[-1])).pvalue)


def test_a_ramp_grows_evenly_and_falls_evenly() -> None:
    assert distribution(times_of(200, kind="ramp", from_per_s=0, to_per_s=100), [0, 100], 200) > 0.001
    assert distribution(times_of(200, kind="ramp", from_per_s=100, to_per_s=10), [100, 10], 200) > 0.001


def test_a_ramp_from_nothing_to_nothing_sends_nothing() -> None:
    assert times_of(10, kind="ramp", from_per_s=0, to_per_s=0) == []


def test_a_day_has_its_peak_at_ten_and_a_quiet_night() -> None:
    seconds = 240
    times = times_of(seconds, kind="day", peak_per_s=300)
    assert distribution(times, [*HOURLY, HOURLY[0]], seconds) > 0.001
    hours = np.histogram(times, bins=24, range=(0, seconds))[0]
    assert hours[9:11].min() > hours[13:15].max() * 0.9 > hours[12] > 5 * hours[3]
    assert max(HOURLY) == 1.0


def test_a_spike_stands_in_the_middle() -> None:
    times = np.array(times_of(100, kind="spike", rate_per_s=10, peak_per_s=200, peak_ratio=0.1))
    inside = ((times >= 45) & (times < 55)).sum()
    assert inside == pytest.approx(2000, abs=5 * math.sqrt(2000))
    assert len(times) - inside == pytest.approx(900, abs=5 * math.sqrt(900))


def test_a_spike_may_be_a_dip() -> None:
    times = np.array(times_of(100, kind="spike", rate_per_s=100, peak_per_s=1, peak_ratio=0.5))
    assert ((times >= 25) & (times < 75)).sum() < 100 < len(times)


def test_the_same_seed_gives_the_same_moments_and_another_one_others() -> None:
    for family in FAMILIES[1:]:
        assert times_of(5, **family) == times_of(5, **family) != times_of(5, seed=8, **family)


def test_stages_of_the_same_family_do_not_repeat_each_other() -> None:
    family = {"kind": "poisson", "rate_per_s": 20}
    arrivals = list(arrivals_of(plan_of((5, family), (5, family))))
    first = [arrival.at_s for arrival in arrivals if arrival.stage == 0]
    assert first != [arrival.at_s - 5 for arrival in arrivals if arrival.stage == 1]


def test_a_stage_begins_where_the_one_before_ends_and_people_have_no_arrivals() -> None:
    plan = plan_of((2, {"kind": "constant", "rate_per_s": 1}), (3, None), (2, {"kind": "constant", "rate_per_s": 1}))
    assert [(arrival.at_s, arrival.stage) for arrival in arrivals_of(plan)] == [(0, 0), (1, 0), (5, 2), (6, 2)]


@hypothesis_settings(max_examples=30, deadline=None)
@given(
    parts=strategies.lists(
        strategies.tuples(strategies.floats(0.1, 20), strategies.sampled_from([*FAMILIES, None])),
        min_size=1,
        max_size=4,
    ),
    workers=strategies.integers(1, 5),
)
def test_workers_share_one_schedule_in_order_and_each_stage_keeps_its_time(
    parts: list[tuple[float, dict[str, Any] | None]], workers: int
) -> None:
    plan = plan_of(*parts)
    whole = list(arrivals_of(plan))
    shares = [list(arrivals_of(plan, worker, workers)) for worker in range(workers)]
    assert [share == whole[number::workers] for number, share in enumerate(shares)] == [True] * workers
    assert [arrival.at_s for arrival in whole] == sorted(arrival.at_s for arrival in whole)
    begins = [0.0, *itertools.accumulate(stage.seconds for stage in plan.stages)]
    assert all(begins[arrival.stage] <= arrival.at_s < begins[arrival.stage + 1] for arrival in whole)


def test_ten_hours_at_300_a_second_are_made_when_asked_for() -> None:
    arrivals = arrivals_of(plan_of((36_000, {"kind": "poisson", "rate_per_s": 300})))
    assert [next(arrivals).stage for _ in range(5)] == [0] * 5
    assert not isinstance(arrivals, list)
