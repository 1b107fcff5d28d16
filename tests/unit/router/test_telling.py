"""What is told of requests: within bounds, fair to both sides, and without ever waiting for the directory."""

import asyncio
import json
import time
from typing import cast

import pytest

from cluster.clock import MonotonicClock
from cluster.directory import Directory
from cluster.directory_holder import DirectoryHolder
from cluster.errors import Unavailable
from cluster.outcomes import Batch, Outcome
from router.outcome import Findings
from router.outcome_record import Asked, Record
from router.shadow import Shadows
from router.splits import Drawn
from router.telling import MAX_KEPT_OUTCOMES, MAX_OUTCOMES, TALLY_INTERVAL_S, Telling
from router.watching import Watching
from tests.fakes.drawing import split, to_canary, to_stable, traffic

RAW = json.dumps({"messages": [{"role": "user", "content": "hello"}]}).encode()
BODY = b'{"choices": [{"message": {"content": "Good day"}, "finish_reason": "stop"}]}'


class FakeShadows:
    """Takes copies, or does not, and gives what it was given."""

    def __init__(self) -> None:
        self.takes = True
        self.offered: list[Record] = []
        self.done: list[Outcome] = []

    def offer(self, record: Record) -> bool:
        self.offered.append(record)
        return self.takes

    def take(self) -> list[Outcome]:
        done, self.done = self.done, []
        return done


class MoodyDirectory(DirectoryHolder):
    """A directory that can be away, or hang."""

    def __init__(self) -> None:
        super().__init__(MonotonicClock(), settle_s=0)
        self.is_away = self.hangs = False
        self.batches: list[Batch] = []

    async def tell(self, batch: Batch) -> None:
        if self.is_away:
            raise Unavailable("the directory is away")
        if self.hangs:
            await asyncio.Event().wait()
        self.batches.append(batch)


class Desk:
    """A teller with its own clock, in front of a directory of its own."""

    def __init__(self) -> None:
        self.watching = Watching(MonotonicClock(), {}, 0.0)
        self.directory = MoodyDirectory()
        self.shadows = FakeShadows()
        self.telling = Telling(
            cast(Directory, self.directory), "replica-1", self.watching, cast(Shadows, self.shadows), Findings({})
        )
        self.now_s = 0.0

    def see(self, drawn: Drawn | None, count: int = 1, *, is_drift: bool = False) -> None:
        asked = Asked("small", "chat", False, RAW, len(RAW))
        for _ in range(count):
            self.watching.put(Record(asked, drawn, "small", is_drift, False, 1.0, 2.0, 3.0, 200, "", (BODY,)))

    async def turn(self, seconds: float = 1.0) -> None:
        self.now_s += seconds
        await self.telling.look()
        await self.telling.tell(self.now_s)

    @property
    def batches(self) -> list[Batch]:
        told, self.directory.batches = self.directory.batches, []
        return told

    @property
    def one(self) -> Batch:
        (batch,) = self.batches
        return batch


async def test_outcomes_of_both_sides_arrive() -> None:
    desk = Desk()
    desk.see(to_canary())
    desk.see(to_stable(), 2)
    await desk.turn()
    batch = desk.one
    assert batch.replica == "replica-1"
    assert [one.is_canary for one in batch.outcomes] == [True, False, False]
    assert [one.version for one in batch.outcomes] == [2, 0, 0]
    assert batch.dropped == 0


async def test_where_there_is_nothing_to_tell_nothing_is_told() -> None:
    desk = Desk()
    for _ in range(30):
        await desk.turn()
    assert desk.batches == []


async def test_the_generation_is_told_when_it_changes_and_now_and_then() -> None:
    desk = Desk()
    desk.watching.update(traffic(split(), generation=7))
    await desk.turn()
    assert desk.one.generation == 7
    for _ in range(int(TALLY_INTERVAL_S) - 1):
        await desk.turn()
    assert desk.batches == []
    await desk.turn()
    assert desk.one.generation == 7
    desk.watching.update(traffic(split(), generation=8))
    await desk.turn()
    assert desk.one.generation == 8


async def test_demand_is_what_has_been_asked_for_since() -> None:
    desk = Desk()
    for name in ("b", "a", "b"):
        desk.watching.wanted(name)
    await desk.turn()
    first = desk.one
    assert first.demand == (("a", 1), ("b", 2))
    desk.watching.wanted("a")
    await desk.turn()
    second = desk.one
    assert second.demand == (("a", 1),)
    await desk.turn()
    assert desk.batches == []


async def test_of_too_many_both_sides_lose_alike() -> None:
    desk = Desk()
    desk.see(to_canary(), 1000)
    desk.see(to_stable(), 1000)
    await desk.turn()
    batch = desk.one
    assert (len(batch.outcomes), batch.dropped) == (MAX_OUTCOMES, 2000 - MAX_OUTCOMES)
    of_canary = sum(one.is_canary for one in batch.outcomes)
    # Six standard deviations of a draw of 500 out of 1,000 and 1,000.
    assert abs(of_canary - 250) < 6 * 9.7


