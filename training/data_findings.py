"""What was found in rows: a sentence that names file, line and kind, and never the text."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from cluster.errors import UserError

Severity = Literal["error", "left_out", "masked", "warning"]
"""error: training is refused. left_out: the row is not used, as the recipe says. masked: its personal data is replaced.
warning: worth a look."""

SHOWN: Final = 20
_SAME: Final = 3
"""An error with more findings shows so many; the report of `fenzhen train check` has all."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong with a row, or with a file."""

    severity: Severity
    kind: str
    """For machines: `not_json`, `too_long`, `duplicate`, ..."""
    path: Path
    line: int | None
    """Line of a JSONL file, row of a Parquet file, counted from 1; None: the whole file."""
    says: str
    """What is the case, and what mends it."""

    def __str__(self) -> str:
        return f"{self.path}{place(self.path, self.line)}: {self.says}"


class BadRows(UserError):
    """Rows that nothing may be learnt from as they are."""

    def __init__(self, findings: Sequence[Finding]) -> None:
        self.findings = tuple(findings)
        super().__init__("\n".join(told(self.findings)))


def told(findings: Sequence[Finding], most: int = SHOWN) -> list[str]:
    """The first findings as lines. Where many say the same of one file, a few stand for them all."""
    says: Counter[tuple[Path, str]] = Counter()
    lines: list[str] = []
    untold: Counter[tuple[Path, str]] = Counter()
    for finding in findings:
        key = finding.path, finding.says
        says[key] += 1
        if says[key] <= _SAME and len(lines) < most:
            lines.append(str(finding))
        else:
            untold[key] += 1
    if untold:
        rest = f"and {untold.total():,} more"
        if len(untold) == 1:
            rest += " that say the same"
        lines.append(f"{rest}; `fenzhen train check --output FOLDER` writes each into report.json")
    return lines


def place(path: Path, line: int | None) -> str:
    """`, line 12` or `, row 12`; empty for the whole file."""
    if line is None:
        return ""
    return f", {'row' if is_parquet(path) else 'line'} {line}"


def is_parquet(path: Path) -> bool:
    """Whether a file is read as Parquet; by its name, so that a wrong content is told."""
    return path.suffix.lower() in (".parquet", ".pq")
