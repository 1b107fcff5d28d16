"""A database of ours: SQLite in the state folder, or PostgreSQL. That of rollouts unless another schema is named."""

import contextlib
import os
import sqlite3
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError, NoSuchModuleError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from cluster.errors import OurFault, Unavailable, UserError
from registry.rollout_tables import SCHEMA_VERSION, create_all, stored_schema_version

# A healthy database answers in milliseconds; a leader that waits longer than its lease is none any more.
_CONNECT_S: Final = 3
_STATEMENT_S: Final = 3
_BUSY_S: Final = 3.0
_IS_WRITING: Final = "fenzhen_is_writing"


@dataclass(frozen=True, slots=True)
class Schema:
    """What a database holds."""

    about: str
    """In a word, for messages."""
    key: str
    """The setting that names the database."""
    version: int
    create_all: Callable[[Connection], None]
    """Make what is missing; again and again, and by many at once."""
    stored_version: Callable[[Connection], int]


ROLLOUTS: Final = Schema("rollouts", "registry.rollouts_uri", SCHEMA_VERSION, create_all, stored_schema_version)
"""Whoever writes holds the one row of `control` meanwhile, so that all changes come one after the other."""


class Database:
    """One database, prepared at the first use. Blocking; every call ends within seconds."""

    def __init__(self, url: str, schema: Schema = ROLLOUTS) -> None:
        """Raises UserError for a URL that is none, without quoting it: it may hold a password."""
        self._schema = schema
        try:
            parsed = make_url(url)
        except ArgumentError:
            raise UserError(f"{schema.key} is not a URL as SQLAlchemy writes them") from None
        backend = parsed.get_backend_name()
        if backend not in ("sqlite", "postgresql"):
            raise UserError(f"{schema.key}: {backend} is not supported; use sqlite or postgresql+psycopg")
        self._is_sqlite = backend == "sqlite"
        self._url = parsed if self._is_sqlite else parsed.set(drivername="postgresql+psycopg")
        if self._is_sqlite and self._url.database in (None, "", ":memory:"):
            raise UserError(f"{schema.key}: {schema.about} must outlive a process; name a file, sqlite:////PATH")
        self._engine: Engine = self._made()
        self._lock = threading.Lock()
        self._is_prepared = False

    @property
    def label(self) -> str:
        """What messages call it: no user, no password, no options."""
        if self._is_sqlite:
            return f"{self._url.database}"
        return f"PostgreSQL at {self._url.host or 'the local socket'}, database {self._url.database}"

    @contextlib.contextmanager
    def reading(self) -> Iterator[Connection]:
        """One moment of the database. Raises Unavailable."""
        with self._translated():
            self._prepare()
            options = {} if self._is_sqlite else {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
            with self._engine.connect().execution_options(**options) as connection:
                yield connection

    @contextlib.contextmanager
    def writing(self) -> Iterator[Connection]:
        """One transaction; all of it is stored, or nothing. Raises Unavailable."""
        with self._translated():
            self._prepare()
            with self._begun() as connection:
                yield connection

    def now_s(self, connection: Connection) -> float:
        """The database's own time, seconds since the epoch: two machines' clocks differ."""
        words = (
            "(julianday('now') - 2440587.5) * 86400.0" if self._is_sqlite else "extract(epoch from clock_timestamp())"
        )
        return float(connection.execute(text(f"SELECT {words}")).scalar_one())

    def wipe(self) -> None:
        """Take what was erased out of SQLite's log as well, unless somebody is reading there. Raises Unavailable."""
        if self._is_sqlite:
            with (
                self._translated(),
                contextlib.closing(self._engine.raw_connection()) as connection,
                contextlib.suppress(sqlite3.OperationalError),
            ):
                connection.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()

    def close(self) -> None:
        """Let go of all connections."""
        self._engine.dispose()

    @contextlib.contextmanager
    def _begun(self) -> Iterator[Connection]:
        with self._engine.connect().execution_options(**{_IS_WRITING: True}) as connection, connection.begin():
            yield connection

    def _made(self) -> Engine:
        if self._is_sqlite:
            engine = create_engine(self._url, connect_args={"timeout": _BUSY_S})
            event.listen(engine, "connect", _set_up_sqlite)
            event.listen(engine, "begin", _begin_sqlite)
            return engine
        return create_engine(
            self._url,
            pool_pre_ping=True,
            pool_timeout=_CONNECT_S,
            connect_args={
                "connect_timeout": _CONNECT_S,
                # A machine that has gone without a word.
                "tcp_user_timeout": _CONNECT_S * 1000,
                "options": f"-c statement_timeout={_STATEMENT_S * 1000} -c lock_timeout={_STATEMENT_S * 1000} "
                f"-c idle_in_transaction_session_timeout={_STATEMENT_S * 2000}",
            },
        )

    def _prepare(self) -> None:
        with self._lock:
            if self._is_prepared:
                return
            if self._is_sqlite:
                self._make_file()
            with self._begun() as connection:
                self._schema.create_all(connection)
                found = self._schema.stored_version(connection)
            if found != self._schema.version:
                raise UserError(
                    f"{self.label} was written by another version of Fenzhen (schema {found}, this one has "
                    f"{self._schema.version}): use the Fenzhen that wrote it, or name another database"
                )
            self._is_prepared = True

    def _make_file(self) -> None:
        path = Path(str(self._url.database))
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            # SQLite gives the files beside it the same mode.
            os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
        except OSError as error:
            raise UserError(f"{path} cannot be written: {error.strerror}") from error

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except IntegrityError:
            # Two who wanted the same; the caller knows what.
            raise
        except NoSuchModuleError:
            raise OurFault(f"the driver for the database of {self._schema.about} is not installed") from None
        except (DBAPIError, PoolTimeout) as error:
            # Without the driver's own words: they may quote what was being written, or how we connect.
            kind = type(error.orig).__name__ if isinstance(error, DBAPIError) else "no free connection"
            raise Unavailable(f"the database of {self._schema.about} ({self.label}) does not answer: {kind}") from None


def rollouts_url(uri: str | None, state_dir: Path) -> str:
    """What the settings say, else a file in the state folder."""
    return uri or URL.create("sqlite", database=str(state_dir / "registry" / "rollouts.db")).render_as_string(False)


def _set_up_sqlite(connection: Any, _: Any) -> None:
    # The driver's own idea of when a transaction begins is too late for one that reads first.
    connection.isolation_level = None
    cursor = connection.cursor()
    wait = f"busy_timeout={int(_BUSY_S * 1000)}"
    # What is erased is overwritten as well.
    for pragma in ("journal_mode=WAL", wait, "synchronous=FULL", "foreign_keys=ON", "secure_delete=ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    is_writing = connection.get_execution_options().get(_IS_WRITING, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if is_writing else "BEGIN")
