"""Where rollouts are kept: what runs, what names are on duty with, what was ordered, what has happened.

Commands write rollouts and orders. All else is the controller's, in one transaction for each change: state, duty,
generation and history together, and only as long as it holds the lease.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from pydantic import TypeAdapter
from sqlalchemy import Connection, Row, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from cluster.errors import UserError
from cluster.settings import Settings
from cluster.traffic import AS_CONFIGURED
from registry import history, lease
from registry.database import Database, rollouts_url
from registry.history import Entry, Note
from registry.lease import Lease
from registry.rollout import Order, Rollout, Verb
from registry.rollout_states import Duty, Release
from registry.rollout_tables import CONTROL, DUTIES, ORDERS, ROLLOUTS, WATCHES

_ROLLOUT: Final = TypeAdapter(Rollout)
_DUTY: Final = TypeAdapter(Duty)


@dataclass(frozen=True, slots=True)
class Watch:
    """What a controller has gathered in one stage of a rollout, so that the next one goes on with it."""

    rollout_id: str
    stage: str
    watched_s: float
    evidence: bytes
    document: str
    """JSON for people: what it waits for, the last verdict."""
    at_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of an order."""

    is_accepted: bool
    said: str


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All that matters at one moment."""

    now_s: float
    generation: int
    rollouts: tuple[Rollout, ...]
    """Those that are not over, by name."""
    duties: dict[str, Duty]
    orders: dict[str, tuple[Order, ...]]
    """Those that are not answered yet, by rollout, in the order in which they are to be obeyed."""
    leader: str
    """Who holds the lease; empty: nobody."""


class RolloutStore:
    """Blocking; every call ends within seconds. Raises Unavailable when the database does not answer."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @property
    def label(self) -> str:
        """What messages call the database."""
        return self._database.label

    def close(self) -> None:
        """Let go of all connections."""
        self._database.close()

    # The lease.

    def acquire(self, owner: str, lease_s: float) -> Lease | None:
        """Take the lease if nobody holds it."""
        return lease.acquire(self._database, owner, lease_s)

    def renew(self, held: Lease, lease_s: float) -> None:
        """Go on holding it. Raises LostLease."""
        lease.renew(self._database, held, lease_s)

    def release(self, held: Lease) -> None:
        """Let the next one take over at once."""
        lease.release(self._database, held)

    def require(self, held: Lease) -> None:
        """Raises LostLease if another controller has taken over."""
        with self._database.writing() as connection:
            lease.require(connection, held)

    # What everybody may read.

    def snapshot(self) -> Snapshot:
        """What runs now."""
        with self._database.reading() as connection:
            control = connection.execute(select(CONTROL)).one()
            now_s = self._database.now_s(connection)
            active = connection.execute(
                select(ROLLOUTS.c.document).where(ROLLOUTS.c.active_name.is_not(None)).order_by(ROLLOUTS.c.name)
            )
            return Snapshot(
                now_s=now_s,
                generation=control.generation,
                rollouts=tuple(_ROLLOUT.validate_json(document) for document in active.scalars()),
                duties={row.name: _DUTY.validate_json(row.document) for row in connection.execute(select(DUTIES))},
                orders=_open_orders(connection),
                leader=control.owner if control.until_s > now_s else "",
            )

    def latest(self, name: str | None = None) -> tuple[Rollout, ...]:
        """The last rollout of each name, or of one."""
        with self._database.reading() as connection:
            wanted = select(ROLLOUTS.c.document).order_by(ROLLOUTS.c.started_s)
            if name is not None:
                wanted = wanted.where(ROLLOUTS.c.name == name)
            found = [_ROLLOUT.validate_json(document) for document in connection.execute(wanted).scalars()]
        last = {rollout.name: rollout for rollout in found}
        return tuple(last[key] for key in sorted(last))

    def watch(self, rollout_id: str) -> Watch | None:
        """What was stored last of a rollout's watch."""
        with self._database.reading() as connection:
            row = connection.execute(select(WATCHES).where(WATCHES.c.rollout_id == rollout_id)).one_or_none()
        if row is None:
            return None
        return Watch(row.rollout_id, row.stage, row.watched_s, row.evidence, row.document, row.at_s)

    def answer(self, order_id: int) -> Answer | None:
        """What became of an order; None: nobody has looked at it yet."""
        with self._database.reading() as connection:
            row = connection.execute(select(ORDERS).where(ORDERS.c.order_id == order_id)).one_or_none()
        return None if row is None or row.is_open else Answer(row.is_accepted, row.answer)

    def history(self, name: str | None = None) -> tuple[Entry, ...]:
        """What has happened, the oldest first."""
        with self._database.reading() as connection:
            return history.read(connection, name)

    def verify(self) -> tuple[str, str]:
        """The first entry of the history that does not fit, as a sentence (empty: all fit), and the last seal."""
        with self._database.reading() as connection:
            control = connection.execute(select(CONTROL)).one()
            words = history.misfit(history.read(connection, None), control.head_seq, control.head_hash)
        return words, control.head_hash

    def needed_versions(self) -> frozenset[tuple[str, int]]:
        """Versions that a rollout or a name on duty needs; nothing of them may be removed."""
        now = self.snapshot()
        needed: list[tuple[str, Release | None]] = []
        for rollout in now.rollouts:
            needed += [(rollout.name, each) for each in (rollout.stable, rollout.canary, rollout.previous)]
        for name, duty in now.duties.items():
            needed += [(name, duty.stable), (name, duty.previous)]
        return frozenset(
            (name, each.side.version)
            for name, each in needed
            if each is not None and each.side.version != AS_CONFIGURED
        )

    # What commands and alerts write.

    def start(self, rollout: Rollout, note: Note) -> None:
        """Put a rollout before the controller. Raises UserError if one of that name runs already."""
        try:
            with self._database.writing() as connection:
                now_s = self._held(connection)
                _require_free(connection, rollout)
                _put_rollout(connection, rollout, now_s)
                history.add(connection, now_s, note)
        except IntegrityError:
            raise UserError(f"another rollout of {rollout.name} has begun at this moment") from None

    def give(self, rollout: Rollout, verb: Verb, *, by: str, reason: str = "", stage: str = "") -> int:
        """Leave an order for the controller, and return its number."""
        with self._database.writing() as connection:
            said = {"rollout_id": rollout.rollout_id, "verb": verb, "by_whom": by, "reason": reason, "stage": stage}
            state = {"given_s": self._held(connection), "is_open": True, "is_accepted": False, "answer": ""}
            key = connection.execute(insert(ORDERS).values(**said, **state)).inserted_primary_key
            assert key is not None
            return int(key[0])

    def note(self, note: Note) -> Entry:
        """Write down what changes nothing."""
        with self._database.writing() as connection:
            return history.add(connection, self._held(connection), note)

    # What only the holder of the lease writes.

    def advance(
        self, held: Lease, rollout: Rollout, duty: Duty | None, note: Note, answer: tuple[int, Answer] | None = None
    ) -> tuple[int, Entry]:
        """Store one change, all of it or nothing. Returns the generation of the traffic that follows from it."""
        with self._database.writing() as connection:
            lease.require(connection, held)
            now_s = self._database.now_s(connection)
            _put_rollout(connection, rollout, now_s)
            if duty is not None:
                connection.execute(delete(DUTIES).where(DUTIES.c.name == rollout.name))
                document = _DUTY.dump_json(duty).decode()
                connection.execute(insert(DUTIES).values(name=rollout.name, document=document))
            if answer is not None:
                _close_order(connection, *answer)
            if rollout.is_over:
                _close_all_orders(connection, rollout)
            entry = history.add(connection, now_s, note)
            return _next_generation(connection, 0), entry

    def refuse(self, held: Lease, order_id: int, said: str, note: Note) -> Entry:
        """Answer an order that cannot be obeyed."""
        with self._database.writing() as connection:
            lease.require(connection, held)
            _close_order(connection, order_id, Answer(False, said))
            return history.add(connection, self._database.now_s(connection), note)

    def next_generation(self, held: Lease, above: int) -> int:
        """A new number for traffic, above that one and all before."""
        with self._database.writing() as connection:
            lease.require(connection, held)
            return _next_generation(connection, above)

    def keep(self, held: Lease, watch: Watch) -> None:
        """Replace what is stored of a rollout's watch."""
        with self._database.writing() as connection:
            lease.require(connection, held)
            connection.execute(delete(WATCHES).where(WATCHES.c.rollout_id == watch.rollout_id))
            connection.execute(
                insert(WATCHES).values(
                    rollout_id=watch.rollout_id,
                    stage=watch.stage,
                    watched_s=watch.watched_s,
                    evidence=watch.evidence,
                    document=watch.document,
                    at_s=self._database.now_s(connection),
                )
            )

    def _held(self, connection: Connection) -> float:
        """Come after all other writers; returns the time by the database's clock."""
        connection.execute(select(CONTROL.c.id).with_for_update())
        return self._database.now_s(connection)


