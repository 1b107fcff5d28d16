"""Where a link takes orders from others of the same user: a socket whose path follows from the link's port."""

import os
import stat
import tempfile
from pathlib import Path

from cluster.errors import UserError


def control_path(port: int) -> Path:
    """The socket of the link that listens on this port of the loopback address."""
    return _folder() / f"{port}.sock"


def made_folder() -> Path:
    """The folder of these sockets, made if need be. Raises UserError if it is not ours alone."""
    folder = _folder()
    folder.mkdir(mode=0o700, exist_ok=True)
    return require_ours(folder)


def require_ours(folder: Path) -> Path:
    """The same folder. Raises UserError if others could have put something there: temporary folders are everybody's."""
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise UserError(f"{folder} must be a folder that only you can use; remove it, or set TMPDIR to another place")
    return folder


def _folder() -> Path:
    return Path(tempfile.gettempdir(), f"fenzhen-links-{os.getuid()}")
