"""Digests of files and of folders, for pins in the configuration and for finding damage.

The digest of a folder is that of the text `sha256sum` prints for its files in the order of their paths' bytes, so that
anyone can check it without us:

    find -L . -type f ! -name fenzhen-model.json -printf '%P\\0' | LC_ALL=C sort -z | xargs -0 sha256sum | sha256sum

Symbolic links count as what they point to: in a hub's cache each file is a link to a blob.
"""

import hashlib
import os
from collections.abc import Callable, Mapping
from pathlib import Path

from cluster.errors import UserError

MANIFEST_NAME = "fenzhen-model.json"
# One read a mebibyte keeps a progress bar smooth and costs nothing measurable against hashing.
CHUNK_BYTES = 1024 * 1024

Stamp = Mapping[str, tuple[int, int]]
"""Size in bytes and time of change in ns of each file: if it is the same, so is, for every day, the content."""


def file_sha256(path: Path, on_bytes: Callable[[int], None] = lambda _: None) -> str:
    """Hex digest of one file. `on_bytes` is called with the size of each chunk read."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
            on_bytes(len(chunk))
    return digest.hexdigest()


def folder_files(folder: Path) -> list[tuple[str, Path]]:
    """Each regular file below a folder with its relative POSIX path, in digest order; our manifest is left out."""
    found: list[tuple[str, Path]] = []
    # A link to a folder above it would make the walk endless.
    for root, folders, names in os.walk(folder, followlinks=True):
        inside = Path(root).resolve()
        folders[:] = [name for name in folders if not inside.is_relative_to((Path(root) / name).resolve())]
        for name in names:
            path = Path(root) / name
            if name == MANIFEST_NAME:
                continue
            if not path.exists():
                raise UserError(f"{path} is a link to nowhere: the folder is not complete")
            if path.is_file():
                found.append((path.relative_to(folder).as_posix(), path))
    return sorted(found, key=lambda pair: os.fsencode(pair[0]))


def folder_sha256(folder: Path, on_bytes: Callable[[int], None] = lambda _: None) -> str:
    """Hex digest of a folder, see the formula above."""
    digest = hashlib.sha256()
    for relative, path in folder_files(folder):
        digest.update(f"{file_sha256(path, on_bytes)}  {relative}\n".encode())
    return digest.hexdigest()


def folder_stamp(folder: Path) -> Stamp:
    """Sizes and times of a folder's files: milliseconds of work where hashing takes seconds a gigabyte."""
    stats = [(relative, path.stat()) for relative, path in folder_files(folder)]
    return {relative: (stat.st_size, stat.st_mtime_ns) for relative, stat in stats}
