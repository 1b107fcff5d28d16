"""Small parts of the generator: its clock, its greenlets, who leads, and how a worker finds its master."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import gevent
import pytest

from cluster.errors import UserError
from fenzhen.loadtest_worker import address_of
from loadtests.asking.alarm import Alarm
from loadtests.asking.gathering import Total
from loadtests.asking.greenlets import Greenlets
from loadtests.asking.leader import Leader
from loadtests.asking.messages import BEGIN, ENDED, FAILED, PLAN, READY, SECOND, STOP
from loadtests.plan import Constant, Plan, Stage
from loadtests.records.tick import Tick


def test_an_alarm_never_rings_early() -> None:
    alarm = Alarm()
    for wait_s in (0.0004, 0.003, 0.0, -1.0):
        at_s = time.perf_counter() + wait_s
        alarm.sleep_until(at_s)
        assert time.perf_counter() >= at_s
    alarm.close()
    alarm.close()


def test_while_an_alarm_waits_others_run() -> None:
    alarm = Alarm()
    done: list[int] = []
    gevent.spawn(done.append, 1)
    alarm.sleep_until(time.perf_counter() - 1)
    assert done == [1]
    alarm.close()


def test_work_that_is_begun_runs_before_the_one_who_begins_it_goes_on() -> None:
    order: list[str] = []

    def work(name: str) -> None:
        order.append(name)
        gevent.sleep(0.01)

    group = Greenlets(lambda: None)
    group.spawn(work, "spawned")
    group.begin(work, "begun")
    order.append("caller")
    assert group.join(10)
    assert order[0] == "begun"
    assert sorted(order) == ["begun", "caller", "spawned"]


def test_the_first_exception_of_a_group_is_kept_and_told() -> None:
    told: list[bool] = []
    group = Greenlets(lambda: told.append(True))

    def fail(error: Exception) -> None:
        raise error

    group.begin(fail, KeyError("first"))
    group.begin(fail, ValueError("second"))
    assert group.join(10)
    assert isinstance(group.fault, KeyError)
    assert told == [True]


@pytest.mark.parametrize(
    ("master", "address"),
    [
        ("lab-3", ("lab-3", 5557)),
        ("10.0.0.5:6000", ("10.0.0.5", 6000)),
        ("[::1]:6000", ("::1", 6000)),
        ("[::1]", ("::1", 5557)),
        ("::1", ("::1", 5557)),
    ],
)
def test_a_master_is_a_host_and_maybe_a_port(master: str, address: tuple[str, int]) -> None:
    assert address_of(master) == address


@pytest.mark.parametrize("master", ["", ":5557", "lab-3:", "lab-3:none", "lab-3:70000"])
def test_what_is_no_master_is_refused(master: str) -> None:
    with pytest.raises(UserError, match="must be HOST or HOST:PORT"):
        address_of(master)


@dataclass
class Note:
    """A message."""

    data: Any
    node_id: str


@dataclass
class FakeChannel:
    """Workers that do as they are told by `does`: kind of message → what they answer."""

    does: dict[str, Callable[[str, Any], list[tuple[str, Any]]]] = field(default_factory=dict)
    listeners: dict[str, Callable[..., None]] = field(default_factory=dict)
    sent: list[tuple[str, str]] = field(default_factory=list)

    def register_message(self, msg_type: str, listener: Callable[..., None]) -> None:
        self.listeners[msg_type] = listener

    def send_message(self, msg_type: str, data: Any = None, client_id: str | None = None) -> None:
        assert client_id is not None
        self.sent.append((msg_type, client_id))
        answers = self.does[msg_type](client_id, data) if msg_type in self.does else []
        for kind, answer in answers:
            gevent.spawn(self.listeners[kind], msg=Note(answer, client_id))


@dataclass
class FakeListener:
    """Remembers."""

    told: list[Any] = field(default_factory=list)
    lines: bytes = b""

    def began(self, unix_s: float, workers: int) -> None:
        self.told.append(("began", workers))

    def samples(self, lines: bytes) -> None:
        self.lines += lines

    def ticks(self, ticks: Sequence[Tick]) -> None:
        self.told += [("second", tick.at_s, tick.due) for tick in ticks]

    def over(self, total: Total) -> None:
        self.told.append(total.outcome)

    def failed(self, text: str, *, is_users: bool) -> None:
        self.told.append((text, is_users))


END = {"gaps": [[0, "small", [[7, 1]]]], "unsettled": 0, "note": ""}
PLAN_OF_ONE = Plan(stages=(Stage(name="one", seconds=1, arrivals=Constant(rate_per_s=1)),))


def second(at_s: int) -> dict[str, Any]:
    return {"lines": b"[]\n", "tick": [at_s, 2, 2, 2, 0, 0, 0.0, 0.1, 5]}


def led(channel: FakeChannel, missing: Callable[[], Sequence[str]] = lambda: ()) -> FakeListener:
    listener = FakeListener()
    Leader(channel, PLAN_OF_ONE, listener, is_local=True).run("http://nowhere", ["a", "b"], missing)
    return listener


def test_all_workers_begin_when_the_last_one_is_ready() -> None:
    channel = FakeChannel(
        {
            PLAN: lambda name, data: [(READY, {})],
            BEGIN: lambda name, data: [(SECOND, second(0)), (SECOND, second(1)), (ENDED, END)],
        }
    )
    listener = led(channel)
    assert listener.told == [("began", 2), ("second", 0, 4), ("second", 1, 4), "finished"]
    assert listener.lines == b"[]\n" * 4
    assert channel.sent == [(PLAN, "a"), (PLAN, "b"), (BEGIN, "a"), (BEGIN, "b")]


def test_each_worker_is_told_its_part() -> None:
    parts: list[tuple[int, int]] = []

    def take(name: str, data: Any) -> list[tuple[str, Any]]:
        parts.append((data["worker"], data["workers"]))
        assert data["url"] == "http://nowhere"
        assert Plan.model_validate_json(data["plan"]) == PLAN_OF_ONE
        return [(FAILED, {"text": "enough", "is_users": True})]

    assert led(FakeChannel({PLAN: take})).told == [("enough", True)]
    assert parts == [(0, 2), (1, 2)]


def test_a_worker_that_breaks_ends_the_run_for_all() -> None:
    channel = FakeChannel(
        {
            PLAN: lambda name, data: [(READY, {})],
            BEGIN: lambda name, data: [(FAILED, {"text": "a bug", "is_users": False})] if name == "a" else [],
        }
    )
    assert led(channel).told == [("began", 2), ("a bug", False)]
    assert (STOP, "b") in channel.sent


def test_workers_that_go_away_before_the_load_begins_are_told() -> None:
    channel = FakeChannel({PLAN: lambda name, data: [(READY, {})] if name == "a" else []})
    assert led(channel, lambda: ["b"]).told == [("1 of 2 workers went away before the load began", False)]


def test_an_interrupt_before_the_begin_sends_nothing() -> None:
    channel = FakeChannel()
    listener = FakeListener()
    leader = Leader(channel, PLAN_OF_ONE, listener, is_local=True)
    leader.interrupt()
    leader.run("http://nowhere", ["a"], lambda: ())
    assert listener.told == ["interrupted"]
    assert channel.sent == [(PLAN, "a")]
    assert not leader.is_running
