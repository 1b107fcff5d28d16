"""One request that is to be sent: its bytes, and all that a sample will say of it."""

from collections.abc import Callable
from dataclasses import dataclass, field

from loadtests.plan import Kind


@dataclass(frozen=True, slots=True, eq=False)
class Turn:
    """One turn of one person."""

    kind: Kind
    turn: int
    """0 for the first."""
    person: int
    question: str
    """Id of the labelled question, conversation or errand; "" where prompts are made to length."""
    language: str
    difficulty: str
    tenant: str
    level: str
    asked: str
    """The model asked for."""
    body: bytes
    """JSON of POST /v1/chat/completions. Streams ask for `stream_options.include_usage`."""
    # A key is in there, and logs may show a turn.
    headers: tuple[tuple[str, str], ...] = field(repr=False)
    """Beside host, content-type and content-length: the key, x-fenzhen-group, x-fenzhen-level."""
    is_streamed: bool
    is_right: Callable[[str], bool | None] | None
    """Marks the text of an answer that calls no tool; None, and an answer of None, where nobody can tell."""
