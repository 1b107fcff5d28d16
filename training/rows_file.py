"""Rows as a run learns from them, in files that a run reads again: one JSON object a line, and their digests."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cluster.errors import UserError
from training.rows import Message, Preference, Row


def lines_of(rows: Sequence[Row | Preference]) -> str:
    """The content of a file: the same rows in the same order, the same bytes."""
    return "".join(f"{json.dumps(_document(row), ensure_ascii=False)}\n" for row in rows)


def digest_of(rows: Sequence[Row | Preference]) -> str:
    """SHA-256 of what is learnt from: sources are left out, so that a file may be renamed."""
    digest = hashlib.sha256()
    for row in rows:
        document = _document(row)
        del document["source"]
        digest.update(f"{json.dumps(document, ensure_ascii=False)}\n".encode())
    return digest.hexdigest()


def read_lines_of(path: Path) -> tuple[Row | Preference, ...]:
    """The rows of such a file. Raises UserError if it is none."""
    try:
        return tuple(_row(json.loads(line)) for line in path.read_text(encoding="utf-8").split("\n") if line)
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} is not as it was written; prepare the rows anew") from error


def _document(row: Row | Preference) -> dict[str, Any]:
    document: dict[str, Any] = {"messages": [{"role": one.role, "content": one.content} for one in _turns(row)]}
    if isinstance(row, Preference):
        document |= {"chosen": row.chosen, "rejected": row.rejected}
    if row.group:
        document["group"] = row.group
    return document | {"source": row.source}


def _turns(row: Row | Preference) -> tuple[Message, ...]:
    return row.prompt if isinstance(row, Preference) else row.messages


def _row(document: dict[str, Any]) -> Row | Preference:
    messages = tuple(Message(one["role"], one["content"]) for one in document["messages"])
    group, source = document.get("group", ""), document["source"]
    if "chosen" in document:
        return Preference(messages, document["chosen"], document["rejected"], source, group)
    return Row(messages, source, group)
