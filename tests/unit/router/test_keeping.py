"""What is kept of chats for feedback, and what is never kept."""

import asyncio
import gc
import json
from collections.abc import Sequence
from typing import cast

import pytest

from cluster.errors import Unavailable, UserError
from cluster.feedback_settings import Feedback
from registry.feedback_store import Exchange, FeedbackStore
from router.client_connection import ClientConnection
from router.feedback_tally import FeedbackTally
from router.http_request import Request
from router.keeper import Keeper
from router.keeping import CAN_BE_JUDGED, Heard, Keeping, Kept, grade_in
from router.openai_request import ApiRequest
from tests.unit.router.test_overheard import FakeClient

LINES = (
    b"content-type: application/json\r\nx-fenzhen-version: 9\r\nx-request-id: r-1\r\nx-fenzhen-model: hotline\r\n"
    b"x-fenzhen-reason: named\r\nx-fenzhen-version: 3\r\n"
)
ID_LINE = b"x-request-id: r-1\r\n"
QUESTION = {
    "messages": [{"role": "system", "content": "s"}, {"role": "user", "content": [{"type": "text", "text": "q"}]}]
}
RAW = json.dumps(QUESTION).encode()


def answer(text: str | None, finish: str = "stop") -> bytes:
    choice = {"finish_reason": finish, "message": {"role": "assistant", "content": text}}
    return json.dumps({"choices": [choice]}).encode()


class Desk:
    """Keeps everything, unless told otherwise."""

    def __init__(self, max_held_bytes: int = 10_000, **feedback: object) -> None:
        wanted = {"keep_ratio": 1.0, "max_question_bytes": 1000, "max_answer_bytes": 500}
        self.tally = FeedbackTally()
        self.keeping = Keeping(Feedback.model_validate(wanted | feedback), self.tally, max_held_bytes)
        self.client = FakeClient()

    def ask(
        self, body: bytes = RAW, headers: dict[bytes, bytes] | None = None, route: str = "chat"
    ) -> Kept | FakeClient:
        request = Request(b"POST", b"/", headers or {}, body, True, False)
        asked = ApiRequest(route, None, "hotline", False)  # type: ignore[arg-type]
        client = self.keeping.client_for(request, asked, ID_LINE, cast(ClientConnection, self.client))
        return cast("Kept | FakeClient", client)

    def heard(self) -> list[Heard]:
        return self.keeping.take(100)


