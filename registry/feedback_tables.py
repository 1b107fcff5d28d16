"""The tables of the database of feedback. Request ids stand there as digests: callers may put anything into them."""

from typing import Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Connection,
    Float,
    Integer,
    MetaData,
    Table,
    Text,
    insert,
    select,
    text,
)

from registry.database import Schema

_VERSION: Final = 1
# So that two processes that find an empty database do not both create its tables.
_ADVISORY_LOCK: Final = 0x66656564626B

_METADATA: Final = MetaData()

_SCHEMA: Final = Table("fenzhen_feedback_schema", _METADATA, Column("version", Integer, primary_key=True))

KEPT: Final = Table(
    "fenzhen_feedback_kept",
    _METADATA,
    Column("request", Text, primary_key=True),
    # Which of several requests with one id it is.
    Column("mark", Text, nullable=False),
    Column("at_s", Float(53), nullable=False, index=True),
    Column("model", Text, nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("grade", Text, nullable=False),
    Column("user_group", Text, nullable=False),
    # JSON: messages and answer.
    Column("document", Text, nullable=False),
    Column("is_whole", Boolean, nullable=False),
    # Empty now: another request came with the same id, and nobody can tell which one is meant.
    Column("is_doubled", Boolean, nullable=False),
    # As the last opinion says.
    Column("has_consent", Boolean, nullable=False),
    # Of the texts here and of all opinions on it.
    Column("size_bytes", BigInteger, nullable=False),
)

OPINIONS: Final = Table(
    "fenzhen_feedback_opinions",
    _METADATA,
    Column("opinion_id", Integer, primary_key=True, autoincrement=True),
    Column("request", Text, nullable=False, index=True),
    Column("at_s", Float(53), nullable=False),
    # `user`, or a `reviewer`, of whom `reviewed_by` tells.
    Column("source", Text, nullable=False),
    Column("reviewed_by", Text, nullable=False),
    Column("rating", Integer, nullable=True),
    Column("has_consent", Boolean, nullable=False),
    Column("corrected", Text, nullable=False),
    Column("comment", Text, nullable=False),
)


def _create_all(connection: Connection) -> None:
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:number)"), {"number": _ADVISORY_LOCK})
    if not connection.dialect.has_table(connection, _SCHEMA.name):
        _METADATA.create_all(connection)
        connection.execute(insert(_SCHEMA).values(version=_VERSION))


def _stored_version(connection: Connection) -> int:
    return int(connection.execute(select(_SCHEMA.c.version)).scalar_one())


FEEDBACK: Final = Schema("feedback", "feedback.uri", _VERSION, _create_all, _stored_version)
