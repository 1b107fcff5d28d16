"""Where questions and answers wait for people's opinion, and where the opinions are kept.

Personal data is masked here, before anything is written, so that no caller can forget it. What has been given is on
the disk when a call returns.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final, Literal

import orjson
from sqlalchemy import URL, Connection, Row, delete, func, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite

from cluster.errors import NotFound, UserError
from cluster.feedback_settings import Feedback, Grade
from cluster.masking import masked
from cluster.settings import Settings
from registry.database import Database
from registry.feedback_tables import FEEDBACK, KEPT, OPINIONS

Source = Literal["user", "reviewer"]

MAX_OPINIONS: Final = 100
"""On one answer. More is a program that runs wild."""
# The oldest are erased in parts, so that nobody waits long for the one writer.
_ERASED_AT_ONCE: Final = 500
_READ_AT_ONCE: Final = 1000


@dataclass(frozen=True, slots=True)
class Exchange:
    """One question and its answer."""

    request_id: str
    mark: str
    """Tells it from another request with the same id."""
    model: str
    """As the answer named it."""
    version: int
    grade: Grade
    group: str
    messages: tuple[tuple[str, str], ...]
    """Role and text of each turn before the answer."""
    answer: str
    is_whole: bool
    """Whether the answer came to its end, and was not cut off by a limit."""


@dataclass(frozen=True, slots=True)
class Opinion:
    """What somebody says of an answer."""

    rating: int | None
    """1, the worst, to 5."""
    has_consent: bool
    """Whether it may be learnt from. Without it the rating alone is kept."""
    corrected: str = ""
    comment: str = ""
    source: Source = "user"
    reviewed_by: str = ""


@dataclass(frozen=True, slots=True)
class Given:
    """An opinion that is on the disk."""

    model: str
    version: int
    is_first_rating: bool
    """Of this answer: it counts, later ones replace it."""
    has_texts: bool
    """Whether more than the rating was kept."""


@dataclass(frozen=True, slots=True)
class Judged:
    """An answer and the last opinion on it. Without its request's id: nothing leads back."""

    at_s: float
    """When the opinion was given."""
    model: str
    version: int
    grade: Grade
    group: str
    messages: tuple[tuple[str, str], ...]
    answer: str
    is_whole: bool
    opinion: Opinion


