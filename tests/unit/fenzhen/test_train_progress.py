"""How far a training run is, in lines and in a bar."""

import io
import os
import signal

import pytest
from rich.console import Console

from fenzhen.train_progress import LineWatch, run_reporter
from fenzhen.train_stop import StopRequest
from training.plan import time_words
from training.watch import Step


def step(number: int, loss: float = 0.5) -> Step:
    return Step(number, loss, 1e-4, 1.0, 10 * number, 640.0)


class Clock:
    """Seconds that pass when they are told to."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def test_lines_come_at_tenths_and_not_more_often_than_can_be_read() -> None:
    said: list[str] = []
    clock = Clock()
    watch = LineWatch(said.append, clock)
    watch.began(100, 1)
    for number in range(1, 101):
        clock.now_s += 1.0
        watch.step(step(number))

    assert said[0] == "training: 100 steps"
    assert said[1] == "  step 10 of 100, 10%, loss 0.5000, 640 tokens/s, 90 s left"
    assert len(said) == 11
    assert said[-1] == "  done, 100 steps, loss 0.5000, 640 tokens/s, in 100 s"


def test_slow_steps_are_told_every_quarter_of_a_minute() -> None:
    said: list[str] = []
    clock = Clock()
    watch = LineWatch(said.append, clock)
    watch.began(1000, 1)
    for number in (1, 2, 3):
        clock.now_s += 20.0
        watch.step(step(number))

    assert len(said) == 4
    assert said[-1].endswith("5.5 h left")


def test_a_resumed_run_counts_its_time_left_from_where_it_goes_on() -> None:
    said: list[str] = []
    clock = Clock()
    watch = LineWatch(said.append, clock)
    watch.began(100, 81)
    clock.now_s = 20.0
    watch.step(step(90))

    assert said == [
        "training: 100 steps, going on with step 81",
        "  step 90 of 100, 90%, loss 0.5000, 640 tokens/s, 20 s left",
    ]


def test_a_held_out_loss_is_told_when_it_is_measured() -> None:
    said: list[str] = []
    LineWatch(said.append).measured({"eval_loss": 1.25}, 40)

    assert said == ["  after step 40: held-out loss 1.2500"]


@pytest.mark.parametrize(("seconds", "said"), [(40, "40 s"), (720, "12 min"), (12600, "3.5 h")])
def test_times_are_said_as_people_say_them(seconds: float, said: str) -> None:
    assert time_words(seconds) == said


@pytest.mark.parametrize("is_terminal", [False, True])
def test_on_a_terminal_there_is_a_bar_and_the_same_first_and_last_lines(is_terminal: bool) -> None:
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=is_terminal, width=100, highlight=False)
    with run_reporter(console) as watch:
        watch.note("base: small")
        watch.began(2, 1)
        watch.step(step(1))
        watch.step(step(2, 0.25))
    text = stream.getvalue()

    assert "base: small" in text
    assert "training: 2 steps" in text
    assert "done, 2 steps, loss 0.2500" in text
    assert ("\x1b[" in text) == is_terminal


def test_the_first_signal_asks_and_the_second_ends() -> None:
    said: list[str] = []
    stop = StopRequest(said.append)

    def training() -> bool:
        assert not stop()
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop()
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
        return True

    with stop.listening():
        assert stop.polled(training)()

    assert said == ["saving a checkpoint and stopping; the same again ends at once"]


def test_what_does_not_ask_is_ended_by_the_first_signal() -> None:
    stop = StopRequest(lambda line: None)
    before = signal.getsignal(signal.SIGTERM)

    with stop.listening(), pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGTERM)

    assert signal.getsignal(signal.SIGTERM) is before
