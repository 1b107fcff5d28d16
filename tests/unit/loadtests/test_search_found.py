"""The search on servers whose true answer is known."""

import pytest

from cluster.errors import Unavailable, UserError
from fenzhen.loadtest_search import aim_of, status_of, view_of
from fenzhen.output import Output
from loadtests.plan import Constant, Day, Gamma, Limits, People, Plan, Poisson, Slo, Stage, Workload
from loadtests.records.run import Run
from loadtests.search.probe import shape_of
from loadtests.search.report import SearchReport
from loadtests.search.search import search
from loadtests.search.seeker import Aim
from tests.unit.loadtests.search_servers import Batches, Desks, Served, Simulated

PLAN = Plan(
    name="city",
    stages=(
        Stage(name="warm-up", seconds=5, arrivals=Constant(rate_per_s=1), is_warm_up=True),
        Stage(name="all", seconds=60, arrivals=Poisson(rate_per_s=5)),
    ),
    slo=Slo(ttft_s=0.5, share_ratio=0.99),
)
AIM = Aim(start_per_s=5)


def found(
    server: object, seed: int = 1, plan: Plan = PLAN, aim: Aim = AIM, **more: object
) -> tuple[SearchReport, Simulated]:
    simulated = Simulated(server, seed, **more)  # type: ignore[arg-type]
    report, runs = search(plan.model_copy(update={"seed": 100 * seed}), aim, simulated)
    assert set(runs) == set(simulated.plans)
    return report, simulated


@pytest.mark.parametrize("seed", range(5))
def test_the_rate_that_is_found_is_the_true_one_within_the_precision(seed: int) -> None:
    desks = Desks(8, 0.2)
    truth = desks.safe_per_s(0.5, 0.99)

    report, simulated = found(desks, seed)

    assert report.ending == "found"
    assert report.safe_per_s == pytest.approx(truth, rel=0.15)
    assert (report.is_sure, report.is_confirmed, report.is_at_least) == (True, True, False)
    assert len(report.probes) <= 14
    assert report.took_s == pytest.approx(simulated.took_s)
    assert report.took_s <= 3600
    # The overload of 3 times is the highest that anything was exposed to.
    assert max(probe.rate_per_s for probe in report.probes) <= 2 * (report.failed_per_s or 0)


@pytest.mark.parametrize("seed", range(3))
def test_it_is_found_for_a_server_that_works_in_batches_as_well(seed: int) -> None:
    # 9.1 requests/s by long simulation: see search_figures.py.
    report, _ = found(Batches(), seed)

    assert report.safe_per_s == pytest.approx(9.1, rel=0.2)


def test_a_probe_of_far_too_much_ends_early() -> None:
    report, simulated = found(Batches(), aim=Aim(start_per_s=80))

    first = report.probes[0]
    assert first.saturated_at_s is not None
    assert first.saturated_at_s <= 30
    assert simulated.plans[first.name].seconds == 75
    assert "too much, the queue only grew" in first.sentence
    assert report.safe_per_s == pytest.approx(9.1, rel=0.2)


def test_beyond_the_safe_rate_a_line_that_never_ends_collapses_and_recovers_late() -> None:
    report, simulated = found(Desks(8, 0.2))

    half_more, thrice = report.beyond
    assert report.safe_per_s is not None
    assert (half_more.times, thrice.times) == (1.5, 3)
    assert thrice.rate_per_s == pytest.approx(3 * report.safe_per_s, rel=0.01)
    assert thrice.met_ratio < half_more.met_ratio < 0.5
    assert half_more.recovery_s is not None
    assert thrice.recovery_s is not None
    # What waits after 60 s goes away at what is free of 40 requests/s.
    for one in report.beyond:
        waiting = 60 * (one.rate_per_s - 40)
        assert one.recovery_s == pytest.approx(waiting / (40 - one.after_per_s), rel=0.4, abs=15)
    assert report.collapse.rate_per_s is not None
    assert report.safe_per_s < report.collapse.rate_per_s <= thrice.rate_per_s
    # Nothing cuts these short: what happens then is what is asked.
    assert simulated.plans["beyond"].limits.stop_when_saturated is False
    assert all(
        plan.limits.stop_when_saturated for name, plan in simulated.plans.items() if name != "beyond"
    )  # fmt: skip


