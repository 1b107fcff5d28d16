"""What is remembered of a request in passing, whose fault a failure is, and that memory stays bounded."""

import gc

import pytest

from cluster.outcomes import Fault
from cluster.traffic import Side
from router.http_request import Request
from router.openai_request import ApiRequest
from router.outcome_record import Record
from router.policy import AUTO
from router.splits import Drawn
from router.watched import MAX_ANSWER_BYTES, MAX_RAW_BYTES, PATIENCE_S, Watched
from router.watching import Watching
from tests.fakes.drawing import FakeClient, split, to_canary, to_stable, traffic

RAW = b'{"model": "small", "messages": [{"role": "user", "content": "hello"}]}'
LINES = b"content-type: application/json\r\nx-fenzhen-model: large\r\n"


class Clock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.at_s = 100.0

    def now_s(self) -> float:
        return self.at_s


class Desk:
    """Watches requests to `small`."""

    def __init__(self, drift_ratio: float = 0.0, max_held_bytes: int = 10_000_000) -> None:
        self.clock = Clock()
        self.watching = Watching(
            self.clock,
            {"small": 0.5, "large": 7.0},
            drift_ratio,
            max_held_bytes,
        )
        self.client = FakeClient()
        self.watching.update(traffic(split()))

    def client_for(
        self, model: str = "small", headers: dict[bytes, bytes] | None = None, raw: bytes = RAW
    ) -> Watched | None:
        request = Request(b"POST", b"/", headers or {}, raw, True, False)
        return self.watching.client_for(request, ApiRequest("chat", None, model, True), None, self.client)

    def ask(self, drawn: Drawn | None = None, **more: object) -> Watched:
        client = self.client_for(**more)  # type: ignore[arg-type]
        assert client is not None
        if drawn is not None:
            client.chosen(drawn, drawn.side.pool)
        return client

    def wait(self, seconds: float) -> None:
        self.clock.at_s += seconds

    def seen(self) -> list[Record]:
        return self.watching.take()

    @property
    def one(self) -> Record:
        (record,) = self.seen()
        return record

    def settled_bytes(self) -> int:
        """What is held once all that was let go of has been counted."""
        gc.collect()
        # The next request that is watched counts it, and holds its own body meanwhile.
        client = self.client_for()
        assert client is not None
        return self.watching.held_bytes - len(RAW)


def stream(client: Watched, *parts: bytes) -> None:
    client.begin(200, LINES, None)
    for part in parts:
        client.relay([part])
    client.end()


def test_everything_reaches_the_client_as_it_was_and_is_remembered() -> None:
    desk = Desk()
    client = desk.ask(to_canary())
    desk.wait(0.5)
    client.begin(200, LINES, None)
    client.relay([b"one", b"two"])
    desk.wait(1.5)
    client.relay([b"three"])
    client.end()
    assert desk.client.sent == [("begin", 200, LINES, None), ("relay", [b"one", b"two"]), ("relay", [b"three"]), "end"]
    record = desk.one
    assert (record.started_s, record.first_s, record.last_s) == (100.0, 100.5, 102.0)
    assert (record.parts, record.status, record.fault) == ((b"one", b"two", b"three"), 200, "")
    assert (record.asked.raw, record.asked.name, record.model, record.drawn) == (RAW, "small", "small", to_canary())


def test_nobody_is_watched_where_nothing_is_split() -> None:
    desk = Desk()
    assert desk.client_for("large") is None
    desk.watching.update(traffic(generation=2))
    assert desk.client_for() is None
    assert desk.client_for(AUTO) is None
    assert desk.watching.generation == 2


def test_whoever_lets_us_choose_is_watched_as_long_as_any_model_is() -> None:
    assert Desk().client_for(AUTO) is not None


def test_a_whole_answer_is_remembered_too() -> None:
    desk = Desk()
    desk.ask(to_stable()).answer(200, LINES, b"{}")
    assert desk.client.sent == [("answer", 200, LINES, b"{}")]
    assert desk.one.parts == (b"{}",)