class FeedbackStore:
    """Blocking; every call ends within seconds. Raises Unavailable when the database does not answer."""

    def __init__(self, database: Database, limits: Feedback) -> None:
        self._database = database
        self._limits = limits

    @property
    def label(self) -> str:
        """What messages call the database."""
        return self._database.label

    def keep(self, exchanges: Sequence[Exchange]) -> None:
        """Keep these, masked; once more does nothing. Two with one request id are both given up."""
        rows = [_row_of(exchange) for exchange in exchanges]
        with self._database.writing() as connection:
            now_s = self._database.now_s(connection)
            for row in rows:
                if connection.execute(_insert_if_new(connection).values(**row, at_s=now_s)).first() is None:
                    _give_up_doubled(connection, row)

    def give(self, request_id: str, opinion: Opinion) -> Given:
        """Store an opinion. Raises NotFound if no such answer is kept."""
        request = _digest(request_id)
        with self._database.reading() as connection:
            # Before the masking, which is the dear part: most of what is unknown is known to be so here.
            _known(connection, request, for_update=False)
        # PostgreSQL takes no NUL.
        corrected, comment = (
            masked(text.replace("\0", "")) if opinion.has_consent else ""
            for text in (opinion.corrected, opinion.comment)
        )
        with self._database.writing() as connection:
            kept = _known(connection, request, for_update=True)
            mine = OPINIONS.c.request == request
            before = list(connection.execute(select(OPINIONS.c.rating).where(mine)).scalars())
            if len(before) >= MAX_OPINIONS:
                raise UserError(f"This answer has been judged {MAX_OPINIONS} times; no more is taken.")
            size = len(corrected.encode()) + len(comment.encode())
            if not opinion.has_consent:
                # Who takes consent back takes back the words, too.
                connection.execute(update(OPINIONS).where(mine).values(corrected="", comment=""))
            connection.execute(
                insert(OPINIONS).values(
                    request=request,
                    at_s=self._database.now_s(connection),
                    source=opinion.source,
                    reviewed_by=opinion.reviewed_by,
                    rating=opinion.rating,
                    has_consent=opinion.has_consent,
                    corrected=corrected,
                    comment=comment,
                )
            )
            changed = {"has_consent": opinion.has_consent, "size_bytes": kept.size_bytes + size}
            connection.execute(update(KEPT).where(KEPT.c.request == request).values(**changed))
        if before and not opinion.has_consent:
            self._database.wipe()
        is_first = opinion.rating is not None and all(rating is None for rating in before)
        return Given(kept.model, kept.version, is_first, bool(corrected or comment))

    def judged(self, since_s: float = 0.0) -> tuple[Judged, ...]:
        """All answers with an opinion, the one judged first at the beginning, if it was given since then."""
        last = select(func.max(OPINIONS.c.opinion_id).label("opinion_id")).group_by(OPINIONS.c.request).subquery()
        wanted = (
            select(KEPT, OPINIONS)
            .join(OPINIONS, OPINIONS.c.request == KEPT.c.request)
            .join(last, last.c.opinion_id == OPINIONS.c.opinion_id)
            .where(OPINIONS.c.at_s >= since_s, KEPT.c.is_doubled.is_(False))
            .order_by(OPINIONS.c.opinion_id)
        )
        with self._database.reading() as connection:
            found = connection.execution_options(yield_per=_READ_AT_ONCE).execute(wanted)
            return tuple(_judged(row._mapping) for row in found)

    def forget(self, request_id: str) -> bool:
        """Erase an answer and all that was said of it; whether there was one."""
        request = _digest(request_id)
        with self._database.writing() as connection:
            was_there = connection.execute(delete(KEPT).where(KEPT.c.request == request)).rowcount > 0
            connection.execute(delete(OPINIONS).where(OPINIONS.c.request == request))
        self._database.wipe()
        return was_there

    def prune(self) -> int:
        """Erase a part of what is too old or too much; how many. Call it again while it erases any."""
        limits = self._limits
        with self._database.writing() as connection:
            now_s = self._database.now_s(connection)
            is_old = ((KEPT.c.at_s < now_s - limits.keep_s) & KEPT.c.has_consent.is_(False)) | (
                KEPT.c.at_s < now_s - limits.learn_s
            )
            wanted = select(KEPT.c.request).where(is_old).limit(_ERASED_AT_ONCE)
            gone = list(connection.execute(wanted).scalars()) or self._too_many(connection)
            # In this order: an opinion that is being stored holds the row of its answer.
            connection.execute(delete(KEPT).where(KEPT.c.request.in_(gone)))
            connection.execute(delete(OPINIONS).where(OPINIONS.c.request.in_(gone)))
        if gone:
            self._database.wipe()
        return len(gone)

    def close(self) -> None:
        """Let go of all connections."""
        self._database.close()

    def _too_many(self, connection: Connection) -> list[str]:
        """The oldest, without consent first, as far as they are over the limit."""
        over = int(connection.execute(select(func.coalesce(func.sum(KEPT.c.size_bytes), 0))).scalar_one())
        over -= self._limits.max_bytes
        if over <= 0:
            return []
        gone = []
        oldest = select(KEPT.c.request, KEPT.c.size_bytes).order_by(KEPT.c.has_consent, KEPT.c.at_s)
        for request, size_bytes in connection.execute(oldest.limit(_ERASED_AT_ONCE)):
            if over <= 0:
                break
            gone.append(request)
            over -= size_bytes
        return gone


