"""Files of recorded requests, read row by row: Azure's CSV of 2023 and 2024, Mooncake's JSON lines, gzipped or not.

- Azure LLM inference traces (AzurePublicDataset): TIMESTAMP, ContextTokens, GeneratedTokens.
- Mooncake (kvcache-ai/Mooncake): timestamp in ms, input_length, output_length, and hash_ids, one for each block of 512
  tokens: equal ids mean that all text up to there is equal.
"""

import gzip
import zlib
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Final, NamedTuple

import orjson

from cluster.errors import UserError

BLOCK_TOKENS: Final = 512
_GZIP: Final = b"\x1f\x8b"
_COLUMNS: Final = ("TIMESTAMP", "ContextTokens", "GeneratedTokens")
# A prompt of a million tokens takes 20 kB; a file without line ends must not fill the memory.
_LONGEST_LINE_BYTES: Final = 1 << 20


class Row(NamedTuple):
    """One recorded request."""

    time_s: float
    """On the trace's own clock."""
    prompt_tokens: int
    answer_tokens: int
    """At least 1: a request whose answer was empty was still asked."""
    prefix_blocks: tuple[int, ...]


def read_rows(path: Path) -> Iterator[Row]:
    """The rows in order of time. Raises UserError with the line that must be mended."""
    parse: Callable[[bytes], Row] | None = None
    last_s = float("-inf")
    for number, line in _lines(path):
        if not line.strip():
            continue
        try:
            if parse is None:
                parse = _parser(line)
                if parse is not _mooncake_row:
                    continue
            row = parse(line)
        except (ValueError, TypeError) as error:
            raise UserError(f"{path}:{number}: {error}") from error
        if row.time_s < last_s:
            raise UserError(f"{path}:{number}: it is earlier than the line before; sort the file by time")
        last_s = row.time_s
        yield row
    if parse is None:
        raise UserError(f"{path} is empty; a trace is Azure's CSV or Mooncake's JSON lines")


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    try:
        with path.open("rb") as raw:
            is_packed = raw.read(len(_GZIP)) == _GZIP
            raw.seek(0)
            lines: IO[bytes] | gzip.GzipFile = gzip.GzipFile(fileobj=raw) if is_packed else raw
            number = 0
            while line := lines.readline(_LONGEST_LINE_BYTES):
                number += 1
                if len(line) == _LONGEST_LINE_BYTES:
                    raise UserError(f"{path}:{number}: the line is longer than 1 MiB: is this a trace?")
                yield number, line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise UserError(f"{path} is damaged ({error}); fetch it again") from error
    except OSError as error:
        raise UserError(f"the trace {path} cannot be read: {error.strerror}") from error


def _parser(line: bytes) -> Callable[[bytes], Row]:
    """What reads the lines of a file that begins with this one."""
    if line.lstrip().startswith(b"{"):
        return _mooncake_row
    names = [name.strip() for name in line.decode("utf-8", "replace").split(",")]
    if not set(_COLUMNS) <= set(names):
        raise ValueError(
            f"this is no trace that we know: it begins neither with the columns {', '.join(_COLUMNS)} (Azure) nor with "
            "a JSON object (Mooncake)"
        )
    at, asked, answered = (names.index(name) for name in _COLUMNS)

    def azure_row(line: bytes) -> Row:
        values = line.decode("ascii", "replace").split(",")
        if len(values) != len(names):
            raise ValueError(f"expected {len(names)} values as in the first line, got {len(values)}")
        tokens = [_count(_COLUMNS[place], _number(values[column])) for place, column in ((1, asked), (2, answered))]
        return Row(_time_s(values[at].strip()), max(1, tokens[0]), max(1, tokens[1]), ())

    return azure_row


def _mooncake_row(line: bytes) -> Row:
    try:
        document = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise ValueError(f"it is no JSON ({error})") from error
    if not isinstance(document, dict):
        raise TypeError("expected a JSON object")
    missing = {"timestamp", "input_length", "output_length", "hash_ids"} - set(document)
    if missing:
        raise ValueError(f"{', '.join(sorted(missing))} is missing")
    prompt = max(1, _count("input_length", document["input_length"]))
    if not isinstance(document["hash_ids"], list):
        raise TypeError("hash_ids must be a list of whole numbers")
    blocks = tuple(_count("hash_ids", number) for number in document["hash_ids"])
    # Files of the same form exist with smaller blocks and with seconds: read as these they would be all wrong.
    if len(blocks) != -(-prompt // BLOCK_TOKENS):
        raise ValueError(
            f"{prompt} tokens are {-(-prompt // BLOCK_TOKENS)} blocks of {BLOCK_TOKENS}, but hash_ids has "
            f"{len(blocks)}; only traces with blocks of {BLOCK_TOKENS} tokens are read"
        )
    return Row(
        _count("timestamp", document["timestamp"]) / 1000,
        prompt,
        max(1, _count("output_length", document["output_length"])),
        blocks,
    )


def _time_s(text: str) -> float:
    try:
        time = datetime.fromisoformat(text)
    except ValueError as error:
        raise ValueError(f"TIMESTAMP must be like 2023-11-16 18:15:46.6805900, got {text[:40]!r}") from error
    # Those of 2023 name no zone; those of 2024 do.
    return (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()


def _number(text: str) -> object:
    stripped = text.strip()
    return int(stripped) if stripped.isdecimal() else stripped[:40]


def _count(name: str, value: object) -> int:
    if type(value) is not int or value < 0:
        raise ValueError(f"{name} must be a whole number from 0, got {value!r}")
    return value