def test_those_outside_of_the_comparison_leave_no_word_and_hold_nothing() -> None:
    desk = Desk()
    client = desk.ask(to_stable(is_recorded=False))
    stream(client, b"one")
    assert desk.client.sent[-1] == "end"
    assert desk.seen() == []
    assert desk.watching.held_bytes == 0


@pytest.mark.parametrize(("status", "fault"), [(500, "error"), (502, "error"), (503, "error"), (504, "timeout")])
def test_a_refusal_of_ours_behind_a_side_is_its_fault(status: int, fault: Fault) -> None:
    desk = Desk()
    desk.ask(to_stable()).answer(status, b"", b"{}")
    assert desk.one.fault == fault


@pytest.mark.parametrize("status", [400, 404, 413, 429])
def test_what_the_caller_did_wrong_is_no_outcome(status: int) -> None:
    desk = Desk()
    desk.ask(to_stable()).answer(status, b"", b"{}")
    assert desk.seen() == []
    assert desk.watching.held_bytes == 0


def test_an_adapter_that_the_engine_does_not_know_is_no_callers_fault() -> None:
    desk = Desk()
    desk.ask(to_canary()).answer(404, b"", b"{}")
    assert desk.one.fault == "error"


def test_a_canary_that_stable_comes_to_the_rescue_of_has_failed() -> None:
    desk = Desk()
    client = desk.ask(to_canary())
    desk.wait(3)
    client.failed("error")
    client.chosen(to_canary(), "small")
    client.failed("timeout")
    client.chosen(to_stable(is_recorded=False), "small")
    stream(client, b"good")
    record = desk.one
    assert record.drawn == to_canary()
    assert (record.fault, record.parts, record.status, record.started_s) == ("error", None, 0, 100.0)


def test_where_stable_refuses_too_the_canary_is_not_to_blame() -> None:
    desk = Desk()
    client = desk.ask(to_canary())
    client.failed("error")
    client.chosen(to_stable(is_recorded=False), "small")
    client.answer(400, b"", b"{}")
    assert desk.seen() == []


def test_both_that_fail_have_failed() -> None:
    desk = Desk()
    client = desk.ask(to_canary())
    client.failed("error")
    client.chosen(to_stable(), "small")
    client.failed("error")
    client.answer(503, b"", b"{}")
    assert [(record.drawn, record.fault) for record in desk.seen()] == [(to_canary(), "error"), (to_stable(), "error")]


def test_a_canary_is_not_forgotten_when_its_rescuer_fails_as_well_and_another_model_answers() -> None:
    desk = Desk()
    client = desk.ask(to_canary(), model=AUTO)
    client.failed("error")
    client.chosen(to_stable(is_recorded=False), "small")
    client.failed("error")
    client.chosen(Drawn(split("large"), Side(0, "large", "large"), False, False, False), "large")
    stream(client, b"good")
    record = desk.one
    assert (record.drawn, record.fault, record.has_escalated) == (to_canary(), "error", False)


def test_a_side_that_failed_once_has_failed_even_if_another_of_its_engines_answers() -> None:
    desk = Desk()
    client = desk.ask(to_stable())
    client.failed("error")
    client.chosen(to_stable(), "small")
    stream(client, b"good")
    assert (desk.one.fault, desk.seen()) == ("error", [])


def test_the_time_of_who_comes_to_the_rescue_counts_from_then_on() -> None:
    desk = Desk()
    client = desk.ask(to_canary())
    desk.wait(8)
    client.failed("timeout")
    client.chosen(to_stable(), "small")
    desk.wait(1)
    stream(client, b"good")
    _, stable = desk.seen()
    assert stable.first_s - stable.started_s == 1


