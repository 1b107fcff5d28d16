"""The tables of the database of rollouts."""

from typing import Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Connection,
    Float,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    insert,
    select,
    text,
)

SCHEMA_VERSION: Final = 1
# So that two processes that find an empty database do not both create its tables.
_ADVISORY_LOCK: Final = 0x66656E7A68656E

_METADATA: Final = MetaData()

CONTROL: Final = Table(
    "fenzhen_control",
    _METADATA,
    Column("id", Integer, primary_key=True),
    Column("schema_version", Integer, nullable=False),
    # Of the traffic in force.
    Column("generation", BigInteger, nullable=False),
    # The last entry of the history.
    Column("head_seq", BigInteger, nullable=False),
    Column("head_hash", Text, nullable=False),
    # The lease of the controller that acts.
    Column("owner", Text, nullable=False),
    Column("epoch", BigInteger, nullable=False),
    Column("until_s", Float(53), nullable=False),
)

ROLLOUTS: Final = Table(
    "fenzhen_rollouts",
    _METADATA,
    Column("rollout_id", Text, primary_key=True),
    Column("name", Text, nullable=False, index=True),
    # The name while it is not over, else NULL, of which there may be many: one active rollout a name.
    Column("active_name", Text, unique=True),
    Column("started_s", Float(53), nullable=False),
    Column("changed_s", Float(53), nullable=False),
    Column("document", Text, nullable=False),
)

DUTIES: Final = Table(
    "fenzhen_duties",
    _METADATA,
    Column("name", Text, primary_key=True),
    Column("document", Text, nullable=False),
)

ORDERS: Final = Table(
    "fenzhen_orders",
    _METADATA,
    Column("order_id", Integer, primary_key=True, autoincrement=True),
    Column("rollout_id", Text, nullable=False),
    Column("verb", Text, nullable=False),
    Column("by_whom", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("stage", Text, nullable=False),
    Column("given_s", Float(53), nullable=False),
    Column("is_open", Boolean, nullable=False, index=True),
    Column("is_accepted", Boolean, nullable=False),
    Column("answer", Text, nullable=False),
)

HISTORY: Final = Table(
    "fenzhen_history",
    _METADATA,
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("at_s", Float(53), nullable=False),
    Column("name", Text, nullable=False, index=True),
    Column("rollout_id", Text, nullable=False),
    Column("event", Text, nullable=False),
    Column("by_whom", Text, nullable=False),
    Column("said", Text, nullable=False),
    Column("document", Text, nullable=False),
    Column("hash", Text, nullable=False),
)

WATCHES: Final = Table(
    "fenzhen_watches",
    _METADATA,
    Column("rollout_id", Text, primary_key=True),
    Column("stage", Text, nullable=False),
    Column("watched_s", Float(53), nullable=False),
    Column("evidence", LargeBinary, nullable=False),
    # What `status` shows.
    Column("document", Text, nullable=False),
    Column("at_s", Float(53), nullable=False),
)

_ONLY_ADDED = "the history of rollouts is only ever added to"
_SQLITE_GUARDS: Final = tuple(
    f"CREATE TRIGGER IF NOT EXISTS fenzhen_history_no_{verb.lower()} BEFORE {verb} ON fenzhen_history "
    f"BEGIN SELECT RAISE(ABORT, '{_ONLY_ADDED}'); END"
    for verb in ("UPDATE", "DELETE")
)
_POSTGRESQL_GUARDS: Final = (
    "CREATE OR REPLACE FUNCTION fenzhen_history_only_added() RETURNS trigger LANGUAGE plpgsql AS "
    f"$$ BEGIN RAISE EXCEPTION '{_ONLY_ADDED}'; END $$",
    "CREATE OR REPLACE TRIGGER fenzhen_history_guard BEFORE UPDATE OR DELETE OR TRUNCATE ON fenzhen_history "
    "FOR EACH STATEMENT EXECUTE FUNCTION fenzhen_history_only_added()",
)


def create_all(connection: Connection) -> None:
    """Make what is missing. Can be done again and again, and by many at once."""
    is_postgresql = connection.dialect.name == "postgresql"
    if is_postgresql:
        connection.execute(text("SELECT pg_advisory_xact_lock(:number)"), {"number": _ADVISORY_LOCK})
    is_new = not connection.dialect.has_table(connection, CONTROL.name)
    if is_new:
        _METADATA.create_all(connection)
        for statement in _POSTGRESQL_GUARDS if is_postgresql else _SQLITE_GUARDS:
            connection.execute(text(statement))
        row = {"id": 1, "schema_version": SCHEMA_VERSION, "generation": 0, "head_seq": 0, "head_hash": ""}
        connection.execute(insert(CONTROL).values(**row, owner="", epoch=0, until_s=0.0))


def stored_schema_version(connection: Connection) -> int:
    """Which tables there are."""
    return int(connection.execute(select(CONTROL.c.schema_version)).scalar_one())
