"""One request to one side as it was seen in passing, before anybody has looked into it."""

from typing import TYPE_CHECKING, Final, NamedTuple

from cluster.outcomes import Fault
from router.openai_request import Route

if TYPE_CHECKING:
    from router.splits import Drawn

GROUP: Final = b"x-fenzhen-group"
"""A caller's header: the group of users that it speaks for."""


class Asked(NamedTuple):
    """What the caller asked for."""

    name: str
    """The model as the caller named it."""
    route: Route
    is_stream: bool
    raw: bytes
    """The body; empty where it is too long to be held."""
    raw_bytes: int
    """Its length, held or not."""
    group: bytes = b""
    may_copy: bool = True
    """Whether the caller allows that the request is used for anything but its answer."""
    task: str = ""
    """The kind of task as the body's bytes tell it, where the body is not held."""


class Record(NamedTuple):
    """One request to one side, and what came back. All times on one clock, in seconds."""

    asked: Asked
    drawn: "Drawn | None"
    """None: the name has no split, and the request counts for the watch over drift only."""
    model: str
    """The model whose engines answered."""
    is_drift: bool
    """Whether it was drawn by chance for the watch over drift."""
    has_escalated: bool
    started_s: float
    """When it was sent to this side."""
    first_s: float = 0.0
    """When the first byte of the answer's body came."""
    last_s: float = 0.0
    """When the last one came."""
    status: int = 0
    """0: it never answered."""
    fault: Fault = ""
    """What is known without reading the answer."""
    parts: tuple[bytes, ...] | None = None
    """The answer's body; None where it is too long to be held."""
    tail: bytes = b""
    """The last part of an answer that is not held."""
    events: int = 0
    """Of an answer that is not held: its server-sent events."""
    held_bytes: int = 0
    """What this record keeps in memory."""
