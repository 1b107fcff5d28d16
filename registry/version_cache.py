"""Versions' files on this machine, by digest: `versions_dir/SHA256`, whole and verified or not there at all."""

import contextlib
import errno
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

from cluster.errors import OurFault, UserError
from registry.disk import publish, require_room
from registry.version_files import damage_of, is_safe_path, require_whole, whole_sha256
from registry.versions import Version

_PARTIAL: Final = ".partial-"


class VersionCache:
    """The folder that engines and routers load versions from."""

    def __init__(self, versions_dir: Path) -> None:
        self._dir = versions_dir

    def fetch(self, version: Version, bring: Callable[[Path], None]) -> Path:
        """The version's folder; `bring` fills an empty one. Raises OurFault if what it brings does not match."""
        if whole_sha256(version.files) != version.sha256 or not all(is_safe_path(file.path) for file in version.files):
            raise OurFault(f"{_named(version)}: its list of files does not match its digest; nothing of it is used")
        target = self._dir / version.sha256
        if self._is_whole(target, version):
            return target
        try:
            self._dir.mkdir(parents=True, exist_ok=True, mode=0o700)
            require_room(self._dir, sum(file.size_bytes for file in version.files), "site.state_dir")
            partial = Path(tempfile.mkdtemp(prefix=_PARTIAL, dir=self._dir))
        except OSError as error:
            raise UserError(f"{self._dir} cannot be written: {error.strerror}") from error
        try:
            bring(partial)
            require_whole(_named(version), partial, version.files)
            _put(partial, target)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
        if not self._is_whole(target, version):
            raise OurFault(f"{_named(version)}: another process has put something else into {target}")
        return target

    def unneeded(self, needed: Iterable[str], now_s: float, min_age_s: float) -> tuple[Path, ...]:
        """The folders of digests that nobody needs, and what killed fetches left; no young ones."""
        keep = set(needed)
        if not self._dir.is_dir():
            return ()
        return tuple(
            sorted(
                path
                for path in self._dir.iterdir()
                if path.name not in keep and path.is_dir() and now_s - path.stat().st_mtime >= min_age_s
            )
        )

    def remove(self, folder: Path) -> None:
        """Remove one of them. Nobody sees half of it."""
        aside = folder.with_name(f"{_PARTIAL}removed-{os.getpid()}-{folder.name}")
        folder.rename(aside)
        shutil.rmtree(aside, ignore_errors=True)

    def _is_whole(self, target: Path, version: Version) -> bool:
        """Whether the version is there; what is there and is not the version is removed."""
        if not target.is_dir():
            return False
        if damage_of(target, version.files) is None:
            # Looked at just now: not to be cleaned away before it is used.
            with contextlib.suppress(OSError):
                os.utime(target)
            return True
        self.remove(target)
        return False


def _put(partial: Path, target: Path) -> None:
    try:
        publish(partial, target)
    except OSError as error:
        # Somebody else was faster; whether with the right files is looked at by the caller.
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise UserError(f"{target} cannot be written: {error.strerror}") from error
    else:
        # A folder made by mkdtemp is for its maker alone; an engine of another user must be able to read it.
        target.chmod(0o755)


def _named(version: Version) -> str:
    return f"{version.name} {version.version}"
