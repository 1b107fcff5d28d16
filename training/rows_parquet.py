"""Rows of a Parquet file become records, or findings: columns and types are judged once, before any row."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from cluster.errors import UserError
from training.data_findings import Finding
from training.rows_lines import Record

_MAGIC: Final = b"PAR1"
_BATCH_ROWS: Final = 4096
_TEXTS: Final = ("prompt", "answer", "completion", "system", "group", "chosen", "rejected", "source")
_MESSAGES: Final = "list<struct<role: string, content: string>>"


def read_parquet(path: Path) -> Iterator[Record | Finding]:
    """Records of a file in their order, and what is wrong with it. Nulls count as absent.

    Raises UserError if it is not there.
    """
    try:
        with path.open("rb") as file:
            head = file.read(4)
            is_empty = not head
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from error
    if is_empty:
        yield Finding("error", "empty_file", path, None, "the file is empty")
        return
    if head != _MAGIC:
        says = "this is no Parquet file; a file of JSON lines has a name that ends in .jsonl"
        yield Finding("error", "not_parquet", path, None, says)
        return
    yield from _records(path)


def _records(path: Path) -> Iterator[Record | Finding]:
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ModuleNotFoundError as error:
        raise UserError(f"{path}: to read Parquet install pyarrow: `pip install 'fenzhen[train]'`") from error
    row = 0
    try:
        with parquet.ParquetFile(path) as file:
            wrong = list(_wrong_types(path, file.schema_arrow))
            if wrong:
                yield from wrong
                return
            if file.metadata.num_rows == 0:
                yield Finding("error", "empty_file", path, None, "the file has no rows")
            for batch in file.iter_batches(batch_size=_BATCH_ROWS):
                for values in batch.to_pylist():
                    row += 1
                    yield Record(row, _there(values))
    except UnicodeDecodeError:
        says = f"a text after row {row} is not UTF-8; write the file anew from texts, not from bytes"
        yield Finding("error", "encoding", path, None, says)
    except (pa.ArrowException, OSError, ValueError):
        says = f"the file is cut off or damaged after row {row}" if row else "the file is cut off or damaged"
        yield Finding("error", "not_parquet", path, None, f"{says}; write it anew")


def _there(values: dict[str, Any]) -> dict[str, Any]:
    found = {key: value for key, value in values.items() if value is not None}
    if "messages" in found:
        found["messages"] = [_there(message) if isinstance(message, dict) else message for message in found["messages"]]
    return found


def _wrong_types(path: Path, schema: Any) -> Iterator[Finding]:
    """Columns that can hold no row of ours; unknown names are told by the first row that has them."""
    from pyarrow import types

    def is_text(kind: Any) -> bool:
        if types.is_dictionary(kind):
            return is_text(kind.value_type)
        return bool(types.is_string(kind) or types.is_large_string(kind) or types.is_null(kind))

    def is_chat(kind: Any) -> bool:
        if not (types.is_list(kind) or types.is_large_list(kind)) or not types.is_struct(kind.value_type):
            return False
        return all(is_text(field.type) for field in kind.value_type.fields if field.name in ("role", "content"))

    for name, count in Counter(schema.names).items():
        if count > 1:
            yield Finding("error", "key_twice", path, None, f"column {name} stands twice; keep one")
    for name in dict.fromkeys(schema.names):
        kind = schema.types[schema.names.index(name)]
        if name == "messages" and not (is_chat(kind) or types.is_null(kind)):
            says = f"column messages is of type {kind}; it must be {_MESSAGES}"
            yield Finding("error", "wrong_type", path, None, says)
        elif name in _TEXTS and not is_text(kind):
            yield Finding("error", "wrong_type", path, None, f"column {name} is of type {kind}; it must be string")