def test_an_answer_that_breaks_off_is_an_error_and_one_that_took_too_long_a_time_out() -> None:
    desk = Desk()
    for is_late in (False, True):
        client = desk.ask(to_canary())
        client.begin(200, LINES, 100)
        client.relay([b"half"])
        if is_late:
            client.failed("timeout")
        client.abort()
    assert [record.fault for record in desk.seen()] == ["error", "timeout"]
    assert desk.client.sent[2] == "abort"


def test_a_caller_who_reads_slowly_is_no_engines_fault() -> None:
    desk = Desk()
    client = desk.ask(to_canary())
    client.begin(200, LINES, None)
    client.relay([b"half"])
    desk.wait(3600)
    client.relay([b"half"])
    client.end()
    assert desk.one.fault == ""


def test_a_caller_who_hangs_up_is_nobodys_fault() -> None:
    desk = Desk()
    client = desk.ask(to_canary())
    client.begin(200, LINES, None)
    client.relay([b"half"])
    client.gone()
    soon = desk.ask(to_canary())
    desk.wait(PATIENCE_S - 1)
    soon.gone()
    assert desk.seen() == []
    assert desk.watching.held_bytes == 0


def test_a_caller_who_waited_long_for_a_first_byte_and_left_was_let_down() -> None:
    desk = Desk()
    client = desk.ask(to_canary())
    desk.wait(PATIENCE_S + 1)
    client.gone()
    assert desk.one.fault == "timeout"
    client.abort()
    assert desk.seen() == []


def test_a_caller_who_leaves_while_stable_makes_up_for_the_canary_hides_no_failure() -> None:
    desk = Desk()
    client = desk.ask(to_canary())
    client.failed("error")
    client.chosen(to_stable(is_recorded=False), "small")
    client.gone()
    assert (desk.one.drawn, desk.seen()) == (to_canary(), [])


def test_a_request_that_no_side_was_drawn_for_is_forgotten() -> None:
    desk = Desk()
    desk.ask().answer(404, b"", b"{}")
    assert desk.seen() == []


def test_the_judge_that_chose_and_the_model_that_answered_both_have_their_outcome() -> None:
    desk = Desk()
    judge = Side(3, "", "", judge="/judges/3")
    by_judge = to_canary(split(AUTO, canary=judge))
    client = desk.ask(model=AUTO)
    client.chosen(by_judge, "small")
    client.chosen(to_stable(), "small")
    stream(client, b"good")
    both = desk.seen()
    assert [record.drawn for record in both] == [by_judge, to_stable()]
    assert sum(record.held_bytes for record in both) == len(RAW) + len(b"good")


def test_an_answer_by_a_larger_model_than_chosen_first_has_escalated() -> None:
    desk = Desk()
    client = desk.ask(to_stable(), model=AUTO)
    client.failed("error")
    large = Drawn(split("large"), Side(0, "large", "large"), False, True, False)
    client.chosen(large, "large")
    stream(client, b"good")
    assert [(record.model, record.has_escalated) for record in desk.seen()] == [("small", False), ("large", True)]


# ---- drift ----------------------------------------------------------------------------------------------------------


def test_a_share_of_all_requests_is_watched_for_drift() -> None:
    desk = Desk(drift_ratio=0.25)
    count = 0
    for _ in range(8000):
        desk.clock.at_s += 1.0
        count += desk.client_for("large") is not None
    # Six standard deviations of 8,000 throws: once in a billion runs by chance.
    assert abs(count - 2000) < 6 * 38.8


def test_however_many_requests_come_few_a_second_are_watched_for_drift() -> None:
    desk = Desk(drift_ratio=1.0)
    count = 0
    for _ in range(10_000):
        desk.clock.at_s += 0.001
        count += desk.client_for("large") is not None
    assert 180 <= count <= 200


def test_without_a_split_the_answers_header_names_the_model() -> None:
    desk = Desk(drift_ratio=1.0)
    stream(desk.ask(model=AUTO), b"good")
    record = desk.one
    assert (record.drawn, record.model, record.is_drift) == (None, "large", True)


