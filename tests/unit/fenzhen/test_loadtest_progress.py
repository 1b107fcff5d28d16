"""How a load test is seen while it runs: on a terminal, and in a log."""

import io
from typing import Any

import pytest
from rich.console import Console

from fenzhen.loadtest_progress import LoadView
from loadtests.plan import People, Plan, Poisson, Stage
from loadtests.records.tick import Tick

PLAN = Plan(
    stages=(
        Stage(name="warm-up", seconds=10, arrivals=Poisson(rate_per_s=10), is_warm_up=True),
        Stage(name="office", seconds=50, arrivals=Poisson(rate_per_s=10)),
    )
)


def tick(at_s: int, **changes: Any) -> Tick:
    return Tick(at_s, 10, 10, 10, 0, 7, 0.001, 0.2, 300)._replace(**changes)


def shown(ticks: list[Tick], plan: Plan = PLAN, *, is_terminal: bool = False) -> str:
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=is_terminal, width=100, highlight=False)
    with LoadView(console, plan) as view:
        for one in ticks:
            view.show([one])
    return stream.getvalue()


def test_a_log_gets_a_line_every_five_seconds_and_one_at_the_end() -> None:
    lines = shown([tick(at_s) for at_s in range(60)]).splitlines()
    assert len(lines) == 13
    assert lines[0].startswith("warm-up, 0:01 of 1:00: 10.0/s due, 10.0/s done, 7 in flight, no errors, 300 tokens/s")
    assert lines[2].startswith("office, 0:11 of 1:00")
    assert lines[-1] == "600 sent, 600 answered, no errors, in 1:00"


def test_a_line_is_the_mean_of_the_last_seconds() -> None:
    ticks = [tick(at_s, due=20 if at_s == 5 else 10) for at_s in range(6)]
    assert "12.0/s due" in shown(ticks).splitlines()[1]


def test_after_the_last_stage_the_answers_are_waited_for() -> None:
    assert "drain, 1:01 of 1:00" in shown([tick(60, due=0, sent=0)])


def test_ticks_may_be_shown_twice_and_seconds_may_be_missing() -> None:
    stream = io.StringIO()
    with LoadView(Console(file=stream, width=100), PLAN) as view:
        view.show([])
        view.show([tick(0), tick(1)])
        view.show([tick(0), tick(1), tick(6)])
    assert "30 sent, 30 answered" in stream.getvalue()
    assert "4.0/s due" not in stream.getvalue().splitlines()[0]
    assert "2.0/s due" in stream.getvalue().splitlines()[1]


def test_errors_and_open_requests_are_summed_up() -> None:
    text = shown([tick(0, done=4, errors=1), tick(5, done=4)])
    assert "20 sent, 7 answered, 1 error, 12 still open, in 0:06" in text


def test_a_busy_generator_is_warned_of_once() -> None:
    text = shown([tick(at_s, cpu_ratio=0.97) for at_s in range(30)])
    assert text.count("warning: the generator is the limit: a process of it uses 97% of a core") == 1


def test_one_late_second_is_no_warning_but_three_are() -> None:
    assert "warning" not in shown([tick(at_s, lag_max_s=0.2 if at_s == 3 else 0.001) for at_s in range(30)])
    assert "the generator sends late: by up to 200 ms" in shown([tick(at_s, lag_max_s=0.2) for at_s in range(30)])


def test_a_queue_that_only_grows_is_said_while_it_grows() -> None:
    ticks = [tick(at_s, done=5, in_flight=7 + 5 * at_s) for at_s in range(50)]
    assert "warning: The queue only grows" in shown(ticks)
    people = Plan(stages=(Stage(name="people", seconds=60, people=People(count=9)),))
    assert "only grows" not in shown(ticks, people)


@pytest.mark.parametrize("count", [1, 2, 61])
def test_on_a_terminal_the_view_moves_and_goes_away_at_the_end(count: int) -> None:
    text = shown([tick(at_s, in_flight=at_s) for at_s in range(count)], is_terminal=True)
    assert "\x1b[" in text
    assert "in flight" in text
    assert f"{10 * count:,} sent" in text.splitlines()[-1]


def test_what_is_said_in_between_is_seen_as_it_is() -> None:
    for is_terminal in (False, True):
        stream = io.StringIO()
        with LoadView(Console(file=stream, force_terminal=is_terminal, width=100), PLAN) as view:
            view.show([tick(0)])
            view.say("30 s: killed [engine] small-1")
        assert "30 s: killed [engine] small-1" in stream.getvalue()


def test_a_run_that_never_began_says_nothing() -> None:
    assert shown([]) == ""
