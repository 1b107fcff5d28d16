"""A simulated server tells how often the detector is wrong and how soon it is right."""

import heapq
import itertools
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import pytest

from loadtests.judging.saturation import saturation
from loadtests.records.tick import Tick


def ticks_of(moments_s: Iterable[tuple[float, float]], seconds: int) -> list[Tick]:
    """Ticks of requests, each given by when it is due and when it is answered."""
    due, done = [0] * seconds, [0] * seconds
    for due_s, done_s in moments_s:
        if due_s < seconds:
            due[int(due_s)] += 1
        if done_s < seconds:
            done[int(done_s)] += 1
    in_flight = itertools.accumulate(a - b for a, b in zip(due, done, strict=True))
    return [
        Tick(at_s, due[at_s], due[at_s], done[at_s], 0, waiting, 0.0, 0.1, 0) for at_s, waiting in enumerate(in_flight)
    ]


def served(
    load_at: Callable[[float], float], server: "Server", seconds: int, seed: int, burstiness: float = 1.0
) -> list[Tick]:
    """A queue before a server, first come first served. `load_at`: the load at a moment, 1 is all that it can take;
    `burstiness`: squared coefficient of variation of the gaps between arrivals, as in a plan."""
    draw = random.Random(seed)
    free_s = [0.0] * server.places
    now_s, moments = 0.0, []
    while now_s < seconds:
        rate = load_at(now_s) * server.capacity_rps
        if rate <= 0:
            now_s += 0.05
            continue
        done_s = max(now_s, free_s[0]) + server.answer_s(draw)
        heapq.heapreplace(free_s, done_s)
        moments.append((now_s, done_s))
        now_s += draw.gammavariate(1 / burstiness, burstiness / rate)
    return ticks_of(moments, seconds)


@dataclass(frozen=True)
class Server:
    """So many answers at once, each for a time of its own."""

    places: int
    mean_s: float
    answer_s: Callable[[random.Random], float]

    @property
    def capacity_rps(self) -> float:
        return self.places / self.mean_s


def exponential(places: int, mean_s: float) -> Server:
    return Server(places, mean_s, lambda draw: draw.expovariate(1 / mean_s))


def even(places: int, mean_s: float) -> Server:
    return Server(places, mean_s, lambda _: mean_s)


# Nine of ten answers are short, one is long.
MIXED = Server(64, 1.63, lambda draw: draw.expovariate(1 / 0.7 if draw.random() < 0.9 else 1 / 10))
SERVERS = {
    "16 at once, 1 s": exponential(16, 1),
    "64 at once, 2 s": exponential(64, 2),
    "200 at once, 5 s": exponential(200, 5),
    "128 at once, 20 s": exponential(128, 20),
    "64 at once, short and long": MIXED,
    "8 at once, 0.5 s each": even(8, 0.5),
    "2 at once, 2 s": exponential(2, 2),
}


def first_alarm_s(ticks: list[Tick]) -> int | None:
    """Asked every second, as a run does."""
    return next((end for end in range(1, len(ticks) + 1) if saturation(ticks[:end])), None)


def even_load(load: float) -> Callable[[float], float]:
    return lambda _: load


def alarms_s(load_at: Callable[[float], float], server: Server, seconds: int, runs: int, **more: float) -> list[int]:
    """The moments of the first alarms of so many runs, those without one left out."""
    found = [first_alarm_s(served(load_at, server, seconds, seed, **more)) for seed in range(runs)]
    return [at_s for at_s in found if at_s is not None]


def test_a_server_that_can_take_the_load_is_not_called_saturated() -> None:
    # 60 runs of 3 min, up to 95 % of what the servers can take. docs/load-figures.md has the figures of many more.
    names = ("16 at once, 1 s", "64 at once, 2 s", "8 at once, 0.5 s each", "2 at once, 2 s")
    alarms = [
        alarm
        for load in (0.8, 0.9, 0.95)
        for name in names
        for alarm in alarms_s(even_load(load), SERVERS[name], 180, 5)
    ]
    assert len(alarms) <= 1


