"""Which rate is tried next: the way to the border, on outcomes that are written down."""

import math
from collections.abc import Callable
from dataclasses import replace

import pytest

from loadtests.search.seeker import Aim, Done, Probe, Seen, next_step

AIM = Aim(start_per_s=4)

Answer = Callable[[Probe, list[Seen]], Seen]


def seen(probe: Probe, is_met: bool | None, *, leans: bool | None = None, generator: bool = False) -> Seen:
    return Seen(
        rate_per_s=probe.rate_per_s,
        seconds=probe.seconds + 15,
        was_met=is_met,
        is_met=is_met,
        leans_to_met=bool(is_met) if leans is None else leans,
        is_generator=generator,
    )


def border_at(rate: float) -> Answer:
    return lambda probe, _: seen(probe, probe.rate_per_s <= rate)


def searched(answer: Answer, aim: Aim = AIM) -> tuple[Done, list[Probe]]:
    outcomes: list[Seen] = []
    probes: list[Probe] = []
    while isinstance(step := next_step(aim, outcomes), Probe):
        probes.append(step)
        outcomes.append(answer(step, outcomes))
    return step, probes


@pytest.mark.parametrize("border", [0.3, 1, 3.99, 4, 5, 31.7, 900])
def test_the_answer_is_within_the_precision_below_the_border(border: float) -> None:
    done, probes = searched(border_at(border))

    assert done.reason == "found"
    assert done.safe_per_s is not None
    assert done.failed_per_s is not None
    assert done.safe_per_s <= border < done.failed_per_s <= done.safe_per_s * 1.1
    assert (done.is_confirmed, done.is_sure) == (True, True)
    assert len(probes) <= 6 + abs(math.log2(border / 4))


def test_nothing_is_tried_at_twice_the_first_rate_that_fails_or_beyond() -> None:
    _, probes = searched(border_at(21))

    assert max(probe.rate_per_s for probe in probes) == 32
    assert [probe.why for probe in probes[:5]] == ["start", "up", "up", "up", "between"]


def test_a_start_that_is_too_high_goes_down() -> None:
    done, probes = searched(border_at(1.1))

    assert [probe.rate_per_s for probe in probes[:3]] == [4, 2, 1]
    assert done.safe_per_s is not None
    assert 1 <= done.safe_per_s <= 1.1


def test_nothing_that_holds_is_said_and_not_looked_for_for_ever() -> None:
    done, probes = searched(border_at(0))

    assert (done.reason, done.safe_per_s) == ("nothing_holds", None)
    assert min(probe.rate_per_s for probe in probes) >= AIM.least_per_s


def test_a_finer_precision_costs_a_few_probes_more() -> None:
    done, fine = searched(border_at(50), replace(AIM, precision_ratio=0.02))
    _, coarse = searched(border_at(50), replace(AIM, precision_ratio=0.5))

    assert done.safe_per_s is not None
    assert done.failed_per_s is not None
    assert done.failed_per_s / done.safe_per_s <= 1.02
    assert len(coarse) < len(fine) <= len(coarse) + 6


def test_a_pass_by_luck_is_found_out_by_the_second_probe_and_the_search_goes_on_below() -> None:
    def answer(probe: Probe, before: list[Seen]) -> Seen:
        # 10 and a bit holds the first time only.
        is_lucky = not any(one.rate_per_s == probe.rate_per_s for one in before)
        return seen(probe, probe.rate_per_s <= 10 or (probe.rate_per_s <= 12 and is_lucky))

    done, probes = searched(answer)

    assert done.safe_per_s is not None
    assert done.safe_per_s <= 10
    assert done.is_confirmed
    assert [probe.why for probe in probes].count("confirm") >= 2


def test_a_pass_above_a_failure_counts_for_nothing() -> None:
    outcomes = [seen(Probe(rate, 60, "up"), is_met) for rate, is_met in ((4, True), (8, True), (6, False), (16, True))]

    step = next_step(AIM, outcomes)

    assert isinstance(step, Probe)
    assert 4 < step.rate_per_s < 6


def test_what_is_too_little_to_tell_is_tried_again_for_longer_three_times_at_most() -> None:
    done, probes = searched(lambda probe, _: seen(probe, None if probe.rate_per_s == 4 else False, leans=True))

    assert [probe.seconds for probe in probes if probe.rate_per_s == 4] == [60, 120, 240]
    assert (done.safe_per_s, done.is_sure, done.is_confirmed) == (4, False, True)


def test_what_looks_broken_and_is_too_little_to_tell_is_tried_again_at_once_and_then_given_up() -> None:
    done, probes = searched(lambda probe, _: seen(probe, True if probe.rate_per_s < 4 else None, leans=False))

    assert [probe.rate_per_s for probe in probes[:4]] == [4, 4, 4, 2]
    assert done.safe_per_s is not None
    assert done.safe_per_s < 4


def test_what_looks_kept_goes_on_upwards_without_being_sure() -> None:
    _, probes = searched(lambda probe, _: seen(probe, None if probe.rate_per_s < 64 else False, leans=True))

    assert [probe.rate_per_s for probe in probes[:5]] == [4, 8, 16, 32, 64]


def test_low_rates_get_longer_probes_from_the_beginning() -> None:
    step = next_step(replace(AIM, start_per_s=0.5), [])

    assert step == Probe(0.5, 200, "start")


def test_the_generator_as_the_limit_ends_the_way_up_with_at_least() -> None:
    done, probes = searched(lambda probe, _: seen(probe, probe.rate_per_s < 32, generator=probe.rate_per_s >= 32))

    assert (done.reason, done.safe_per_s, done.failed_per_s) == ("generator", 16, None)
    assert [probe.why for probe in probes] == ["start", "up", "up", "up", "confirm"]


def test_a_server_that_never_breaks_ends_at_the_highest_rate() -> None:
    done, probes = searched(lambda probe, _: seen(probe, True), replace(AIM, most_per_s=50))

    assert (done.reason, done.safe_per_s, done.failed_per_s) == ("top", 32, None)
    assert max(probe.rate_per_s for probe in probes) == 32


def test_probes_and_time_are_bounded_and_what_is_known_by_then_is_told() -> None:
    done, probes = searched(border_at(1000), replace(AIM, most_probes=3))
    assert (done.reason, done.safe_per_s, len(probes)) == ("probes", 16, 3)

    done, probes = searched(border_at(1000), replace(AIM, most_s=300))
    assert (done.reason, done.safe_per_s, done.is_confirmed) == ("time", 32, False)
    assert sum(probe.seconds + 15 for probe in probes) <= 300
