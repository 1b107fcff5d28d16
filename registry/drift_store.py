"""Where windows and alerts of drift are kept: beside the rollouts, in the same database."""

import threading
from dataclasses import dataclass
from typing import Final

from pydantic import TypeAdapter
from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    Connection,
    Float,
    Integer,
    MetaData,
    Row,
    Table,
    Text,
    delete,
    insert,
    select,
    update,
)

from cluster.errors import NotFound, UserError
from cluster.settings import Settings
from registry.database import Database, rollouts_url
from registry.drift import Drift, FeatureDrift, Level, Reference, Window
from registry.rollout_tables import CONTROL

KEPT_WINDOWS: Final = 400
"""Of each version: a year of days. Alerts that nobody has taken are kept beyond that, up to `KEPT_ENTRIES`."""
KEPT_ENTRIES: Final = 1000
KEPT_VERSIONS: Final = 20
"""Of each name: those that were asked last."""

_METADATA: Final = MetaData()

_VERSIONS: Final = Table(
    "fenzhen_drift_versions",
    _METADATA,
    Column("name", Text, primary_key=True),
    Column("version", BigInteger, primary_key=True),
    Column("state", Text, nullable=False),
    Column("changed_s", Float(53), nullable=False),
)

_WINDOWS: Final = Table(
    "fenzhen_drift_windows",
    _METADATA,
    Column("entry_id", Integer, primary_key=True, autoincrement=True),
    Column("name", Text, nullable=False, index=True),
    Column("version", BigInteger, nullable=False),
    Column("since_s", Float(53), nullable=False),
    Column("until_s", Float(53), nullable=False, index=True),
    Column("requests", BigInteger, nullable=False),
    Column("level", Text, nullable=False),
    Column("document", Text, nullable=False),
    # Who trains from it, or has found that nothing need be done; empty: nobody yet.
    Column("taken_by", Text, nullable=False),
    Column("taken_s", Float(53), nullable=True),
)


@dataclass(frozen=True, slots=True)
class Watched:
    """How far the watch over one version has come."""

    reference: Reference | None
    """None: its first full window is still being counted."""
    parts: tuple[Window, ...]
    """Of the window that is being counted."""
    looks: int
    """Windows compared so far."""


@dataclass(frozen=True, slots=True)
class DriftEntry:
    """One window that was compared, from which training can start."""

    entry_id: int
    name: str
    version: int
    since_s: float
    until_s: float
    requests: int
    features: tuple[FeatureDrift, ...]
    level: Level
    action: str
    taken_by: str
    taken_s: float | None


_WATCHED: Final = TypeAdapter(Watched)
_DRIFT: Final = TypeAdapter(Drift)


