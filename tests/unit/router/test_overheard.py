"""Who is listened to, and what is kept of it."""

import gc
from collections.abc import Sequence
from typing import cast

import pytest

from cluster.settings import Judging
from router.client_connection import ClientConnection
from router.http_request import Request
from router.openai_request import ApiRequest
from router.overheard import Heard, Listening, Overheard
from router.policy import Need

NEED = Need(0.3, "short", frozenset(("en",)), False, 100)
LINES = b"content-type: application/json\r\nx-request-id: r\r\nx-fenzhen-model: small\r\nx-fenzhen-reason: easy\r\n"


class FakeClient:
    """Remembers what it was sent."""

    def __init__(self) -> None:
        self.sent: list[object] = []

    def answer(self, status: int, headers: bytes, body: bytes) -> None:
        self.sent.append(("answer", status, headers, body))

    def begin(self, status: int, headers: bytes, content_length: int | None) -> None:
        self.sent.append(("begin", status, headers, content_length))

    def relay(self, parts: Sequence[bytes]) -> None:
        self.sent.append(("relay", list(parts)))

    def end(self) -> None:
        self.sent.append("end")

    def abort(self) -> None:
        self.sent.append("abort")


class Desk:
    """Listens to everything, unless told otherwise."""

    def __init__(self, **judging: object) -> None:
        self.heard: list[Heard] = []
        wanted = {"learn_ratio": 1.0, "learn_max_body_bytes": 100, "learn_max_answer_bytes": 20, "learn_max_queue": 3}
        self.listening = Listening(Judging.model_validate(wanted | judging), self.heard.append)
        self.client = FakeClient()

    def ask(
        self, body: bytes = b"{}", need: Need = NEED, route: str = "chat", headers: dict[bytes, bytes] | None = None
    ) -> Overheard | FakeClient:
        request = Request(b"POST", b"/", headers or {}, body, True, False)
        asked = ApiRequest(route, None, "auto", False)  # type: ignore[arg-type]
        client = self.listening.client_for(request, asked, need, cast(ClientConnection, self.client))
        return cast("Overheard | FakeClient", client)


def test_everything_reaches_the_client_as_it_was_and_is_kept() -> None:
    desk = Desk()
    client = desk.ask(b'{"a": 1}')
    client.begin(200, LINES, None)
    client.relay([b"one", b"two"])
    client.relay([b"three"])
    client.end()
    assert desk.client.sent == [("begin", 200, LINES, None), ("relay", [b"one", b"two"]), ("relay", [b"three"]), "end"]
    assert desk.heard == [Heard(b'{"a": 1}', NEED, "small", b"onetwothree")]


def test_of_two_routers_in_a_row_ours_names_the_model() -> None:
    desk = Desk()
    client = desk.ask()
    client.begin(200, b"x-fenzhen-model: theirs\r\n" + LINES, 1)
    client.relay([b"a"])
    client.end()
    assert desk.heard[0].model == "small"


@pytest.mark.parametrize(
    "acts",
    [
        [("answer", 503, b"", b"{}")],
        [("begin", 400, LINES, 2), ("relay", [b"no"]), ("end",)],
        [("begin", 200, LINES, None), ("relay", [b"x" * 15]), ("relay", [b"x" * 15]), ("end",)],
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
    assert desk.heard == []
    assert len(desk.client.sent) == len(acts)


@pytest.mark.parametrize(
    "more",
    [
        {"body": b"x" * 101},
        {"need": NEED._replace(tools=True)},
        {"route": "completions"},
        {"headers": {b"x-fenzhen-no-learning": b"1"}},
        {"headers": {b"x-fenzhen-no-learning": b""}},
    ],
)
def test_some_are_never_listened_to(more: dict[str, object]) -> None:
    desk = Desk()
    assert desk.ask(**more) is desk.client  # type: ignore[arg-type]


def test_so_many_are_listened_to_as_was_asked_for() -> None:
    desk = Desk(learn_ratio=0.25)
    count = sum(isinstance(desk.ask(), Overheard) for _ in range(8000))
    # Six standard deviations of 8,000 throws: once in a billion runs by chance.
    assert abs(count - 2000) < 6 * 38.8


def test_what_is_held_at_once_is_bounded_and_let_go_of() -> None:
    desk = Desk()
    held = [desk.ask() for _ in range(5)]
    assert [isinstance(client, Overheard) for client in held] == [True] * 3 + [False] * 2
    # Clients that hang up say nothing: an exchange that is gone has let go.
    held.clear()
    gc.collect()
    assert isinstance(desk.ask(), Overheard)
