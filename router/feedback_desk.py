"""`POST /v1/feedback`: what people say of answers. Its work with the database is done on threads of its own."""

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import orjson

from cluster.errors import BadRequest, FenzhenError, NotFound, TooLarge, Unavailable, UserError
from cluster.feedback_settings import Feedback
from registry.feedback_store import FeedbackStore, Given, Opinion
from router.client_connection import ClientConnection
from router.feedback_tally import FeedbackTally
from router.http_request import Request, is_safe_token
from router.keeping import GRADE, grade_in
from router.openai_error import JSON_LINE, as_http, error_body
from router.overheard import NO_LEARNING

MAX_BODY_BYTES: Final = 64 * 1024
MAX_IN_FLIGHT: Final = 128
TIMEOUT_S: Final = 8.0
"""Longer than the database may take for a statement."""
# An answer is stored a moment after it was sent, perhaps by another replica: whoever is quicker waits for it.
_LOOK_AGAIN_S: Final = (0.2, 0.3, 0.5)
_THREADS: Final = 2
_RETRY_AFTER_S: Final = 5
_FIELDS: Final = ("request_id", "rating", "corrected_answer", "comment", "consent")

_log = logging.getLogger(__name__)

Rated = Callable[[str, int, int], None]
"""Hears model, version and rating of each first rating."""


class FeedbackDesk:
    """Takes feedback. Lives on the HTTP loop."""

    def __init__(self, store: FeedbackStore, feedback: Feedback, tally: FeedbackTally, rated: Rated) -> None:
        self._store = store
        self._feedback = feedback
        self._tally = tally
        self._rated = rated
        self._threads = ThreadPoolExecutor(_THREADS, "feedback")
        self._giving: set[asyncio.Task[None]] = set()

    def take(self, request: Request, id_line: bytes, connection: ClientConnection) -> "Giving | None":
        """Answer one request, now or later."""
        try:
            if len(self._giving) >= MAX_IN_FLIGHT:
                raise Unavailable(f"{MAX_IN_FLIGHT} opinions are being stored, as many as one replica takes.", 1)
            request_id, opinion = read_opinion(request.body)
        except FenzhenError as error:
            self._answer(error, id_line, connection)
            return None
        grade = grade_in(request.headers.get(GRADE), "public")
        if NO_LEARNING in request.headers or grade is None or not self._feedback.may_keep(grade):
            opinion = Opinion(opinion.rating, has_consent=False)
        giving = asyncio.get_running_loop().create_task(self._give(request_id, opinion, id_line, connection))
        # The loop itself holds a task only weakly.
        self._giving.add(giving)
        giving.add_done_callback(self._giving.discard)
        return Giving()

    def close(self) -> None:
        """Take no more, and let go of the database."""
        self._threads.shutdown(wait=False)
        self._store.close()

    async def _give(self, request_id: str, opinion: Opinion, id_line: bytes, connection: ClientConnection) -> None:
        try:
            async with asyncio.timeout(TIMEOUT_S):
                given = await self._given(request_id, opinion)
        except TimeoutError:
            self._answer(Unavailable("The feedback was not stored in time.", _RETRY_AFTER_S), id_line, connection)
        except FenzhenError as error:
            self._answer(error, id_line, connection)
        except Exception as error:
            # Its words may be a caller's: the kind is all that is told.
            _log.error("feedback failed, by a fault of ours: %s", type(error).__name__)
            self._tally.given["not_stored"] += 1
            connection.answer(
                500, JSON_LINE + id_line, error_body("The router failed on this feedback.", "server_error", None, None)
            )
        else:
            self._count(given, opinion)
            said = {"object": "feedback", "request_id": request_id, "rating": opinion.rating,
                    "consent": opinion.has_consent, "texts_stored": given.has_texts}  # fmt: skip
            connection.answer(200, JSON_LINE + id_line, orjson.dumps(said))

    async def _given(self, request_id: str, opinion: Opinion) -> Given:
        loop = asyncio.get_running_loop()
        for wait_s in (*_LOOK_AGAIN_S, None):
            try:
                return await loop.run_in_executor(self._threads, self._store.give, request_id, opinion)
            except NotFound:
                if wait_s is None:
                    raise
                await asyncio.sleep(wait_s)
        raise AssertionError("the last look returns or raises")

    def _count(self, given: Given, opinion: Opinion) -> None:
        self._tally.given["stored"] += 1
        if given.is_first_rating and opinion.rating is not None:
            key = (given.model, opinion.rating)
            self._tally.ratings[key] = self._tally.ratings.get(key, 0) + 1
            self._rated(given.model, given.version, opinion.rating)

    def _answer(self, error: FenzhenError, id_line: bytes, connection: ClientConnection) -> None:
        status, headers, body = as_http(error)
        match error:
            case NotFound():
                self._tally.given["unknown"] += 1
            case UserError():
                self._tally.given["refused"] += 1
            case _:
                self._tally.given["not_stored"] += 1
                if isinstance(error, Unavailable):
                    # Not the word for a model that is away.
                    body = error_body(str(error), "service_unavailable_error", None, "feedback_not_stored")
        connection.answer(status, headers + id_line, body)


class Giving:
    """One opinion that is being stored: whether or not anybody waits for the answer."""

    __slots__ = ()

    def client_gone(self) -> None:
        """It is stored all the same."""

    def client_is_slow(self) -> None:
        """There is one short answer."""

    def client_is_ready(self) -> None:
        """There is one short answer."""

    def sweep(self, now_s: float) -> None:
        """It keeps its own time."""


def read_opinion(raw: bytes) -> tuple[str, Opinion]:
    """The request id and the opinion in a body. Raises BadRequest naming the field, TooLarge."""
    if len(raw) > MAX_BODY_BYTES:
        raise TooLarge(f"Feedback may have {MAX_BODY_BYTES} bytes, this has {len(raw)}.")
    try:
        body = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise BadRequest(f"The body is not JSON: {error}.") from None
    if not isinstance(body, dict):
        raise BadRequest("The body must be a JSON object.")
    for field in body:
        if field not in _FIELDS:
            # The name of a field may hold anything: only one that looks like a name is repeated.
            name = field if field.isidentifier() and field.isascii() and len(field) <= 32 else "one field"
            raise BadRequest(f"{name} is unknown here. There are: {', '.join(_FIELDS)}.", name)
    request_id = body.get("request_id")
    if not isinstance(request_id, str) or not is_safe_token(request_id.encode("utf-8", "replace")):
        raise BadRequest("request_id must be the x-request-id of the answer that is meant.", "request_id")
    opinion = Opinion(
        _rating(body.get("rating")), _consent(body.get("consent")), _words(body, "corrected_answer"),
        _words(body, "comment"),
    )  # fmt: skip
    if opinion.rating is None and not opinion.corrected and not opinion.comment and "consent" not in body:
        raise BadRequest("rating, corrected_answer or comment is missing: there is nothing to store.", "rating")
    return request_id, opinion


def _rating(value: Any) -> int | None:
    if value is None or (isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= 5):
        return value
    raise BadRequest("rating must be a whole number from 1 (worst) to 5 (best).", "rating")


def _consent(value: Any) -> bool:
    if value is None or isinstance(value, bool):
        return bool(value)
    raise BadRequest("consent must be true or false.", "consent")


def _words(body: dict[str, Any], field: str) -> str:
    value = body.get(field)
    if value is None or isinstance(value, str):
        return (value or "").strip()
    raise BadRequest(f"{field} must be a text.", field)