def test_who_forbids_learning_is_not_counted_for_drift_and_not_copied() -> None:
    desk = Desk(drift_ratio=1.0)
    no = {b"x-fenzhen-no-learning": b""}
    assert desk.client_for("large", no) is None
    stream(desk.ask(to_stable(is_shadowed=True), headers=no), b"good")
    record = desk.one
    assert (record.is_drift, record.asked.may_copy) == (False, False)


@pytest.mark.parametrize(
    ("named", "group"),
    [(b"district-3", b"district-3"), (b"", b""), (b"x" * 33, b""), (b"two words", b""), (b"\xe5\x8c\xba", b"")],
)
def test_a_group_is_a_short_plain_word_or_none(named: bytes, group: bytes) -> None:
    desk = Desk()
    stream(desk.ask(to_stable(), headers={b"x-fenzhen-group": named}), b"good")
    assert desk.one.asked.group == group


# ---- bounds ---------------------------------------------------------------------------------------------------------


def test_a_long_question_is_known_by_its_length_and_its_keys() -> None:
    desk = Desk()
    raw = b'{"tools": [], "x": "' + b"x" * MAX_RAW_BYTES + b'"}'
    stream(desk.ask(to_stable(), raw=raw), b"good")
    asked = desk.one.asked
    assert (asked.raw, asked.raw_bytes, asked.task) == (b"", len(raw), "tools")


def test_of_a_long_answer_its_size_and_its_end_are_kept() -> None:
    desk = Desk()
    event = b'data: {"choices": []}\n\n' * 100
    count = (MAX_ANSWER_BYTES + MAX_RAW_BYTES) // len(event) + 3
    stream(desk.ask(to_stable()), *[event] * count, b"data: [DONE]\n\n")
    record = desk.one
    assert (record.parts, record.events) == (None, 100 * count + 1)
    assert record.tail.endswith(b"data: [DONE]\n\n")
    assert len(record.tail) <= 4096
    assert record.held_bytes == len(RAW)


def test_however_many_streams_there_are_what_is_held_stays_within_bounds() -> None:
    desk = Desk(max_held_bytes=10_000)
    clients = [desk.ask(to_stable()) for _ in range(500)]
    for client in clients:
        client.begin(200, LINES, None)
        for _ in range(5):
            client.relay([b"data: x" * 100])
            assert desk.watching.held_bytes <= 10_000
    for client in clients:
        client.end()
    records = desk.seen()
    assert len(records) == 500
    assert sum(record.held_bytes for record in records) == desk.watching.held_bytes
    assert all(record.events == 500 for record in records if record.parts is None)
    assert any(record.parts is None for record in records)
    for record in records:
        desk.watching.free(record)
    del client
    clients.clear()
    assert desk.settled_bytes() == 0


def test_what_was_held_for_callers_who_are_gone_without_a_word_is_free_again() -> None:
    desk = Desk()
    clients = [desk.ask(to_stable()) for _ in range(10)]
    for client in clients:
        client.begin(200, LINES, None)
        client.relay([b"half"])
    del client
    clients.clear()
    assert desk.settled_bytes() == 0


def test_the_queue_is_bounded_and_what_does_not_fit_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("router.watching.MAX_RECORDS", 3)
    desk = Desk()
    for _ in range(5):
        stream(desk.ask(to_stable()), b"good")
    assert (len(desk.seen()), desk.watching.dropped) == (3, 2)


def test_adapters_that_are_asked_for_are_counted_within_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("router.watching.MAX_WANTED", 2)
    watching = Desk().watching
    for name in ("a", "b", "a", "c"):
        watching.wanted(name)
    counts = watching.wanted_so_far()
    assert counts == {"a": 2, "b": 1}
    watching.wanted("a")
    assert counts == {"a": 2, "b": 1}
    assert watching.wanted_so_far()["a"] == 3
