"""Listening in on a share of the chats: question and answer are kept for `second_opinion`, the caller notices nothing.

An exchange that is listened to talks to its client through an `Overheard`; every other one knows nothing of it.
"""

from collections.abc import Callable, Sequence
from random import random
from typing import Final, NamedTuple
from weakref import WeakSet

from cluster.settings import Judging
from router.http_request import Client, Request
from router.openai_request import ApiRequest
from router.policy import Need

NO_LEARNING: Final = b"x-fenzhen-no-learning"
"""A caller's header, with whatever value: nothing of this request may be kept."""
_MODEL_LINE: Final = b"\r\nx-fenzhen-model: "
_OK: Final = 200


class Heard(NamedTuple):
    """One chat that was answered."""

    raw: bytes
    """The caller's body."""
    need: Need
    model: str
    """The model that answered."""
    answer: bytes
    """The answer's body as it was sent."""


class Listening:
    """Chooses the exchanges to listen to. Lives on the HTTP loop; `tell` must be quick and safe to call there."""

    def __init__(self, judging: Judging, tell: Callable[[Heard], None]) -> None:
        self._ratio = judging.learn_ratio
        self._max_body_bytes = judging.learn_max_body_bytes
        self.max_answer_bytes = judging.learn_max_answer_bytes
        # However many are in flight, what is held of them stays within bounds.
        self._max_held = judging.learn_max_queue
        self._held: WeakSet[Overheard] = WeakSet()
        self.tell = tell

    def client_for(self, request: Request, asked: ApiRequest, need: Need, client: Client) -> Client:
        """The client that an exchange should talk to: the caller itself, or one who listens in."""
        # By chance and not by the request's id: nobody chooses what is learnt.
        if (
            random() >= self._ratio  # noqa: S311  No secret hangs on it.
            or asked.route != "chat"
            or need.tools
            or len(request.body) > self._max_body_bytes
            or NO_LEARNING in request.headers
            or len(self._held) >= self._max_held
        ):
            return client
        overheard = Overheard(client, self, request.body, need)
        self._held.add(overheard)
        return overheard


class Overheard:
    """A client that keeps what it passes on, as long as it is a whole and good answer of bearable length."""

    __slots__ = ("__weakref__", "_bytes", "_client", "_listening", "_model", "_need", "_parts", "_raw")

    def __init__(self, client: Client, listening: Listening, raw: bytes, need: Need) -> None:
        self._client = client
        self._listening = listening
        self._raw = raw
        self._need = need
        self._model = ""
        self._parts: list[bytes] | None = None
        self._bytes = 0

    def answer(self, status: int, headers: bytes, body: bytes) -> None:
        """An engine's whole answer, or a refusal of ours: nothing to learn."""
        self._client.answer(status, headers, body)
        model = _model_in(status, headers)
        if model and len(body) <= self._listening.max_answer_bytes:
            self._listening.tell(Heard(self._raw, self._need, model, body))
        self._forget()

    def begin(self, status: int, headers: bytes, content_length: int | None) -> None:
        """An engine's answer begins."""
        self._client.begin(status, headers, content_length)
        self._model = _model_in(status, headers)
        if self._model:
            self._parts = []

    def relay(self, parts: Sequence[bytes]) -> None:
        """Parts of it."""
        self._client.relay(parts)
        if self._parts is not None:
            self._parts += parts
            self._bytes += sum(map(len, parts))
            if self._bytes > self._listening.max_answer_bytes:
                self._forget()

    def end(self) -> None:
        """Its end."""
        self._client.end()
        if self._parts is not None:
            self._listening.tell(Heard(self._raw, self._need, self._model, b"".join(self._parts)))
        self._forget()

    def abort(self) -> None:
        """It broke off."""
        self._forget()
        self._client.abort()

    def _forget(self) -> None:
        self._parts = None
        self._raw = b""


def _model_in(status: int, headers: bytes) -> str:
    """The model that gave a good answer; empty for any other answer."""
    # The last such line is ours: a server behind us may be a router as well.
    _, line, rest = (b"\r\n" + headers).rpartition(_MODEL_LINE)
    return rest.partition(b"\r\n")[0].decode("ascii") if status == _OK and line else ""