def open_rollouts(settings: Settings) -> RolloutStore:
    """The store that the settings name; nothing is asked of it yet."""
    return RolloutStore(Database(rollouts_url(settings.registry.rollouts_uri, settings.site.state_dir)))


def as_document(rollout: Rollout) -> str:
    """A rollout as JSON."""
    return _ROLLOUT.dump_json(rollout).decode()


def _open_orders(connection: Connection) -> dict[str, tuple[Order, ...]]:
    rows: Sequence[Row[tuple[object, ...]]] = connection.execute(
        select(ORDERS).where(ORDERS.c.is_open.is_(True)).order_by(ORDERS.c.order_id)
    ).all()
    found: dict[str, list[Order]] = {}
    for row in rows:
        order = Order(row.order_id, row.verb, row.by_whom, row.reason, row.stage)
        found.setdefault(row.rollout_id, []).append(order)
    # A rollback waits for nothing that was ordered before.
    return {key: tuple(sorted(orders, key=lambda each: each.verb != "roll_back")) for key, orders in found.items()}


def _close_order(connection: Connection, order_id: int, answer: Answer) -> None:
    values = {"is_open": False, "is_accepted": answer.is_accepted, "answer": answer.said}
    connection.execute(update(ORDERS).where(ORDERS.c.order_id == order_id).values(**values))