def open_feedback(settings: Settings) -> FeedbackStore:
    """The store that the settings name, for reading it. Raises NotFound where nothing was ever kept on this machine."""
    path = _file(settings.site.state_dir)
    if settings.feedback.uri is None and not path.exists():
        raise NotFound(
            f"there is no feedback: {path} does not exist. In fenzhen.yaml feedback.keep_ratio above 0 keeps chats for "
            f"it; where routers run on other machines, feedback.uri names the database"
        )
    return feedback_store(settings.feedback, settings.site.state_dir)


def feedback_store(feedback: Feedback, state_dir: Path) -> FeedbackStore:
    """The store that a section of the settings names."""
    url = feedback.uri or URL.create("sqlite", database=str(_file(state_dir))).render_as_string(False)
    return FeedbackStore(Database(url, FEEDBACK), feedback)


def _file(state_dir: Path) -> Path:
    return (state_dir / "feedback" / "feedback.db").absolute()


def _digest(request_id: str) -> str:
    return blake2b(request_id.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def _row_of(exchange: Exchange) -> dict[str, Any]:
    """What is stored of it: all that anybody wrote is masked."""
    messages = [[role, masked(text)] for role, text in exchange.messages]
    document = orjson.dumps({"messages": messages, "answer": masked(exchange.answer)}).decode()
    return {
        "request": _digest(exchange.request_id),
        "mark": exchange.mark,
        "model": exchange.model,
        "version": exchange.version,
        "grade": exchange.grade,
        # Whoever calls a group by a phone number means a person.
        "user_group": exchange.group if masked(exchange.group) == exchange.group else "",
        "document": document,
        "is_whole": exchange.is_whole,
        "is_doubled": False,
        "has_consent": False,
        "size_bytes": len(document.encode()),
    }


def _insert_if_new(connection: Connection) -> Any:
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    return dialect.insert(KEPT).on_conflict_do_nothing(index_elements=[KEPT.c.request]).returning(KEPT.c.request)


def _give_up_doubled(connection: Connection, row: dict[str, Any]) -> None:
    """Erase the texts of requests that share an id, unless it is the same one, stored again after a doubtful end."""
    other = (KEPT.c.request == row["request"]) & (KEPT.c.mark != row["mark"])
    emptied = {"document": "", "is_doubled": True, "has_consent": False, "size_bytes": 0}
    if connection.execute(update(KEPT).where(other).values(**emptied)).rowcount:
        connection.execute(delete(OPINIONS).where(OPINIONS.c.request == row["request"]))


def _known(connection: Connection, request: str, *, for_update: bool) -> Row[Any, Any, Any, Any]:
    wanted = select(KEPT.c.model, KEPT.c.version, KEPT.c.is_doubled, KEPT.c.size_bytes).where(KEPT.c.request == request)
    # One opinion on an answer after the other. SQLite has one writer anyway, and leaves the words out.
    row = connection.execute(wanted.with_for_update() if for_update else wanted).one_or_none()
    if row is None:
        raise NotFound(
            "No answer is kept under this request_id: it was not drawn to be kept, is too old, or is none. Answers "
            "that can be judged say so in the header x-fenzhen-feedback.",
            "request_id",
        )
    if row.is_doubled:
        raise NotFound(
            "Several requests came with this request_id, and nobody can tell which one is meant. Send each id once, "
            "or none: then one is made.",
            "request_id",
        )
    return row


def _judged(row: Any) -> Judged:
    document = orjson.loads(row[KEPT.c.document])
    opinion = Opinion(
        row[OPINIONS.c.rating], row[OPINIONS.c.has_consent], row[OPINIONS.c.corrected], row[OPINIONS.c.comment],
        row[OPINIONS.c.source], row[OPINIONS.c.reviewed_by],
    )  # fmt: skip
    return Judged(
        row[OPINIONS.c.at_s], row[KEPT.c.model], row[KEPT.c.version], row[KEPT.c.grade], row[KEPT.c.user_group],
        tuple((role, text) for role, text in document["messages"]), document["answer"], row[KEPT.c.is_whole], opinion,
    )  # fmt: skip
