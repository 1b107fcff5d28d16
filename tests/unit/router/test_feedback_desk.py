"""Feedback that cannot be stored now, in time or at all: told, never lost in silence."""

import asyncio
import json
import threading
from typing import cast

import pytest

from cluster.errors import NotFound, UserError
from cluster.feedback_settings import Feedback
from registry.feedback_store import FeedbackStore, Given, Opinion
from router import feedback_desk
from router.client_connection import ClientConnection
from router.feedback_desk import FeedbackDesk
from router.feedback_tally import FeedbackTally
from router.http_request import Request
from tests.unit.router.test_overheard import FakeClient

BODY = b'{"request_id": "r-1", "rating": 4, "consent": true}'


class FakeStore:
    """Answers in turn, and can hang."""

    def __init__(self, *answers: Given | Exception) -> None:
        self.answers = list(answers)
        self.given: list[Opinion] = []
        self.may_go_on = threading.Event()
        self.may_go_on.set()

    def give(self, request_id: str, opinion: Opinion) -> Given:
        self.may_go_on.wait(5)
        self.given.append(opinion)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def close(self) -> None:
        self.may_go_on.set()


class Desk:
    """A desk, and what its clients are told."""

    def __init__(self, store: FakeStore) -> None:
        self.tally = FeedbackTally()
        self.rated: list[tuple[str, int, int]] = []
        self.desk = FeedbackDesk(
            cast(FeedbackStore, store), Feedback(keep_ratio=1), self.tally, lambda *told: self.rated.append(told)
        )

    async def post(self, body: bytes = BODY) -> tuple[int, bytes, dict[str, object]]:
        client = FakeClient()
        request = Request(b"POST", b"/v1/feedback", {}, body, True, False)
        self.desk.take(request, b"x-request-id: f-1\r\n", cast(ClientConnection, client))
        async with asyncio.timeout(5):
            while not client.sent:
                await asyncio.sleep(0.005)
        _, status, headers, said = cast(tuple[str, int, bytes, bytes], client.sent[0])
        return status, headers, json.loads(said)


GIVEN = Given("hotline", 3, is_first_rating=True, has_texts=False)


async def test_an_answer_that_is_stored_a_moment_later_is_waited_for_and_its_rating_is_told() -> None:
    desk = Desk(FakeStore(NotFound("not yet"), NotFound("not yet"), GIVEN))
    assert (await desk.post())[0] == 200
    assert desk.rated == [("hotline", 3, 4)]
    assert desk.tally.ratings == {("hotline", 4): 1}


async def test_a_rating_that_replaces_another_counts_no_second_time() -> None:
    desk = Desk(FakeStore(Given("hotline", 3, is_first_rating=False, has_texts=False)))
    assert (await desk.post())[0] == 200
    assert (desk.rated, desk.tally.ratings, desk.tally.given["stored"]) == ([], {}, 1)


async def test_what_is_unknown_to_the_end_is_a_404(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feedback_desk, "_LOOK_AGAIN_S", (0.01, 0.01))
    desk = Desk(FakeStore(*[NotFound("nowhere", "request_id")] * 3))
    status, _, said = await desk.post()
    assert (status, desk.tally.given["unknown"]) == (404, 1)
    assert cast(dict[str, object], said["error"])["param"] == "request_id"


async def test_a_store_that_hangs_is_not_waited_for_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feedback_desk, "TIMEOUT_S", 0.05)
    store = FakeStore(GIVEN)
    store.may_go_on.clear()
    desk = Desk(store)
    status, headers, _ = await desk.post()
    assert (status, desk.tally.given["not_stored"]) == (503, 1)
    assert b"retry-after: 5\r\n" in headers
    desk.desk.close()


async def test_so_many_are_taken_at_one_time_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feedback_desk, "MAX_IN_FLIGHT", 2)
    store = FakeStore(GIVEN, GIVEN, GIVEN)
    store.may_go_on.clear()
    desk = Desk(store)
    waiting = [asyncio.create_task(desk.post()) for _ in range(2)]
    await asyncio.sleep(0.02)
    assert (await desk.post())[0] == 503
    store.may_go_on.set()
    assert [(await one)[0] for one in waiting] == [200, 200]
    assert (await desk.post())[0] == 200


async def test_a_fault_of_ours_says_nothing_of_what_was_written(caplog: pytest.LogCaptureFixture) -> None:
    desk = Desk(FakeStore(ValueError("我叫王小明"), UserError("judged too often")))
    status, _, said = await desk.post()
    assert (status, "王小明" in caplog.text + str(said)) == (500, False)
    assert (await desk.post())[0] == 400
    assert desk.tally.given == {"stored": 0, "refused": 1, "unknown": 0, "not_stored": 1}
