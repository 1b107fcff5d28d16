"""What a model is taught from, once it has been read and checked."""

from dataclasses import dataclass
from typing import Literal

Role = Literal["system", "user", "assistant"]


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a chat."""

    role: Role
    content: str


@dataclass(frozen=True, slots=True)
class Row:
    """One example: a chat whose last turn is the answer to learn. Earlier answers are context, and learnt as well."""

    messages: tuple[Message, ...]
    source: str
    """Where it stands, for people: `rows.jsonl:12`."""
    group: str = ""
    """Rows of one group stand on one side of a split, and are measured apart: a department, a matter, a document."""

    @property
    def prompt(self) -> tuple[Message, ...]:
        """What the model is asked."""
        return self.messages[:-1]

    @property
    def answer(self) -> str:
        """What it should say."""
        return self.messages[-1].content


@dataclass(frozen=True, slots=True)
class Preference:
    """Two answers to one chat, of which one is better: for DPO."""

    prompt: tuple[Message, ...]
    chosen: str
    rejected: str
    source: str
    group: str = ""
