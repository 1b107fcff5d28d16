"""A file without a name that takes all the room of a disk, and gives it back when its holder ends, however it ends."""

import errno
import os
import tempfile
import threading
from pathlib import Path
from typing import Final

from cluster.errors import OurFault, UserError

MOST_FREE_BYTES: Final = 20 * 10**9
"""A disk with more room than this is hardly one that was made for a test."""
# Small enough that an interrupt need not wait for it where a file system must write each block.
_LARGEST_STEP_BYTES: Final = 256 << 20
_SMALLEST_STEP_BYTES: Final = 4096
_NO_ROOM: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class Ballast:
    """Fills the file system that a folder is on."""

    def __init__(self, folder: Path, stop: threading.Event) -> None:
        """`stop`: no more is taken once it is set."""
        self._folder = folder
        self._stop = stop
        self._fd: int | None = None
        self.size_bytes = 0

    def fill(self) -> None:
        """Take what is free now; called again, what has become free. Raises OurFault where there is no end, OSError."""
        if self._fd is None:
            self._fd = _nameless(self._folder)
        # Twice as much as there is: a file system that gives it has not really set it aside (one that compresses).
        most_bytes = self.size_bytes + _free_bytes(self._folder) * 2 + _LARGEST_STEP_BYTES
        step_bytes = _LARGEST_STEP_BYTES
        while step_bytes >= _SMALLEST_STEP_BYTES and not self._stop.is_set():
            if self.size_bytes > most_bytes:
                raise OurFault(f"the disk of {self._folder} does not become full: it does not set room aside")
            try:
                os.posix_fallocate(self._fd, self.size_bytes, step_bytes)
            except OSError as error:
                if error.errno not in _NO_ROOM:
                    raise
                step_bytes //= 2
            else:
                self.size_bytes += step_bytes

    def release(self) -> None:
        """Give all back."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None


def require_fillable(folder: Path, run_folder: Path | None, *, is_confirmed: bool) -> None:
    """Raise UserError if filling the disk of `folder` would hurt the test itself, or others without being asked to."""
    if not folder.is_dir():
        raise UserError(f"fill-disk: the state folder {folder} does not exist")
    if run_folder is not None and _device(run_folder) == _device(folder):
        raise UserError(
            f"fill-disk: the run's own folder {run_folder} is on the disk that would be filled, and nothing could be "
            "kept; give --output a folder on another disk"
        )
    reasons = []
    if _device(folder) == _device(Path("/")):
        reasons.append("it is the root's")
    if _device(folder) == _device(Path(tempfile.gettempdir())):
        reasons.append("temporary files are on it")
    if _device(folder) == _device(Path.cwd()):
        reasons.append("the working folder is on it")
    if (free := _free_bytes(folder)) > MOST_FREE_BYTES:
        reasons.append(f"{free / 1e9:.0f} GB are free there")
    if reasons and not is_confirmed:
        raise UserError(
            f"fill-disk would fill the whole disk of {folder}: {', '.join(reasons)}; give the stack a state folder on "
            "a small disk of its own (a mounted image or tmpfs), or say --may-fill-disk"
        )


def _nameless(folder: Path) -> int:
    try:
        return os.open(folder, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL):
            raise
    # Some file systems, as NFS, know no file without a name.
    fd, name = tempfile.mkstemp(prefix=".ballast-", dir=folder)
    os.unlink(name)
    return fd


def _device(path: Path) -> int:
    path = path.absolute()
    while not path.exists():
        path = path.parent
    return path.stat().st_dev


def _free_bytes(folder: Path) -> int:
    stat = os.statvfs(folder)
    # Some room is kept for root.
    return stat.f_frsize * (stat.f_bfree if os.geteuid() == 0 else stat.f_bavail)