class FakeStore:
    """Remembers what it was to keep, or cannot."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.kept: list[Exchange] = []

    def keep(self, exchanges: Sequence[Exchange]) -> None:
        if self.errors:
            raise self.errors.pop(0)
        self.kept += exchanges

    def prune(self) -> int:
        return 0


def test_everything_reaches_the_client_and_a_good_answer_says_that_it_can_be_judged() -> None:
    desk = Desk()
    client = desk.ask(headers={b"x-fenzhen-group": b"district-3", b"x-fenzhen-grade": b"public"})
    client.begin(200, LINES, None)
    client.relay([b"one", b"two"])
    client.relay([b"three"])
    client.end()
    assert desk.client.sent == [
        ("begin", 200, LINES + CAN_BE_JUDGED, None), ("relay", [b"one", b"two"]), ("relay", [b"three"]), "end",
    ]  # fmt: skip
    (heard,) = desk.heard()
    assert (heard.request_id, heard.model, heard.version) == ("r-1", "hotline", 3)
    assert (heard.raw, list(heard.parts), heard.grade, heard.group) == (
        RAW, [b"one", b"two", b"three"], "public", "district-3",
    )  # fmt: skip


@pytest.mark.parametrize(
    "acts",
    [
        [("answer", 503, b"", b"{}")],
        [("begin", 400, LINES, 2), ("relay", [b"no"]), ("end",)],
        [("begin", 200, LINES, None), ("relay", [b"x" * 300]), ("relay", [b"x" * 300]), ("end",)],
        [("begin", 200, LINES, None), ("relay", [b"x"]), ("abort",)],
        [("begin", 200, b"", None), ("relay", [b"x"]), ("end",)],
    ],
    ids=["refused", "the engine's error", "too long", "broken off", "no model"],
)
def test_what_is_no_whole_good_answer_is_forgotten(acts: list[tuple[object, ...]]) -> None:
    desk = Desk()
    client = desk.ask()
    for name, *arguments in acts:
        getattr(client, str(name))(*arguments)
    assert desk.heard() == []
    assert len(desk.client.sent) == len(acts)
    assert desk.keeping.held_bytes == 0


@pytest.mark.parametrize(
    "more",
    [
        {"body": b"x" * 1001},
        {"body": b'{"tools": []}'},
        {"route": "completions"},
        {"headers": {b"x-fenzhen-no-learning": b""}},
        {"headers": {b"x-fenzhen-grade": b"confidential"}},
        {"headers": {b"x-fenzhen-grade": b"internl"}},
        {"headers": {b"x-fenzhen-grade": b""}},
    ],
)
def test_some_are_never_kept(more: dict[str, object]) -> None:
    desk = Desk()
    assert desk.ask(**more) is desk.client  # type: ignore[arg-type]


def test_a_request_without_a_grade_has_the_usual_one() -> None:
    assert isinstance(Desk(default_grade="confidential").ask(), FakeClient)
    assert isinstance(Desk(default_grade="confidential", max_grade="secret").ask(), Kept)
    assert grade_in(b" Secret ", "public") == "secret"


def test_what_is_held_is_bounded_and_let_go_of_when_a_client_hangs_up() -> None:
    desk = Desk(max_held_bytes=3 * len(RAW))
    held = [desk.ask() for _ in range(5)]
    assert [isinstance(client, Kept) for client in held] == [True] * 3 + [False] * 2
    held[0].begin(200, LINES, None)
    held[0].relay([b"x"])
    assert desk.tally.kept["dropped"] == 3
    held.clear()
    gc.collect()
    assert isinstance(desk.ask(), Kept)


async def test_plain_chats_are_stored_and_others_are_counted() -> None:
    desk, store = Desk(), FakeStore()
    bodies = (answer("a"), answer("b", "length"), answer(None), b"nonsense", answer("<think>hm</think>c"))
    for body in bodies:
        desk.ask().answer(200, LINES, body)
    for raw in (b'{"n": 2, "messages": []}', b"[]", b'{"messages": [{"role": "tool", "content": "x"}]}'):
        desk.ask(raw).answer(200, LINES, answer("a"))
    await Keeper(desk.keeping, cast(FeedbackStore, store), desk.tally).store_some()
    assert [(one.answer, one.is_whole) for one in store.kept] == [("a", True), ("b", False), ("c", True)]
    assert store.kept[0].messages == (("system", "s"), ("user", "q"))
    assert len({one.mark for one in store.kept}) == 3
    assert {key: count for key, count in desk.tally.kept.items() if count} == {"kept": 3, "unfit": 5}
    assert isinstance(desk.ask(), Kept)
    assert desk.keeping.held_bytes == len(RAW)


async def test_a_database_that_is_away_is_waited_for_and_one_that_cannot_be_used_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("router.keeper._AGAIN_S", 0.01)
    desk, store = Desk(), FakeStore(Unavailable("away"), Unavailable("away"))
    desk.ask().answer(200, LINES, answer("a"))
    keeper = Keeper(desk.keeping, cast(FeedbackStore, store), desk.tally)
    await keeper.store_some()
    assert (len(store.kept), desk.tally.kept["kept"]) == (1, 1)
    store.errors = [Unavailable("away")] * 20
    desk.ask().answer(200, LINES, answer("lost"))
    await keeper.store_some()
    assert (len(store.kept), desk.tally.kept["failed"], store.errors) == (1, 1, [])
    for error in (UserError("another schema"), ValueError("a text of somebody")):
        store.errors = [error]
        desk.ask().answer(200, LINES, answer("a"))
        await keeper.store_some()
    assert (len(store.kept), desk.tally.kept["failed"]) == (1, 3)


async def test_what_is_there_when_a_replica_ends_is_stored() -> None:
    desk, store = Desk(), FakeStore()
    running = asyncio.create_task(Keeper(desk.keeping, cast(FeedbackStore, store), desk.tally).run())
    await asyncio.sleep(0)
    desk.ask().answer(200, LINES, answer("a"))
    running.cancel()
    await asyncio.wait({running})
    assert len(store.kept) == 1
