"""One controller acts: it holds a lease in the database, by the database's own clock.

Each taking-over begins a new epoch, and whatever a controller writes is written only if its epoch is still the last.
So one that was paused and wakes up after another has taken over can change nothing.
"""

from dataclasses import dataclass

from sqlalchemy import Connection, select, update

from cluster.errors import Unavailable
from registry.database import Database
from registry.rollout_tables import CONTROL


class LostLease(Unavailable):
    """Another controller has taken over."""


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to act."""

    owner: str
    epoch: int


def acquire(database: Database, owner: str, lease_s: float) -> Lease | None:
    """Take over if nobody holds the lease any more; None: somebody does."""
    with database.reading() as connection:
        # Looking takes no lock, and mostly there is nothing to take.
        if _is_held(connection, database):
            return None
    with database.writing() as connection:
        row = connection.execute(select(CONTROL).with_for_update()).one()
        now_s = database.now_s(connection)
        if row.until_s > now_s:
            return None
        # The traffic of a new leader is a later decision than all of the one before, whatever that one still sends.
        values = {"owner": owner, "epoch": row.epoch + 1, "until_s": now_s + lease_s, "generation": row.generation + 1}
        connection.execute(update(CONTROL).values(**values))
        return Lease(owner, row.epoch + 1)


def renew(database: Database, lease: Lease, lease_s: float) -> None:
    """Go on holding it. Raises LostLease."""
    with database.writing() as connection:
        require(connection, lease)
        connection.execute(update(CONTROL).values(until_s=database.now_s(connection) + lease_s))


def release(database: Database, lease: Lease) -> None:
    """Let the next one take over at once; no error if one has already."""
    with database.writing() as connection:
        connection.execute(update(CONTROL).where(CONTROL.c.epoch == lease.epoch).values(until_s=0.0))


def require(connection: Connection, lease: Lease) -> None:
    """Lock the row of `CONTROL`. Raises LostLease if another epoch has begun."""
    epoch = connection.execute(select(CONTROL.c.epoch).with_for_update()).scalar_one()
    if epoch != lease.epoch:
        raise LostLease("another controller of rollouts has taken over")


def _is_held(connection: Connection, database: Database) -> bool:
    until_s: float = connection.execute(select(CONTROL.c.until_s)).scalar_one()
    return until_s > database.now_s(connection)
