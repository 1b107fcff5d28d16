"""Files that are written in one stroke: a reader sees the old one or the new one, never half."""

import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

from cluster.errors import UserError


def write_json(path: Path, content: Mapping[str, object]) -> None:
    """Write a JSON document. Raises UserError."""
    write_bytes(path, (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file, with the rights of the one it replaces. Raises UserError."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        mode = path.stat().st_mode & 0o777 if path.exists() else 0o644
        descriptor, unfinished = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror}.") from error
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        # A temporary file may be read by its owner only.
        Path(unfinished).chmod(mode)
        Path(unfinished).replace(path)
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror}.") from error
    finally:
        Path(unfinished).unlink(missing_ok=True)
