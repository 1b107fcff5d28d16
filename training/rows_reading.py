"""Files of rows become rows, each with the place where it stands, and findings for everything that is none."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from cluster.errors import UserError
from registry.digests import file_sha256
from training.data_findings import Finding, is_parquet
from training.data_items import Item
from training.rows_lines import Record, read_lines
from training.rows_parquet import read_parquet
from training.rows_shape import Objective, row_of


@dataclass(frozen=True, slots=True)
class FileFacts:
    """What a report says of a file."""

    path: Path
    sha256: str
    size_bytes: int
    rows: int
    """That could be read, or are told of in a finding of their own."""


class FilesRead(NamedTuple):
    """All that stands in some files."""

    items: list[Item]
    findings: list[Finding]
    files: list[FileFacts]


def read_rows(paths: Sequence[Path], objective: Objective) -> FilesRead:
    """Read files in their order. Raises UserError for one that is not there or named twice."""
    _require_different(paths)
    read = FilesRead([], [], [])
    names = Counter(path.name for path in paths)
    for path in paths:
        if path.is_dir():
            raise UserError(f"{path} is a folder; name the files of rows in it")
        rows = 0
        name = path.name if names[path.name] == 1 else str(path)
        for record in read_parquet(path) if is_parquet(path) else read_lines(path):
            row = row_of(record, path, name, objective) if isinstance(record, Record) else record
            if isinstance(row, Finding):
                read.findings.append(row)
                rows += row.line is not None and row.severity == "error"
            else:
                assert isinstance(record, Record)
                read.items.append(Item(row, path, record.line))
                rows += 1
        read.files.append(FileFacts(path, file_sha256(path), path.stat().st_size, rows))
    return read


def objective_of(paths: Sequence[Path]) -> Objective:
    """`dpo` if the first row that can be read has answers to choose between, for a check without a recipe."""
    for path in paths:
        if not path.is_file():
            continue
        for record in read_parquet(path) if is_parquet(path) else read_lines(path):
            if isinstance(record, Record):
                return "dpo" if {"chosen", "rejected"} & record.values.keys() else "sft"
    return "sft"


def _require_different(paths: Sequence[Path]) -> None:
    count = Counter(path.resolve() for path in paths)
    for path in paths:
        if count[path.resolve()] > 1:
            raise UserError(f"{path} is named twice; name each file of rows once")
