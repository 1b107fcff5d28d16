"""Keeping a share of the chats, so that people can give feedback on the answers. The caller notices nothing of it.

    HTTP loop   Kept --Heard--> a bounded queue
    own loop    Keeper: what was said? -> masked and stored, a few at once

An exchange that is kept talks to its client through a `Kept`; every other one knows nothing of it.
"""

from collections import deque
from collections.abc import Sequence
from random import getrandbits, random
from typing import Final, NamedTuple

from cluster.feedback_settings import GRADES, Feedback, Grade
from router.feedback_tally import FeedbackTally
from router.http_request import Client, Request, is_safe_token
from router.openai_request import ApiRequest
from router.outcome_record import GROUP
from router.overheard import NO_LEARNING
from router.splits import VERSION
from router.watching import MAX_GROUP_BYTES

GRADE: Final = b"x-fenzhen-grade"
"""A caller's header: the grade of the data in this request."""
CAN_BE_JUDGED: Final = b"x-fenzhen-feedback: 1\r\n"
# Of all chats of one replica that are on their way, or wait to be stored.
MAX_HELD_BYTES: Final = 32 * 1024 * 1024
_MODEL_LINE: Final = b"\r\nx-fenzhen-model: "
_VERSION_LINE: Final = b"\r\n%b: " % VERSION
_OK: Final = 200


class Heard(NamedTuple):
    """One chat that was answered."""

    id_line: bytes
    """The answer's line with the request's id."""
    mark: int
    """Tells it from another request with the same id."""
    raw: bytes
    """The caller's body."""
    is_stream: bool
    said: bytes
    """The answer's header lines."""
    parts: Sequence[bytes]
    """The answer's body as it was sent."""
    grade: Grade
    named_group: bytes
    """As the caller wrote it."""
    held_bytes: int

    @property
    def request_id(self) -> str:
        """As the answer told it."""
        return self.id_line.partition(b": ")[2].rstrip().decode("ascii", "replace")

    @property
    def group(self) -> str:
        """The group of users; empty if none was named."""
        named = self.named_group
        return named.decode("ascii") if len(named) <= MAX_GROUP_BYTES and is_safe_token(named) else ""

    @property
    def model(self) -> str:
        """The model that answered, as callers know it."""
        return _value(self.said, _MODEL_LINE).decode("ascii", "replace")

    @property
    def version(self) -> int:
        """The version of that name; 0: as it is configured."""
        # Only what stands behind our model's line is ours: a server behind us may be a router as well.
        value = _value(self.said[self.said.rfind(_MODEL_LINE) :], _VERSION_LINE)
        return int(value) if value.isdigit() else 0


class Keeping:
    """Chooses the exchanges to keep. Lives on the HTTP loop; `take`, `free` and `let_go` may be called from others."""

    def __init__(self, feedback: Feedback, tally: FeedbackTally, max_held_bytes: int = MAX_HELD_BYTES) -> None:
        self._feedback = feedback
        self.max_answer_bytes = feedback.max_answer_bytes
        self._ratio = feedback.keep_ratio
        self._tally = tally
        self._max_held_bytes = max_held_bytes
        self.held_bytes = 0
        # What others let go of, on whatever thread: only this loop adds and subtracts.
        self._freed: deque[int] = deque()
        self._heard: deque[Heard] = deque()

    def client_for(self, request: Request, asked: ApiRequest, id_line: bytes, client: Client) -> Client:
        """The client that an exchange should talk to: the caller itself, or one who keeps what it says."""
        # By chance and not by the request's id: nobody chooses what is kept.
        if random() >= self._ratio or asked.route != "chat":  # noqa: S311  No secret hangs on it.
            return client
        body, headers = request.body, request.headers
        grade = grade_in(headers.get(GRADE), self._feedback.default_grade)
        if (
            NO_LEARNING in headers
            or grade is None
            or not self._feedback.may_keep(grade)
            or len(body) > self._feedback.max_question_bytes
            # Calls of tools are no texts that people judge or write.
            or b'"tools"' in body
        ):
            return client
        while self._freed:
            self.held_bytes -= self._freed.popleft()
        if not self.has_room(len(body)):
            self._tally.kept["dropped"] += 1
            return client
        return Kept(client, self, id_line, body, asked.is_stream, grade, headers.get(GROUP, b""))

    # ---- for `Kept` ------------------------------------------------------------------------------------------------

    def has_room(self, more_bytes: int) -> bool:
        """Whether so much more may be held."""
        return self.held_bytes + more_bytes <= self._max_held_bytes

    def put(self, heard: Heard) -> None:
        """One whole chat."""
        self._heard.append(heard)

    def dropped(self) -> None:
        """One for which there was no room."""
        self._tally.kept["dropped"] += 1

    def let_go(self, held_bytes: int) -> None:
        """Whoever held so much is gone. May be called from any thread."""
        self._freed.append(held_bytes)

    # ---- from the other loop ---------------------------------------------------------------------------------------

    def take(self, at_most: int) -> list[Heard]:
        """Take away what was heard first. Each is to be given back with `let_go` of its `held_bytes`."""
        return [self._heard.popleft() for _ in range(min(at_most, len(self._heard)))]


