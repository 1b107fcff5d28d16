"""Rows on their way through the checks: where each stands in which file, and how many tokens it has."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from training.data_findings import Finding, Severity, place
from training.near_duplicates import plain
from training.rows import Preference, Row

_ROLE: Final = "\x1e"


@dataclass(frozen=True, slots=True)
class Item:
    """One row that could be read."""

    row: Row | Preference
    path: Path
    line: int
    prompt_tokens: int = 0
    answer_tokens: int = 0
    """For a preference the longer of both answers."""

    @property
    def where(self) -> str:
        """For a sentence: `rows.jsonl, line 3`."""
        return f"{self.path}{place(self.path, self.line)}"

    @property
    def answers(self) -> tuple[str, ...]:
        """The answer; for a preference the better one first."""
        match self.row:
            case Row():
                return (self.row.answer,)
            case Preference():
                return (self.row.chosen, self.row.rejected)

    @property
    def question(self) -> str:
        """All turns before the answer, the system prompt left out, without what makes no difference."""
        return plain("\n".join(message.content for message in self.row.prompt if message.role != "system"))

    @property
    def prompt_key(self) -> str:
        """The same for the same prompt, roles and system prompt included."""
        return _ROLE.join(f"{message.role}{_ROLE}{plain(message.content)}" for message in self.row.prompt)

    def found(self, severity: Severity, kind: str, says: str) -> Finding:
        """A finding about this row."""
        return Finding(severity, kind, self.path, self.line, says)
