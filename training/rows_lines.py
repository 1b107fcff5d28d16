"""Lines of a JSONL file become records, or findings: another encoding, no JSON, a key that stands twice.

Nothing is guessed for the reader: a file in GB18030 is named as such, and not read as if it were.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final

from cluster.errors import UserError
from training.data_findings import Finding

MAX_LINE_BYTES: Final = 8 * 1024 * 1024
"""A row is at most so large: beyond it a line break was forgotten, or this is no file of rows."""

_BOM: Final = b"\xef\xbb\xbf"
_HAN: Final = re.compile("[\u4e00-\u9fff]")
_MAGIC: Final = (
    (b"\x1f\x8b", "gzip", "this is a gzip file; unpack it with `gunzip`"),
    (b"PK\x03\x04", "zip", "this is a zip or Excel file; export the rows as JSONL or Parquet"),
    (b"PAR1", "parquet", "this is a Parquet file; give it a name that ends in .parquet"),
    (b"\xff\xfe", "encoding", "this is UTF-16; convert it with `iconv -f UTF-16 -t UTF-8`"),
    (b"\xfe\xff", "encoding", "this is UTF-16; convert it with `iconv -f UTF-16 -t UTF-8`"),
)


@dataclass(frozen=True, slots=True)
class Record:
    """One row as it stands in a file: an object with string keys, whatever they hold."""

    line: int
    values: dict[str, Any]


class _Twice(ValueError):
    """A key stands twice in an object."""


class _NoNumber(ValueError):
    """NaN or Infinity, which JSON does not have."""


def read_lines(path: Path) -> Iterator[Record | Finding]:
    """Records of a file in their order, and a finding for each line that is none. Raises UserError if it is not there.

    Empty lines are passed over. Of lines in a wrong encoding only the first is told, with how many there are.
    """
    try:
        with path.open("rb") as file:
            yield from _read(path, file)
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from error


def _read(path: Path, file: BinaryIO) -> Iterator[Record | Finding]:
    head = file.read(64)
    file.seek(0)
    for magic, kind, says in _MAGIC:
        if head.startswith(magic):
            yield Finding("error", kind, path, None, says)
            return
    if b"\x00" in head:
        says = "this is no text, or UTF-16 (it has NUL bytes); save it as UTF-8"
        yield Finding("error", "encoding", path, None, says)
        return
    if head.lstrip(_BOM + b" \t\r\n").startswith(b"["):
        says = "this is one JSON list; write one object a line (`jq -c '.[]'` does)"
        yield Finding("error", "not_json", path, None, says)
        return
    wrong: list[tuple[int, str]] = []
    is_empty = True
    for number, line in _lines(file):
        if line is None:
            says = f"the line is longer than {MAX_LINE_BYTES // 2**20} MiB; is a line break missing?"
            yield Finding("error", "huge_line", path, number, says)
            is_empty = False
            continue
        if line.startswith(_BOM):
            yield from _marked(path, number)
            line = line[3:] if number == 1 else b""
            is_empty = is_empty and number == 1
        if not line.strip():
            continue
        is_empty = False
        try:
            text = line.decode("utf-8")
        except UnicodeDecodeError as error:
            wrong.append((number, _encoding(line, error)))
            continue
        yield _record(path, number, text)
    if wrong:
        number, says = wrong[0]
        more = f" ({len(wrong) - 1:,} more lines are so)" if len(wrong) > 1 else ""
        yield Finding("error", "encoding", path, number, f"{says}{more}")
    if is_empty:
        yield Finding("error", "empty_file", path, None, "the file is empty; it should hold one JSON object a line")


def _lines(file: BinaryIO) -> Iterator[tuple[int, bytes | None]]:
    """Each line with its number; None in place of one that is too long to be held."""
    number = 0
    while line := file.readline(MAX_LINE_BYTES + 1):
        number += 1
        if len(line) <= MAX_LINE_BYTES or line.endswith(b"\n"):
            yield number, line
            continue
        while line and not line.endswith(b"\n"):
            line = file.readline(MAX_LINE_BYTES)
        yield number, None


def _marked(path: Path, number: int) -> Iterator[Finding]:
    if number == 1:
        says = "the file begins with a byte order mark, which was passed over; save it as UTF-8 without"
        yield Finding("warning", "byte_order_mark", path, 1, says)
    else:
        says = "a byte order mark stands here: files were joined; take the mark out"
        yield Finding("error", "byte_order_mark", path, number, says)


def _encoding(line: bytes, error: UnicodeDecodeError) -> str:
    """What the line is in instead of UTF-8."""
    if error.reason == "unexpected end of data" and not line.endswith(b"\n"):
        return "the file ends in half a character: it was cut off; take it from its source again"
    try:
        text = line.decode("gb18030")
    except UnicodeDecodeError:
        text = ""
    foreign = [sign for sign in text if sign > "\x7f"]
    # Other encodings, read as GB18030, give characters that nobody writes.
    common = sum(bool(_HAN.match(sign)) and _is_common(sign) for sign in foreign)
    if foreign and common >= 0.5 * len(foreign):
        return "this is GB18030 (GBK), not UTF-8; convert it with `iconv -f GB18030 -t UTF-8`"
    return f"this is not UTF-8 (byte {error.start + 1} of the line is 0x{line[error.start]:02X}); save it as UTF-8"


def _is_common(sign: str) -> bool:
    try:
        sign.encode("gb2312")
    except UnicodeEncodeError:
        return False
    return True


def _record(path: Path, number: int, text: str) -> Record | Finding:
    try:
        values = json.loads(text, object_pairs_hook=_once, parse_constant=_no_constant)
    except _Twice:
        return Finding("error", "key_twice", path, number, "a key stands twice in one object; keep one")
    except _NoNumber:
        return Finding(
            "error", "not_json", path, number, "NaN and Infinity are no JSON; leave the key out, or use null"
        )
    except json.JSONDecodeError as error:
        # Its message names what was expected, never what stands there.
        says = f"this is not JSON: {_mended(error.msg)} at character {error.pos + 1}"
        if text.strip() in ("{", "["):
            says = "a row is one object on one line, and this one goes on below (`jq -c .` mends it)"
        return Finding("error", "not_json", path, number, says)
    except RecursionError:
        return Finding("error", "not_json", path, number, "this nests deeper than any row does")
    except ValueError:
        return Finding("error", "not_json", path, number, "this is not JSON: a number has too many digits")
    if not isinstance(values, dict):
        return Finding("error", "wrong_type", path, number, f"a row is a JSON object, this is {json_type(values)}")
    return Record(number, values)


def _mended(message: str) -> str:
    return message[:1].lower() + message[1:].removesuffix(" at")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise _Twice
    return found


def _no_constant(_: str) -> None:
    raise _NoNumber


def json_type(value: object) -> str:
    """What JSON calls a value's type, with its article."""
    match value:
        case None:
            return "null"
        case bool():
            return "a truth value"
        case int() | float():
            return "a number"
        case str():
            return "a text"
        case list():
            return "a list"
    return "an object"