async def test_while_the_directory_is_away_the_last_seconds_are_kept_and_the_rest_is_counted() -> None:
    desk = Desk()
    desk.directory.is_away = True
    for _ in range(6):
        desk.see(to_canary(), MAX_OUTCOMES)
        desk.watching.wanted("a")
        await desk.turn()
    desk.directory.is_away = False
    await desk.turn()
    batches = desk.batches
    assert [len(batch.outcomes) for batch in batches] == [MAX_OUTCOMES] * 3
    assert sum(batch.dropped for batch in batches) == 6 * MAX_OUTCOMES - MAX_KEPT_OUTCOMES
    assert batches[0].demand == (("a", 6),)
    assert batches[1].demand == ()


async def test_a_directory_that_hangs_holds_nobody_up_and_nothing_is_told_twice(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("router.telling._TELL_TIMEOUT_S", 0.05)
    desk = Desk()
    desk.directory.hangs = True
    desk.see(to_canary(), 3)
    started_s = time.monotonic()
    await desk.turn()
    assert time.monotonic() - started_s < 1
    desk.directory.hangs = False
    desk.see(to_canary(), 1)
    await desk.turn()
    batch = desk.one
    assert (len(batch.outcomes), batch.dropped) == (1, 3)


async def test_what_the_watching_had_no_room_for_is_counted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("router.watching.MAX_RECORDS", 2)
    desk = Desk()
    desk.see(to_canary(), 5)
    await desk.turn()
    assert desk.one.dropped == 3
    await desk.turn()
    assert desk.batches == []


async def test_tallies_come_every_ten_seconds_and_of_drawn_requests_only() -> None:
    desk = Desk()
    desk.see(None, 3, is_drift=True)
    desk.see(to_canary(), 1, is_drift=True)
    desk.see(to_stable(), 2)
    await desk.turn()
    batch = desk.one
    assert (len(batch.outcomes), batch.tallies) == (3, ())
    await desk.turn(TALLY_INTERVAL_S)
    assert [(tally.version, tally.requests) for tally in desk.one.tallies] == [(0, 3), (2, 1)]


async def test_tallies_outlive_a_directory_that_is_away() -> None:
    desk = Desk()
    desk.directory.is_away = True
    for _ in range(3):
        desk.see(None, 1, is_drift=True)
        await desk.turn(TALLY_INTERVAL_S)
    desk.directory.is_away = False
    await desk.turn()
    assert [tally.requests for tally in desk.one.tallies] == [1, 1, 1]


async def test_where_all_is_copied_stable_counts_beside_its_copy_only() -> None:
    desk = Desk()
    only_copies = to_stable(split(ratio=0.0, shadow=1.0), is_shadowed=True)
    desk.see(only_copies)
    desk.shadows.takes = False
    desk.see(only_copies)
    await desk.turn()
    assert len(desk.shadows.offered) == 2
    assert desk.batches == []


async def test_a_control_that_could_not_be_copied_still_counts_beside_a_canary_that_answers() -> None:
    desk = Desk()
    desk.shadows.takes = False
    desk.see(to_stable(split(ratio=0.5, shadow=1.0), is_shadowed=True))
    await desk.turn()
    assert len(desk.one.outcomes) == 1


async def test_what_copies_have_brought_is_told() -> None:
    desk = Desk()
    desk.see(to_canary())
    await desk.turn()
    (outcome,) = desk.one.outcomes
    desk.shadows.done = [outcome, outcome]
    await desk.turn()
    assert desk.one.outcomes == (outcome, outcome)


async def test_bytes_are_let_go_of_once_they_have_been_looked_into() -> None:
    desk = Desk()
    asked = Asked("small", "chat", False, RAW, len(RAW))
    desk.watching.held_bytes = 50
    desk.watching.put(Record(asked, to_canary(), "small", False, False, 1.0, parts=(BODY,), status=200, held_bytes=50))
    await desk.turn()
    assert sum(desk.watching._freed) == 50


async def test_one_that_nobody_can_read_hides_no_other(caplog: pytest.LogCaptureFixture) -> None:
    desk = Desk()
    asked = Asked("small", "chat", False, RAW, len(RAW))
    secret = cast(bytes, "138 0013 8000")
    desk.watching.put(Record(asked, to_canary(), "small", False, False, 1.0, parts=(secret,), status=200))
    desk.see(to_canary())
    await desk.turn()
    assert len(desk.one.outcomes) == 1
    assert "by a fault of ours: TypeError" in caplog.text
    assert "138" not in caplog.text


async def test_the_loop_tells_once_a_second_until_it_is_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("router.telling.TELL_INTERVAL_S", 0.02)
    desk = Desk()
    running = asyncio.create_task(desk.telling.run())
    desk.see(to_canary())
    async with asyncio.timeout(5):
        while not desk.directory.batches:
            await asyncio.sleep(0.01)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


async def test_a_fault_of_ours_does_not_end_the_telling(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("router.telling.TELL_INTERVAL_S", 0.01)
    desk = Desk()
    desk.shadows.done = cast(list[Outcome], None)
    running = asyncio.create_task(desk.telling.run())
    async with asyncio.timeout(5):
        while "by a fault of ours" not in caplog.text:
            await asyncio.sleep(0.01)
    desk.see(to_canary())
    async with asyncio.timeout(5):
        while not desk.directory.batches:
            await asyncio.sleep(0.01)
    running.cancel()
    await asyncio.wait({running})
