"""What a store needs of a disk: room, and writes that a crash cannot halve."""

import os
import shutil
from pathlib import Path

from cluster.errors import UserError


def require_room(folder: Path, needed_bytes: int, setting: str = "site.models_dir") -> None:
    """Refuse before the first byte is fetched where the disk cannot hold the last one. `setting` names the folder."""
    free_bytes = shutil.disk_usage(folder).free
    if free_bytes < needed_bytes:
        raise UserError(
            f"{folder} has {free_bytes / 1e9:.1f} GB free and {needed_bytes / 1e9:.1f} GB are needed: "
            f"make room or set {setting} to a larger disk"
        )


def write_durably(path: Path, text: str) -> None:
    """Write a file so that a reader, also one after a crash, sees all of the old text or all of the new."""
    draft = path.with_name(path.name + ".draft")
    with draft.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
    sync(path.parent)


def publish(folder: Path, target: Path) -> None:
    """Move a finished folder to where it is seen, with everything in it safely on the disk first."""
    for root, folders, names in os.walk(folder):
        for name in names:
            path = Path(root) / name
            # Some libraries write with 0600; another user's engine must be able to read a shared store.
            path.chmod(0o644)
            sync(path)
        for name in folders:
            (Path(root) / name).chmod(0o755)
        sync(Path(root))
    folder.rename(target)
    sync(target.parent)


def sync(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_ahead(folder: Path) -> None:
    """Ask the kernel to bring a folder's files into memory meanwhile; returns at once, and it may ignore us."""
    for path in folder.iterdir():
        if path.is_file():
            with path.open("rb") as file:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_WILLNEED)
