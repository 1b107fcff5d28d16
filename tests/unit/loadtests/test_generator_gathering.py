"""Several workers become one run."""

from collections.abc import Sequence

from loadtests.asking.gathering import Gathering
from loadtests.records.tick import Tick


def tick(at_s: int, due: int = 1, lag_s: float = 0.0, cpu: float = 0.1) -> Tick:
    return Tick(at_s, due, due, due, 0, 2, lag_s, cpu, 10)


def gathering(*names: str) -> tuple[Gathering, list[Tick]]:
    told: list[Tick] = []

    def tell(ticks: Sequence[Tick]) -> None:
        told.extend(ticks)

    return Gathering(names, tell), told


def test_a_second_is_told_when_all_workers_have_closed_it() -> None:
    run, told = gathering("a", "b")
    run.second("a", tick(0, due=3, lag_s=0.002))
    run.second("a", tick(1))
    assert told == []
    run.second("b", tick(0, due=4, lag_s=0.001, cpu=0.9))
    assert told == [Tick(0, 7, 7, 7, 0, 4, 0.002, 0.9, 20)]


def test_a_worker_that_has_ended_is_not_waited_for() -> None:
    run, told = gathering("a", "b")
    run.second("a", tick(0))
    run.ended("a", {}, 0, "")
    run.second("b", tick(0))
    run.second("b", tick(1))
    assert [one.at_s for one in told] == [0, 1]
    run.ended("b", {}, 0, "")
    assert run.is_over


def test_without_a_lost_worker_the_run_goes_on_and_the_message_says_so() -> None:
    run, told = gathering("a", "b")
    for at_s in range(3):
        run.second("a", tick(at_s))
    run.second("b", tick(0))
    run.lost("b")
    assert [one.at_s for one in told] == [0, 1, 2]
    assert run.running == ("a",)
    run.ended("a", {}, 0, "")
    total = run.total(is_interrupted=False, saturated=None)
    assert total.outcome == "finished"
    assert total.message == "1 of 2 workers went away after 1 s: their load is missing since."
    assert total.workers == 2


def test_with_all_workers_gone_the_run_has_failed() -> None:
    run, _ = gathering("a", "b")
    run.lost("a")
    run.lost("b")
    assert run.is_over
    assert run.total(is_interrupted=False, saturated=None).outcome == "failed"


def test_a_worker_that_was_thought_lost_is_heard_again() -> None:
    run, told = gathering("a", "b")
    run.second("a", tick(0))
    run.second("a", tick(1))
    run.lost("b")
    assert [one.at_s for one in told] == [0, 1]
    # Its late second is not told twice, and not forgotten.
    run.second("b", tick(0, due=5))
    run.second("a", tick(2, due=3))
    run.second("b", tick(2, due=1))
    assert [(one.at_s, one.due) for one in told] == [(0, 1), (1, 1), (2, 9)]


def test_gaps_are_added_by_stage_and_model() -> None:
    run, _ = gathering("a", "b")
    run.ended("a", {(0, "small"): {100: 2, 101: 1}, (1, "small"): {90: 1}}, 0, "")
    run.ended("b", {(0, "small"): {100: 3}, (0, "large"): {200: 7}}, 0, "")
    total = run.total(is_interrupted=False, saturated=None)
    assert total.gaps == {(0, "small"): {100: 5, 101: 1}, (1, "small"): {90: 1}, (0, "large"): {200: 7}}
    assert total.message == ""


def test_the_outcome_tells_why_a_run_ended_early() -> None:
    run, _ = gathering("a")
    run.ended("a", {}, 4, "")
    saturated = run.total(is_interrupted=False, saturated=(12.0, "The queue only grows."))
    assert (saturated.outcome, saturated.saturated_at_s) == ("saturated", 12.0)
    assert saturated.message.startswith("The queue only grows. 4 requests were in flight")
    assert run.total(is_interrupted=True, saturated=(12.0, "The queue only grows.")).outcome == "interrupted"


def test_what_the_workers_machines_could_not_do_is_said_once() -> None:
    run, _ = gathering("a", "b")
    run.ended("a", {}, 0, "no more open files")
    run.ended("b", {}, 0, "no more open files")
    assert run.total(is_interrupted=False, saturated=None).message == "The generator: no more open files."


def test_strangers_are_not_listened_to() -> None:
    run, told = gathering("a")
    run.second("b", tick(0))
    run.ended("b", {}, 0, "")
    assert told == []
    assert not run.is_over
