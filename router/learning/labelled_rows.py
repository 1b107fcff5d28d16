"""Labelled rows: questions with how well the small and the large model answered them, read from JSON lines.

One row is `{"prompt": "...", "small": 0.0, "large": 1.0}`, and may have a `kind`. Files may be gzipped.
"""

import gzip
import json
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from cluster.errors import UserError

COLUMNS: Final = ("prompt", "small", "large")
MIN_ROWS: Final = 20
"""Fewer say nothing: the interval of any figure would cover everything."""


@dataclass(frozen=True, slots=True)
class RowSet:
    """Rows of one origin."""

    name: str
    prompts: Sequence[str]
    quality: NDArray[np.float64]
    """Two columns, the small and the large model's; higher is better, on any one scale."""
    kinds: Sequence[str]
    """What kind of task each row is; empty where nobody said."""
    licence: str = "yours"
    source: str = "your own rows"

    def __len__(self) -> int:
        return len(self.prompts)

    @property
    def small(self) -> NDArray[np.float64]:
        """The small model's quality, row by row."""
        return self.quality[:, 0]

    @property
    def large(self) -> NDArray[np.float64]:
        """The large model's."""
        return self.quality[:, 1]

    def at(self, rows: NDArray[np.intp]) -> "RowSet":
        """A selection of rows."""
        return RowSet(
            self.name,
            [self.prompts[row] for row in rows],
            self.quality[rows],
            [self.kinds[row] for row in rows],
            self.licence,
            self.source,
        )


def read_rows(path: Path) -> RowSet:
    """Read one file of rows. Raises UserError, which names the line to mend."""
    rows = _row_set(path.name, [_row(path, number, row) for number, row in json_lines(path)])
    check(rows, str(path))
    return rows


def read_stored(paths: Sequence[Path]) -> RowSet:
    """Read the files that a running stack writes, as one set. Raises UserError.

    A file may just have been begun, and end in half a row; neither is a mistake.
    """
    found = []
    for path in paths:
        whole_lines, _, _ = _content(path).rpartition("\n")
        found += [_row(path, number, row) for number, row in _parsed(whole_lines, path)]
    rows = _row_set("stored rows", found)
    check(rows, str(paths[0].parent) if paths else "stored rows")
    return rows


def check(rows: RowSet, where: str) -> None:
    """Refuse rows from which nothing can be learned, and say why."""
    if len(rows) < MIN_ROWS:
        raise UserError(f"{where}: {len(rows)} rows are too few; at least {MIN_ROWS} are needed.")
    for column, name in ((rows.small, "small"), (rows.large, "large")):
        is_one = float(column.min()) == float(column.max())
        # Where the large model's answers are what the small one's are held against, they all count as right.
        if is_one and not (name == "large" and column[0] == 1):
            raise UserError(
                f"{where}: {name} is {column[0]:g} in every row, so that nothing can be learned; "
                "good and bad answers are both needed."
            )


def text_of(path: Path, should_hold: str) -> str:
    """The text of a file, gzipped or not. Raises UserError, which says what the file should hold if it is empty."""
    text = _content(path)
    if not text.strip():
        raise UserError(f"{path} is empty; it should hold {should_hold}.")
    return text


def json_lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """The rows of a file of JSON lines, gzipped or not, each with its line number. Raises UserError."""
    return _parsed(text_of(path, f"one JSON object a line with {_columns()}"), path)


def _content(path: Path) -> str:
    try:
        content = path.read_bytes()
        if content[:2] == b"\x1f\x8b":
            content = gzip.decompress(content)
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        place = content[: error.start].count(b"\n") + 1
        raise UserError(f"{path}, line {place}: this is not UTF-8; save the file as UTF-8.") from error
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise UserError(f"{path} is cut off or not a whole gzip file.") from error
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}.") from error


def _parsed(text: str, path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        # A line of many brackets nests deeper than Python follows.
        except (ValueError, RecursionError) as error:
            raise UserError(f"{path}, line {number}: this is not JSON ({error}).") from error
        if not isinstance(row, dict):
            raise UserError(f"{path}, line {number}: a row is a JSON object with {_columns()}.")
        yield number, row


def _row(path: Path, number: int, row: dict[str, Any]) -> tuple[str, list[float], str]:
    missing = [column for column in COLUMNS if column not in row]
    if missing:
        raise UserError(f"{path}, line {number}: the column {missing[0]!r} is missing; a row has {_columns()}.")
    prompt = row["prompt"]
    if not isinstance(prompt, str) or not prompt.strip():
        raise UserError(f"{path}, line {number}: prompt must be a text that is not empty.")
    return prompt, [_share(row[column], column, path, number) for column in COLUMNS[1:]], str(row.get("kind", ""))


def _row_set(name: str, rows: Sequence[tuple[str, list[float], str]]) -> RowSet:
    quality = np.array([row[1] for row in rows], dtype=np.float64).reshape(-1, 2)
    return RowSet(name, [row[0] for row in rows], quality, [row[2] for row in rows])


def _share(value: object, column: str, path: Path, number: int) -> float:
    if not isinstance(value, int | float) or not 0 <= value <= 1:
        raise UserError(f"{path}, line {number}: {column} must be a number from 0 to 1, got {value!r}.")
    return float(value)


def _columns() -> str:
    return f"{', '.join(COLUMNS[:-1])} and {COLUMNS[-1]}"