def test_a_server_that_turns_callers_away_does_not_collapse_and_is_well_again_at_once() -> None:
    report, _ = found(Desks(8, 0.2, most_waiting=8))

    assert report.safe_per_s is not None
    assert report.collapse.rate_per_s is None
    assert [one.recovery_s for one in report.beyond] == [0, 0]
    assert report.beyond[1].errors.keys() == {"http_429"}
    assert report.beyond[1].goodput_rps > 0.8 * report.safe_per_s


def test_the_knee_is_seen_because_points_below_the_safe_rate_are_looked_at() -> None:
    report, _ = found(Desks(8, 0.2), aim=Aim(start_per_s=30))

    assert report.safe_per_s is not None
    for ratio in (0.25, 0.5, 0.75):
        assert any(probe.rate_per_s == pytest.approx(ratio * report.safe_per_s, rel=0.11) for probe in report.probes)
    assert report.knee.rate_per_s is not None
    assert report.knee.rate_per_s <= report.failed_per_s  # type: ignore[operator]


def test_the_report_survives_being_written_and_says_first_which_load_is_safe() -> None:
    report, _ = found(Desks(8, 0.2))

    assert SearchReport.model_validate_json(report.model_dump_json()) == report
    assert report.sentences[0] == (
        f"Up to {report.safe_per_s:.3g} requests/s the promise is kept: 99 % of the requests have their first token "
        "(unstreamed: the whole answer) within 0.5 s."
    )
    assert report.sentences[1].startswith("The border lies between")
    assert any(sentence.startswith("At 3 times that") for sentence in report.sentences)
    assert status_of(report) == 0


def test_every_probe_asks_at_other_moments_and_begins_with_a_warm_up() -> None:
    _, simulated = found(Desks(8, 0.2))

    seeds = [plan.seed for plan in simulated.plans.values()]
    assert len(set(seeds)) == len(seeds)
    for plan in simulated.plans.values():
        assert [stage.is_warm_up for stage in plan.stages][:2] == [True, False]
        assert {type(stage.arrivals) for stage in plan.stages} == {Poisson}


def test_bursts_stay_bursts_at_every_rate_and_are_safe_at_less() -> None:
    bursts = Stage(name="all", seconds=60, arrivals=Gamma(rate_per_s=5, burstiness=16))

    bursty, simulated = found(Desks(8, 0.2), plan=PLAN.model_copy(update={"stages": (bursts,)}))
    even, _ = found(Desks(8, 0.2))

    arrivals = [stage.arrivals for plan in simulated.plans.values() for stage in plan.stages]
    assert all(isinstance(one, Gamma) and one.burstiness == 16 for one in arrivals)
    assert bursty.safe_per_s is not None
    assert even.safe_per_s is not None
    assert bursty.safe_per_s < even.safe_per_s
    assert bursty.shape == "gamma"


def test_a_generator_that_is_late_is_named_as_the_limit() -> None:
    report, _ = found(Desks(800, 0.2), lag_s=lambda rate: 0.001 if rate < 100 else 2.0)

    assert (report.ending, report.is_at_least, report.failed_per_s) == ("generator", True, None)
    assert report.safe_per_s == 80
    assert report.sentences[0].startswith("At least 80 requests/s keep the promise")
    assert "the generator is the limit" in report.sentences[0]
    assert "What happens beyond was not looked at: the border was not reached." in report.sentences
    assert report.beyond == ()


def test_a_slow_server_is_not_excused_by_a_late_generator() -> None:
    report, _ = found(Desks(8, 0.2), lag_s=lambda _: 0.01)

    assert report.ending == "found"
    assert report.safe_per_s == pytest.approx(32, rel=0.15)


def test_a_promise_that_no_rate_keeps_is_told_and_ends_with_1() -> None:
    report, _ = found(Desks(8, 0.2, prefill_s=0.6), aim=Aim(start_per_s=4, least_per_s=1))

    assert (report.ending, report.safe_per_s, report.beyond) == ("nothing_holds", None, ())
    assert report.sentences == (
        "No load keeps the promise: even at 1 requests/s it is broken. Promised: 99 % of the requests have their first "
        "token (unstreamed: the whole answer) within 0.5 s.",
    )
    assert status_of(report) == 1