class Kept:
    """A client that keeps what it passes on, as long as it is a whole and good answer of bearable length."""

    __slots__ = (
        "_client", "_grade", "_group", "_held_bytes", "_id_line", "_is_stream", "_is_wanted", "_keeping", "_parts",
        "_raw", "_said",
    )  # fmt: skip

    def __init__(
        self,
        client: Client,
        keeping: Keeping,
        id_line: bytes,
        raw: bytes,
        is_stream: bool,
        grade: Grade,
        group: bytes,
    ) -> None:
        self._client = client
        self._keeping = keeping
        self._id_line = id_line
        self._raw = raw
        self._is_stream = is_stream
        self._grade: Grade = grade
        self._group = group
        self._held_bytes = len(raw)
        self._parts: list[bytes] = []
        self._said = b""
        self._is_wanted = False
        keeping.held_bytes += self._held_bytes

    def __del__(self) -> None:
        # A caller who hung up says nothing, but what was held for it is free again.
        if self._held_bytes:
            self._keeping.let_go(self._held_bytes)

    def answer(self, status: int, headers: bytes, body: bytes) -> None:
        """An engine's whole answer, or a refusal of ours."""
        self._client.answer(status, self._looked_at(status, headers), body)
        self._keep((body,))
        self._over()

    def begin(self, status: int, headers: bytes, content_length: int | None) -> None:
        """An engine's answer begins."""
        self._client.begin(status, self._looked_at(status, headers), content_length)

    def relay(self, parts: Sequence[bytes]) -> None:
        """Parts of it."""
        self._client.relay(parts)
        self._keep(parts)

    def end(self) -> None:
        """Its end."""
        self._client.end()
        self._over()

    def abort(self) -> None:
        """It broke off."""
        self._forget()
        self._client.abort()

    def _looked_at(self, status: int, headers: bytes) -> bytes:
        """The answer's header lines; a good answer says that it can be judged."""
        if status != _OK or _MODEL_LINE not in b"\r\n" + headers:
            self._forget()
            return headers
        self._is_wanted = True
        self._said = b"\r\n" + headers
        return headers + CAN_BE_JUDGED

    def _keep(self, parts: Sequence[bytes]) -> None:
        if not self._is_wanted:
            return
        keeping, size = self._keeping, sum(map(len, parts))
        has_room = keeping.has_room(size)
        # Its own length is bounded by the settings, what all hold together by memory.
        if not has_room or self._held_bytes + size > keeping.max_answer_bytes + len(self._raw):
            if not has_room:
                keeping.dropped()
            self._forget()
            return
        self._parts += parts
        self._held_bytes += size
        keeping.held_bytes += size

    def _over(self) -> None:
        if self._is_wanted:
            held_bytes, self._held_bytes = self._held_bytes, 0
            self._keeping.put(
                Heard(
                    self._id_line,
                    getrandbits(64),
                    self._raw,
                    self._is_stream,
                    self._said,
                    self._parts,
                    self._grade,
                    self._group,
                    held_bytes,
                )
            )
        self._forget()

    def _forget(self) -> None:
        held_bytes, self._held_bytes = self._held_bytes, 0
        self._keeping.held_bytes -= held_bytes
        self._is_wanted = False
        self._parts = []
        self._raw = b""


def grade_in(named: bytes | None, usual: Grade) -> Grade | None:
    """The grade that a caller names; None: a word that is no grade, which must be taken for the highest."""
    if named is None:
        return usual
    word = named.decode("latin-1").strip().lower()
    return next((grade for grade in GRADES if grade == word), None)


def _value(lines: bytes, name: bytes) -> bytes:
    # The last such line is ours.
    return lines.rpartition(name)[2].partition(b"\r\n")[0] if name in lines else b""
