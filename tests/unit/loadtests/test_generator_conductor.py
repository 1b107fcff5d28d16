"""One worker's part of a run, with an asker that only waits."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import gevent
import pytest

from loadtests.arrivals.arrival import Arrival
from loadtests.asking.conductor import Conductor, Ending
from loadtests.asking.ledger import unanswered
from loadtests.plan import Constant, Limits, People, Plan, Stage, Workload
from loadtests.records.gaps import Gaps
from loadtests.records.sample import Sample, read_samples
from loadtests.records.tick import Tick
from loadtests.workload.answer import Answer
from loadtests.workload.turn import Turn

SOON_S = 0.05


def turn_of(number: int) -> Turn:
    return Turn("chat", 0, number, f"q{number}", "en", "easy", "hotline", "blue", "auto", b"{}", (), False, None)


@dataclass
class FakeCrowd:
    """Everybody asks one question; `questions`: so many there are."""

    questions: int = 1_000_000
    given: int = 0
    answers: list[Answer] = field(default_factory=list)

    @property
    def is_exhausted(self) -> bool:
        return self.given >= self.questions

    def begin(self) -> Turn:
        if self.is_exhausted:
            raise IndexError
        self.given += 1
        return turn_of(self.given)

    def due(self, arrival: Arrival) -> Turn:
        return self.begin()

    def answered(self, turn: Turn, answer: Answer, now_s: float) -> None:
        self.answers.append(answer)

    def follow(self, turn: Turn, answer: Answer) -> tuple[Turn, float] | None:
        self.answers.append(answer)
        return None


@dataclass
class FakeAsker:
    """Answers after a while."""

    answer_s: float = 0.0
    error: str = ""
    note: str = ""
    pieces: int = 0
    gaps: dict[tuple[int, str], Gaps] = field(default_factory=dict)
    asked: int = 0
    most_at_once: int = 0
    at_once: int = 0
    is_closed: bool = False

    def ask(self, turn: Turn, stage: int, due_s: float | None, clock_zero_s: float) -> tuple[Sample, Answer]:
        self.asked += 1
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        at_s = time.perf_counter() - clock_zero_s
        try:
            gevent.sleep(self.answer_s)
        finally:
            self.at_once -= 1
        sample = unanswered(turn, stage, 0, at_s if due_s is None else due_s, 0.0, self.error)
        return sample._replace(e2e_s=self.answer_s, ttft_s=self.answer_s), Answer("yes", error=self.error)

    def close(self) -> None:
        self.is_closed = True


@dataclass
class Ran:
    ending: Ending
    samples: list[Sample]
    ticks: list[Tick]
    seen: list[Sample]
    seconds: float


def conductor_of(
    plan: Plan, crowd: FakeCrowd, asker: FakeAsker, arrivals: Iterator[Arrival] | None = None
) -> tuple[Conductor, Callable[[], Ran]]:
    lines: list[bytes] = []
    ticks: list[Tick] = []
    seen: list[Sample] = []

    def report(data: bytes, tick: Tick) -> None:
        lines.append(data)
        ticks.append(tick)

    if arrivals is None:
        arrivals = evenly(plan)
    conductor = Conductor(plan, crowd, arrivals, asker, report, seen.append)

    def run() -> Ran:
        begin_s = time.perf_counter()
        ending = conductor.run(begin_s + SOON_S)
        samples = list(read_samples(b"".join(lines).splitlines(keepends=True)))
        return Ran(ending, samples, ticks, seen, time.perf_counter() - begin_s)

    return conductor, run


def evenly(plan: Plan) -> Iterator[Arrival]:
    begin_s = 0.0
    for index, stage in enumerate(plan.stages):
        if isinstance(stage.arrivals, Constant):
            rate = stage.arrivals.rate_per_s
            yield from (Arrival(begin_s + number / rate, index) for number in range(round(stage.seconds * rate)))
        begin_s += stage.seconds


def plan_of(*stages: Stage, limits: Limits = Limits(), kinds: dict[str, float] | None = None) -> Plan:  # noqa: B008
    return Plan(stages=stages, limits=limits, workload=Workload.model_validate({"kinds": kinds or {"chat": 1}}))


def open_loop(rate: float, seconds: float) -> Stage:
    return Stage(name="open", seconds=seconds, arrivals=Constant(rate_per_s=rate))


def closed_loop(people: int, seconds: float, ramp_s: float = 0.0) -> Stage:
    return Stage(name="closed", seconds=seconds, people=People(count=people, ramp_s=ramp_s))


def test_every_arrival_is_one_request_and_one_sample() -> None:
    _, run = conductor_of(plan_of(open_loop(100, 1.2)), FakeCrowd(), asker := FakeAsker(answer_s=0.01))
    ran = run()
    assert (len(ran.samples), asker.asked, len(ran.seen)) == (120, 120, 120)
    assert {sample.person for sample in ran.samples} == set(range(1, 121))
    assert sum(tick.due for tick in ran.ticks) == sum(tick.sent for tick in ran.ticks) == 120
    assert sum(tick.done for tick in ran.ticks) == 120
    assert [tick.at_s for tick in ran.ticks] == list(range(len(ran.ticks)))
    assert ran.ticks[-1].in_flight == 0
    assert asker.is_closed


def test_a_slow_server_cannot_hold_back_the_schedule() -> None:
    _, run = conductor_of(plan_of(open_loop(50, 1)), FakeCrowd(), asker := FakeAsker(answer_s=1.5))
    ran = run()
    # All were on their way before the first answer came.
    assert asker.most_at_once == 50
    assert all(not sample.error for sample in ran.samples)


def test_requests_are_made_ready_ahead_only_where_no_answer_decides_what_is_asked() -> None:
    for kinds, is_ahead in (({"chat": 1.0, "conversation": 0.0}, True), ({"chat": 1.0, "agent": 1.0}, False)):
        crowd = FakeCrowd()
        _, run = conductor_of(plan_of(open_loop(20, 0.5), kinds=kinds), crowd, FakeAsker())
        given: list[int] = []
        gevent.spawn_later(SOON_S + 0.1, lambda given=given, crowd=crowd: given.append(crowd.given))
        run()
        assert (given[0] == 10) is is_ahead


def test_beyond_the_limit_a_request_is_not_sent_and_counts_as_an_error() -> None:
    crowd = FakeCrowd()
    plan = plan_of(open_loop(50, 0.4), limits=Limits(max_in_flight=5))
    _, run = conductor_of(plan, crowd, asker := FakeAsker(answer_s=1.0))
    ran = run()
    assert asker.most_at_once == 5
    assert [sample.error for sample in ran.samples].count("not_sent") == 15
    # The crowd hears of it: a conversation that waits for an answer would wait for ever.
    assert [answer.error for answer in crowd.answers].count("not_sent") == 15
    assert sum(tick.errors for tick in ran.ticks) == 15
    assert sum(tick.due - tick.sent for tick in ran.ticks) == 15


def test_what_is_unanswered_when_the_drain_is_over_has_timed_out() -> None:
    plan = plan_of(open_loop(10, 0.5), limits=Limits(drain_s=0.2))
    _, run = conductor_of(plan, FakeCrowd(), FakeAsker(answer_s=60))
    ran = run()
    assert [sample.error for sample in ran.samples] == ["timeout"] * 5
    assert ran.seconds < 10
    assert ran.ticks[-1].in_flight == 0


def test_an_interrupt_gives_up_what_is_in_flight_without_a_sample() -> None:
    conductor, run = conductor_of(plan_of(open_loop(10, 60)), FakeCrowd(), FakeAsker(answer_s=30))
    gevent.spawn_later(0.6, conductor.stop, cut=True)
    ran = run()
    assert ran.samples == []
    assert ran.ending.unsettled > 0
    assert ran.seconds < 10


def test_an_early_end_sends_nothing_more_and_waits_for_answers() -> None:
    conductor, run = conductor_of(plan_of(open_loop(10, 60)), FakeCrowd(), FakeAsker(answer_s=0.7))
    gevent.spawn_later(0.6, lambda: conductor.stop(cut=False))
    ran = run()
    assert 0 < len(ran.samples) < 60
    assert all(not sample.error for sample in ran.samples)
    assert ran.ending.unsettled == 0


def test_people_ask_again_once_they_are_answered() -> None:
    _, run = conductor_of(plan_of(closed_loop(3, 1.0)), FakeCrowd(), asker := FakeAsker(answer_s=0.1))
    ran = run()
    assert asker.most_at_once == 3
    # Three people with a tenth of a second each; on a slow machine fewer.
    assert 3 < len(ran.samples) <= 33
    assert all(sample.lag_s == 0 for sample in ran.samples)
    assert sum(tick.due for tick in ran.ticks) == len(ran.samples)


def test_people_come_over_the_ramp() -> None:
    _, run = conductor_of(plan_of(closed_loop(4, 1.0, ramp_s=0.8)), FakeCrowd(), FakeAsker(answer_s=1))
    ran = run()
    begins = sorted(sample.at_s for sample in ran.samples)
    assert [begin >= 0.2 * number - 0.01 for number, begin in enumerate(begins)] == [True] * 4


def test_whoever_waits_when_the_stage_ends_still_gets_the_answer() -> None:
    _, run = conductor_of(plan_of(closed_loop(2, 0.3)), FakeCrowd(), FakeAsker(answer_s=0.8))
    ran = run()
    assert [sample.error for sample in ran.samples] == ["", ""]


def test_people_who_are_refused_do_not_ask_thousands_of_times() -> None:
    _, run = conductor_of(plan_of(closed_loop(2, 1.5)), FakeCrowd(), FakeAsker(error="refused"))
    assert len(run().samples) <= 4


def test_stages_follow_each_other() -> None:
    plan = plan_of(open_loop(20, 0.5), closed_loop(1, 0.5), open_loop(20, 0.5))
    _, run = conductor_of(plan, FakeCrowd(), FakeAsker(answer_s=0.05))
    ran = run()
    by_stage = [[sample for sample in ran.samples if sample.stage == stage] for stage in range(3)]
    assert (len(by_stage[0]), len(by_stage[2])) == (10, 10)
    assert by_stage[1]
    assert all(0.5 <= sample.at_s < 1.0 for sample in by_stage[1])


@pytest.mark.parametrize("stage", [open_loop(50, 60), closed_loop(3, 60)])
def test_the_run_ends_when_every_question_has_been_asked(stage: Stage) -> None:
    _, run = conductor_of(plan_of(stage), FakeCrowd(questions=7), FakeAsker(answer_s=0.05))
    ran = run()
    assert sorted(sample.question for sample in ran.samples) == sorted(f"q{number}" for number in range(1, 8))
    assert ran.seconds < 20


def test_a_bug_ends_the_run_instead_of_losing_a_sample() -> None:
    @dataclass
    class Broken(FakeAsker):
        def ask(self, turn: Turn, stage: int, due_s: float | None, clock_zero_s: float) -> tuple[Sample, Answer]:
            raise ZeroDivisionError("a bug")

    _, run = conductor_of(plan_of(open_loop(10, 60)), FakeCrowd(), Broken())
    with pytest.raises(ZeroDivisionError):
        run()


def test_a_generator_that_is_behind_sends_all_that_was_due() -> None:
    # All at once: far more than is sent between two looks at the clock.
    arrivals = iter([Arrival(0.0, 0)] * 500)
    _, run = conductor_of(plan_of(open_loop(1, 0.1)), FakeCrowd(), FakeAsker(answer_s=0.2), arrivals)
    ran = run()
    assert len(ran.samples) == 500
    assert all(not sample.error for sample in ran.samples)