class Broken:
    """Answers nothing."""

    def __init__(self, error: str) -> None:
        self.error = error

    def serve(self, at_s: list[float], _: object) -> list[Served]:
        return [Served(0, 0, self.error) for _ in at_s]


def test_what_no_lower_rate_mends_ends_the_search_at_once() -> None:
    report, simulated = found(Broken("http_401"))

    assert (report.ending, len(simulated.plans)) == ("failed", 1)
    assert report.message == "not one request was answered at 5/s: http_401, the key is wrong or missing."
    assert status_of(report) == 1


def test_an_interrupt_keeps_what_was_found_so_far() -> None:
    report, _ = found(Desks(8, 0.2), interrupted_at=4)

    assert (report.ending, report.safe_per_s, report.failed_per_s) == ("interrupted", 20, None)
    assert len(report.probes) == 3
    assert report.is_at_least
    assert "The search was interrupted: this is what was known by then." in report.sentences
    assert status_of(report) == 130


def test_a_failure_in_the_middle_keeps_what_was_found_and_one_at_the_beginning_is_raised() -> None:
    simulated = Simulated(Desks(8, 0.2))

    def test(plan: Plan, name: str) -> Run:
        if name == "beyond":
            raise Unavailable("the stack has gone")
        return simulated(plan, name)

    report, _ = search(PLAN, AIM, test)
    assert (report.ending, report.message) == ("failed", "the stack has gone")
    assert report.safe_per_s is not None

    def gone(_: Plan, __: str) -> Run:
        raise Unavailable("the stack has gone")

    with pytest.raises(Unavailable):
        search(PLAN, AIM, gone)


def test_each_run_is_told_so_that_a_kill_loses_nothing() -> None:
    told: list[SearchReport] = []

    report, _ = search(PLAN, AIM, Simulated(Desks(8, 0.2)), told.append)

    assert [len(one.probes) for one in told] == [*range(1, len(report.probes) + 1), len(report.probes)]
    assert told[0].ending == "interrupted"
    assert told[-1] == report


def test_time_is_kept_for_what_lies_beyond() -> None:
    report, simulated = found(Desks(8, 0.2), aim=Aim(start_per_s=5, most_s=1400))

    assert report.beyond
    assert simulated.took_s <= 1500


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            {"stages": (Stage(name="d", seconds=9, arrivals=Day(peak_per_s=3)),)},
            "a search needs arrivals with one rate: stage 'd' has 'day'; take constant, poisson or gamma",
        ),
        (
            {"stages": (Stage(name="d", seconds=9, people=People(count=3)),)},
            "a search needs arrivals with one rate: stage 'd' has people (closed loop); take constant, poisson or "
            "gamma",
        ),
        ({"stages": PLAN.stages[:1]}, "all stages of the plan are warm-ups, so there is nothing to search the rate of"),
        (
            {"workload": Workload(in_order=True)},
            "workload.in_order ends once all questions are asked; a search asks for as long as it needs",
        ),
        (
            {"faults": ("kill-engine:small@30s",)},
            "a search is for a system in order; take `faults` out of the plan, or use `fenzhen loadtest run`",
        ),
    ],
)
def test_a_plan_without_a_rate_to_search_is_told_what_to_take(change: dict[str, object], said: str) -> None:
    with pytest.raises(UserError) as caught:
        found(Desks(8, 0.2), plan=PLAN.model_copy(update=change))
    assert str(caught.value) == said


def test_options_become_what_is_looked_for() -> None:
    assert shape_of(PLAN) == Poisson(rate_per_s=5)
    aim = aim_of(PLAN, None, 0.2, 30, 10)
    assert (aim.start_per_s, aim.precision_ratio, aim.longest_s, aim.most_s) == (5, 0.2, 150, 600)
    assert aim_of(PLAN, 0.5, 0.2, 30, 10).start_per_s == 0.5


def test_for_people_the_rates_are_listed_and_the_sentences_follow(capsys: pytest.CaptureFixture[str]) -> None:
    report, _ = found(Desks(8, 0.2), plan=PLAN.model_copy(update={"limits": Limits(drain_s=5)}))

    Output().result(None, view_of(report))

    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[:2] == ["rate/s", "requests"]
    rates = [float(line.split()[0]) for line in lines[1 : len(report.probes) + 1]]
    assert rates == sorted(rates)
    assert "Up to" in "\n".join(lines)