def _close_all_orders(connection: Connection, rollout: Rollout) -> None:
    of_this = (ORDERS.c.rollout_id == rollout.rollout_id) & ORDERS.c.is_open.is_(True)
    said = f"the rollout is over: {rollout.stage}"
    connection.execute(update(ORDERS).where(of_this).values(is_open=False, is_accepted=False, answer=said))


def _next_generation(connection: Connection, above: int) -> int:
    generation: int = connection.execute(select(CONTROL.c.generation)).scalar_one()
    generation = max(generation, above) + 1
    connection.execute(update(CONTROL).values(generation=generation))
    return generation


def _put_rollout(connection: Connection, rollout: Rollout, now_s: float) -> None:
    values = {
        "name": rollout.name,
        "active_name": None if rollout.is_over else rollout.name,
        "started_s": rollout.started_s,
        "changed_s": now_s,
        "document": as_document(rollout),
    }
    changed = connection.execute(
        update(ROLLOUTS).where(ROLLOUTS.c.rollout_id == rollout.rollout_id).values(**values)
    ).rowcount
    if not changed:
        connection.execute(insert(ROLLOUTS).values(rollout_id=rollout.rollout_id, **values))


def _require_free(connection: Connection, rollout: Rollout) -> None:
    running = connection.execute(select(ROLLOUTS.c.document).where(ROLLOUTS.c.active_name == rollout.name)).scalar()
    if running is not None:
        other = _ROLLOUT.validate_json(running)
        raise UserError(
            f"a rollout of {rollout.name} runs already: version {other.canary.side.version}, {other.stage}; "
            f"`fenzhen rollout status {rollout.name}` shows it, `fenzhen rollout rollback {rollout.name}` ends it"
        )
    document = connection.execute(select(DUTIES.c.document).where(DUTIES.c.name == rollout.name)).scalar()
    in_force = None if document is None else _DUTY.validate_json(document).stable.side.version
    expected = rollout.canary if rollout.state.word == "reloading" else rollout.stable
    if in_force is not None and in_force != expected.side.version:
        raise UserError(f"{rollout.name} has come to version {in_force} at this moment; ask again")
