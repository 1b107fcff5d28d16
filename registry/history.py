"""What has been decided, by whom and why: entries that are only ever added, each sealed with the one before.

The seal is the SHA-256 of the entry together with the seal before it, so that nobody can change, remove or insert one
without all later seals changing. The last seal also goes to the controller's log, which is kept elsewhere.
"""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import Connection, insert, select, update

from registry.rollout_tables import CONTROL, HISTORY


@dataclass(frozen=True, slots=True)
class Note:
    """What an entry is to say."""

    name: str
    rollout_id: str
    event: str
    """The stage that was reached, or what else happened: `held`, `order refused`, `alert`."""
    by: str
    said: str
    """One sentence for a person."""
    document: str = ""
    """JSON: the state then and the figures that decided."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the history."""

    seq: int
    at_s: float
    """Seconds since the epoch, by the database's clock."""
    note: Note
    seal: str


def seal_of(before: str, seq: int, at_s: float, note: Note) -> str:
    """SHA-256 over an entry and the seal before it."""
    values = [before, seq, repr(at_s), note.name, note.rollout_id, note.event, note.by, note.said, note.document]
    return hashlib.sha256(json.dumps(values, ensure_ascii=True).encode()).hexdigest()


def add(connection: Connection, at_s: float, note: Note) -> Entry:
    """Write one entry. The caller holds the row of `CONTROL`."""
    control = connection.execute(select(CONTROL.c.head_seq, CONTROL.c.head_hash)).one()
    seq = control.head_seq + 1
    entry = Entry(seq, at_s, note, seal_of(control.head_hash, seq, at_s, note))
    connection.execute(
        insert(HISTORY).values(
            seq=seq,
            at_s=at_s,
            name=note.name,
            rollout_id=note.rollout_id,
            event=note.event,
            by_whom=note.by,
            said=note.said,
            document=note.document,
            hash=entry.seal,
        )
    )
    connection.execute(update(CONTROL).values(head_seq=seq, head_hash=entry.seal))
    return entry


def read(connection: Connection, name: str | None) -> tuple[Entry, ...]:
    """All entries, of one name or of all, the oldest first."""
    wanted = select(HISTORY).order_by(HISTORY.c.seq)
    if name is not None:
        wanted = wanted.where(HISTORY.c.name == name)
    return tuple(
        Entry(
            row.seq, row.at_s, Note(row.name, row.rollout_id, row.event, row.by_whom, row.said, row.document), row.hash
        )
        for row in connection.execute(wanted)
    )


def misfit(entries: Iterable[Entry], head_seq: int, head_seal: str) -> str:
    """A sentence about the first entry that does not fit; empty: nothing was altered."""
    seal, seq = "", 0
    for entry in entries:
        if entry.seq != seq + 1:
            return f"entry {seq + 1} is missing: after {seq} comes {entry.seq}"
        seal, seq = seal_of(seal, entry.seq, entry.at_s, entry.note), entry.seq
        if seal != entry.seal:
            return f"entry {seq} does not fit its seal: it, or one before it, was altered"
    if seq != head_seq or seal != head_seal:
        return f"entries are missing at the end: the last one was {head_seq}, the last one there is {seq}"
    return ""