def test_bursts_that_the_server_can_take_are_no_saturation() -> None:
    assert alarms_s(even_load(0.8), SERVERS["64 at once, 2 s"], 180, 6, burstiness=4.0) == []


@pytest.mark.parametrize(
    ("load", "name", "at_most_s"),
    [
        (3.0, "16 at once, 1 s", 25),
        (3.0, "64 at once, 2 s", 20),
        (3.0, "8 at once, 0.5 s each", 15),
        (1.5, "64 at once, 2 s", 40),
        (1.5, "8 at once, 0.5 s each", 30),
        (1.1, "64 at once, 2 s", 300),
    ],
)
def test_too_much_load_is_told_early(load: float, name: str, at_most_s: int) -> None:
    alarms = alarms_s(even_load(load), SERVERS[name], 300, 5)
    assert len(alarms) == 5
    assert max(alarms) <= at_most_s


def test_nothing_is_told_before_answers_come() -> None:
    ticks = [Tick(at_s, 10, 10, 0, 0, 10 * (at_s + 1), 0.0, 0.1, 0) for at_s in range(60)]
    assert saturation(ticks) is None
    assert saturation([]) is None


def test_errors_alone_are_no_flow_of_answers() -> None:
    ticks = [Tick(at_s, 10, 10, 2, 2, 8 * (at_s + 1), 0.0, 0.1, 0) for at_s in range(60)]
    assert saturation(ticks) is None


def test_the_first_answers_of_a_slow_server_are_no_saturation() -> None:
    # In flight grows for half a minute until as many answers come as are due.
    assert alarms_s(even_load(0.7), even(200, 30), 120, 5) == []


def test_a_ramp_that_the_server_follows_is_no_saturation_but_one_beyond_it_is() -> None:
    server = SERVERS["64 at once, 2 s"]
    assert alarms_s(lambda at_s: 0.1 + 0.8 * at_s / 180, server, 180, 5) == []
    beyond = alarms_s(lambda at_s: 0.1 + 2.4 * at_s / 180, server, 180, 5)
    assert len(beyond) == 5
    # All that it can take is due at 68 s.
    assert min(beyond) > 68


def test_a_step_that_the_server_can_take_is_no_saturation() -> None:
    assert alarms_s(lambda at_s: 0.3 if at_s < 60 else 0.9, SERVERS["200 at once, 5 s"], 150, 5) == []


def test_a_queue_that_is_worked_off_is_no_saturation_any_more() -> None:
    ticks = served(lambda at_s: 3.0 if at_s < 40 else 0.2, SERVERS["64 at once, 2 s"], 200, 1)
    assert saturation(ticks[:40]) is not None
    assert saturation(ticks) is None


def test_a_server_that_breaks_after_a_good_hour_is_noticed_within_a_minute() -> None:
    hour = served(even_load(0.5), SERVERS["16 at once, 1 s"], 3600, 1)
    stuck = [Tick(3600 + i, 8, 8, 2, 0, hour[-1].in_flight + 6 * (i + 1), 0.0, 0.1, 0) for i in range(60)]
    assert saturation(hour) is None
    assert first_alarm_s([*hour[-600:], *stuck]) is not None


def test_what_the_generator_may_not_send_waits_as_well() -> None:
    ticks = [Tick(at_s, 30, 10, 30, 20, 500, 0.0, 0.1, 0) for at_s in range(60)]
    assert saturation(ticks) is not None


def test_the_sentence_says_how_much_was_due_and_how_much_was_done() -> None:
    ticks = [Tick(at_s, 30, 30, 10, 0, 20 * (at_s + 1), 0.0, 0.1, 0) for at_s in range(60)]
    found = saturation(ticks)
    assert found is not None
    assert (found.due_rps, found.done_rps) == (30.0, 10.0)
    assert found.at_s == 60.0
    assert "30 requests a second were due and 10 a second came back" in found.sentence
