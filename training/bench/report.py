"""The report of the bench: parts are measured one after the other and stand in one JSON file."""

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Spread:
    """A figure that was measured several times."""

    median: float
    lowest: float
    highest: float


def spread_of(values: Sequence[float]) -> Spread:
    """Median and range. There is at least one value."""
    return Spread(statistics.median(values), min(values), max(values))


def add(report: Path, found: Mapping[str, Any]) -> None:
    """Put what was found into the report, and keep what else it has. Mappings are joined, one level deep."""
    whole: dict[str, Any] = json.loads(report.read_text(encoding="utf-8")) if report.exists() else {}
    for name, value in found.items():
        is_joined = isinstance(value, Mapping) and isinstance(whole.get(name), Mapping)
        whole[name] = {**whole[name], **value} if is_joined else value
    report.parent.mkdir(parents=True, exist_ok=True)
    report.write_text(json.dumps(whole, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def table(rows: Sequence[Sequence[str]]) -> str:
    """Columns, the first to the left and the others to the right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for first, *others in rows:
        cells = [first.ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True))]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)
