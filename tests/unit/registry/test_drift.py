from dataclasses import replace
from functools import reduce

import numpy as np
import pytest

from cluster.outcomes import Tally
from loadtests.rollout_bench.city import ALPHA, City, Habits
from registry.drift import (
    LEVELS,
    MOST_LANGUAGES,
    Drift,
    FeatureDrift,
    Window,
    compare,
    psi,
    reference,
    together,
)


def parts_of(city: City) -> list[Window]:
    return city.parts(40)


def drift_after(habits: Habits) -> Drift:
    city = City(1)
    parts = parts_of(city)
    city.habits = habits
    return compare(reference(together(parts), parts), together(parts_of(city)), 1, ALPHA)


def drifted(drift: Drift) -> dict[str, FeatureDrift]:
    return {one.feature: one for one in drift.features if one.level}


def test_the_same_city_raises_no_alarm_over_many_windows() -> None:
    alarms, windows = 0, 0
    for seed in range(4):
        city = City(seed)
        parts = parts_of(city)
        known = reference(together(parts), parts)
        for look in range(1, 6):
            windows += 1
            alarms += compare(known, together(parts_of(city)), look, ALPHA).level != ""
    assert (alarms, windows) == (0, 20)


def test_new_topics_alarm_with_the_words_that_moved() -> None:
    found = drifted(drift_after(Habits(topics=(0.1, 0.1, 0.1, 0.7))))
    assert set(found) == {"words"}
    assert found["words"].psi > 0.1
    assert found["words"].p_value < 1e-6


def test_another_language_alarms_and_says_how_much_of_it() -> None:
    drift = drift_after(Habits(english=0.6))
    found = drifted(drift)
    assert set(found) == {"languages"}
    assert "before" in found["languages"].change
    assert "now" in found["languages"].change
    assert drift.level == "urgent"
    assert "languages" in drift.action


def test_longer_questions_alarm() -> None:
    assert set(drifted(drift_after(Habits(log_length=5.2)))) == {"input_lengths"}


def test_faults_alarm_by_how_much_they_rise_although_their_index_is_small() -> None:
    drift = drift_after(Habits(faults=0.09))
    assert drifted(drift)["faults"].psi < 0.25
    assert drift.level == "warning"
    assert drift_after(Habits(faults=0.0)).level == ""


def test_people_who_rate_worse_alarm_and_who_rate_better_do_not() -> None:
    assert "ratings" in drifted(drift_after(Habits(ratings=(0.7, 0.2, 0.1))))
    assert drift_after(Habits(ratings=(0.0, 0.05, 0.95))).level == ""


def test_other_questions_with_worse_answers_weigh_a_level_more() -> None:
    city = City(1)
    parts = parts_of(city)
    known = reference(together(parts), parts)
    city.habits = Habits(english=0.25)
    alone = compare(known, together(parts_of(city)), 1, ALPHA)
    city.habits = Habits(english=0.25, faults=0.09)
    both = compare(known, together(parts_of(city)), 1, ALPHA)
    assert LEVELS.index(both.level) == LEVELS.index(alone.level) + 1


def test_a_large_index_of_a_few_requests_is_no_alarm() -> None:
    city = City(1)
    parts = parts_of(city)
    city.habits = Habits(english=0.6)
    drift = compare(reference(together(parts), parts), Window.empty(0, 1).plus(city.tally(4)), 1, ALPHA)
    assert drift.level == ""


def test_a_trifle_in_a_million_requests_is_no_alarm() -> None:
    def window(english: int) -> Window:
        tally = Tally("small", 1, 1_000_000, (), (("zh", 1_000_000 - english), ("en", english)), (), (), 0)
        return Window.empty(0, 1).plus(tally)

    parts = [window(50_000)] * 24
    drift = compare(reference(together(parts), parts), window(60_000), 1, ALPHA)
    found = next(one for one in drift.features if one.feature == "languages")
    assert found.p_value < 1e-20
    assert drift.level == ""


def test_later_looks_must_be_surer() -> None:
    city = City(1)
    parts = parts_of(city)
    known = reference(together(parts), parts)
    city.habits = Habits(english=0.3)
    window = Window.empty(0, 1).plus(city.tally(40))
    assert compare(known, window, 1, ALPHA).level != ""
    assert compare(known, window, 100_000, ALPHA).level == ""


def test_the_index_is_jeffreys_divergence_and_finite_for_empty_bins() -> None:
    before, after = np.array([500.0, 500.0]), np.array([800.0, 200.0])
    assert psi(before, after) == pytest.approx(0.3 * np.log(1.6) - 0.3 * np.log(0.4), rel=0.01)
    assert np.isfinite(psi(np.array([0.0, 10.0]), np.array([10.0, 0.0])))
    assert psi(before, before) == 0


def test_windows_of_nothing_are_alike() -> None:
    empty = Window.empty(0, 1)
    assert compare(reference(empty, ()), empty, 1, ALPHA) == Drift((), "", "")


def test_invented_languages_take_bounded_memory_and_are_all_counted() -> None:
    tally = City(1).tally(10)
    many = [replace(tally, languages=((f"x{i}", 1 + i),)) for i in range(100)]
    window = reduce(Window.plus, many, Window.empty(0, 1))
    assert len(window.counts["languages"]) == MOST_LANGUAGES
    assert sum(window.counts["languages"].values()) == sum(range(1, 101))