class DriftStore:
    """Blocking; every call ends within seconds. Raises Unavailable when the database does not answer."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = threading.Lock()
        self._is_prepared = False

    def watched(self, name: str, version: int) -> Watched | None:
        """How far the watch over a version has come; None: not begun."""
        self._prepare()
        with self._database.reading() as connection:
            row = connection.execute(select(_VERSIONS.c.state).where(_is(name, version))).scalar_one_or_none()
        return None if row is None else _WATCHED.validate_json(row)

    def keep(self, name: str, version: int, watched: Watched) -> None:
        """Store how far the watch has come."""
        self._prepare()
        with self._database.writing() as connection:
            self._keep(connection, name, version, watched)

    def compared(self, name: str, version: int, watched: Watched, window: Window, drift: Drift) -> DriftEntry:
        """Store one comparison and how far the watch has come, both or neither."""
        self._prepare()
        with self._database.writing() as connection:
            self._keep(connection, name, version, watched)
            of_this = (_WINDOWS.c.name == name, _WINDOWS.c.version == version)
            # The same window told twice, by a controller that died between store and answer.
            connection.execute(delete(_WINDOWS).where(*of_this, _WINDOWS.c.since_s == window.since_s))
            connection.execute(
                insert(_WINDOWS).values(
                    name=name,
                    version=version,
                    since_s=window.since_s,
                    until_s=window.until_s,
                    requests=window.requests,
                    level=drift.level,
                    document=_DRIFT.dump_json(drift).decode(),
                    taken_by="",
                )
            )
            _forget(connection, name, version)
            row = connection.execute(select(_WINDOWS).where(*of_this, _WINDOWS.c.since_s == window.since_s)).one()
        return _entry(row)

    def entries_since(
        self, since_s: float = 0.0, name: str | None = None, *, all_windows: bool = False
    ) -> tuple[DriftEntry, ...]:
        """Alerts of windows that ended since then, the oldest first; with `all_windows` those without alert, too."""
        self._prepare()
        wanted = select(_WINDOWS).where(_WINDOWS.c.until_s >= since_s).order_by(_WINDOWS.c.until_s, _WINDOWS.c.entry_id)
        if name is not None:
            wanted = wanted.where(_WINDOWS.c.name == name)
        if not all_windows:
            wanted = wanted.where(_WINDOWS.c.level != "")
        with self._database.reading() as connection:
            return tuple(_entry(row) for row in connection.execute(wanted))

    def take_entry(self, entry_id: int, taken_by: str) -> DriftEntry:
        """Say that somebody trains from an alert or has dealt with it. Raises UserError if another has."""
        self._prepare()
        with self._database.writing() as connection:
            now_s = self._database.now_s(connection)
            mine = (_WINDOWS.c.entry_id == entry_id) & (_WINDOWS.c.taken_by == "")
            values = {"taken_by": taken_by, "taken_s": now_s}
            is_taken = connection.execute(update(_WINDOWS).where(mine).values(**values)).rowcount == 1
            row = connection.execute(select(_WINDOWS).where(_WINDOWS.c.entry_id == entry_id)).one_or_none()
        if row is None:
            raise NotFound(f"There is no drift entry {entry_id}.")
        if not is_taken and row.taken_by != taken_by:
            raise UserError(f"Drift entry {entry_id} was taken by {row.taken_by} already.")
        return _entry(row)

    def _prepare(self) -> None:
        with self._lock:
            if self._is_prepared:
                return
            with self._database.writing() as connection:
                # One after the other: PostgreSQL cannot make the same table twice at once.
                connection.execute(select(CONTROL.c.id).with_for_update())
                _METADATA.create_all(connection)
            self._is_prepared = True

    def _keep(self, connection: Connection, name: str, version: int, watched: Watched) -> None:
        values = {"state": _WATCHED.dump_json(watched).decode(), "changed_s": self._database.now_s(connection)}
        if not connection.execute(update(_VERSIONS).where(_is(name, version)).values(**values)).rowcount:
            connection.execute(insert(_VERSIONS).values(name=name, version=version, **values))
            of_name = select(_VERSIONS.c.version).where(_VERSIONS.c.name == name)
            newest = of_name.order_by(_VERSIONS.c.changed_s.desc()).limit(KEPT_VERSIONS)
            old = set(connection.execute(of_name).scalars()) - set(connection.execute(newest).scalars())
            connection.execute(delete(_VERSIONS).where(_VERSIONS.c.name == name, _VERSIONS.c.version.in_(old)))


def open_drift(settings: Settings) -> DriftStore:
    """The store that the settings name; nothing is asked of it yet."""
    return DriftStore(Database(rollouts_url(settings.registry.rollouts_uri, settings.site.state_dir)))


def _is(name: str, version: int) -> ColumnElement[bool]:
    return (_VERSIONS.c.name == name) & (_VERSIONS.c.version == version)


def _forget(connection: Connection, name: str, version: int) -> None:
    """Remove what is beyond the bounds."""
    of_version = select(_WINDOWS.c.entry_id).where(_WINDOWS.c.name == name, _WINDOWS.c.version == version)
    newest = of_version.order_by(_WINDOWS.c.until_s.desc())
    is_done = (_WINDOWS.c.level == "") | (_WINDOWS.c.taken_by != "")
    old = connection.execute(newest.where(is_done).offset(KEPT_WINDOWS)).scalars().all()
    too_old = connection.execute(newest.offset(KEPT_ENTRIES)).scalars().all()
    connection.execute(delete(_WINDOWS).where(_WINDOWS.c.entry_id.in_([*old, *too_old])))


def _entry(row: Row[tuple[object, ...]]) -> DriftEntry:
    drift = _DRIFT.validate_json(row.document)
    return DriftEntry(
        row.entry_id, row.name, row.version, row.since_s, row.until_s, row.requests, drift.features, drift.level,
        drift.action, row.taken_by, row.taken_s,
    )  # fmt: skip
