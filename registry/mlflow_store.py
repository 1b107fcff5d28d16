"""Versions in MLflow: numbers, aliases and tags in its registry, files as artifacts of a run, results as its metrics.

A version becomes visible by one call, the last: a register that is killed before leaves a run that no version points
to, which `orphans` finds and `remove_orphan` takes away with its files.
"""

import contextlib
import logging
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cluster.errors import NotFound, OurFault, UserError
from registry.digests import Stamp
from registry.mlflow_rows import MlflowRows
from registry.mlflow_session import AlreadyThere, MlflowSession
from registry.mlflow_uploads import MlflowUploads, Orphan
from registry.progress import Progress
from registry.version_cache import VersionCache
from registry.version_draft import require_draft, require_new
from registry.version_files import Content, content_of, digests_of, stamp_of, whole_sha256
from registry.version_tags import tags_of
from registry.versions import Alias, Draft, FileDigest, Version

_log = logging.getLogger(__name__)


class MlflowStore:
    """The registry of versions in one MLflow."""

    def __init__(
        self,
        tracking_uri: str,
        artifacts: str,
        lists_dir: Path,
        timeout_s: float,
        progress: Progress | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`artifacts` is a folder or `s3://`; a server has its own. `lists_dir` keeps long lists of files at hand."""
        self._session = MlflowSession(tracking_uri, timeout_s)
        self._rows = MlflowRows(self._session, lists_dir)
        self._uploads = MlflowUploads(self._session, artifacts, clock)
        self._progress = progress

    def versions(self, name: str | None = None) -> tuple[Version, ...]:
        """All versions, of one name or of all, by name and number."""
        versions, faults = self._rows.read(name)
        for fault in faults:
            # One that was tampered with must not hide all others; asked for by number it says what is wrong.
            _log.warning("left out: %s", fault)
        return versions

    def audit(self, name: str | None = None) -> tuple[tuple[Version, ...], tuple[str, ...]]:
        """The versions, and a sentence for each whose entry was tampered with; no files are read."""
        return self._rows.read(name)

    def version(self, name: str, version: int) -> Version:
        """One version."""
        row = self._rows.row(name, version)
        return self._rows.version_of(row, row.aliases)

    def register(self, draft: Draft, files: Path) -> Version:
        """Keep a folder, or one file, as the next version of a name. Nothing is left of it where it fails."""
        require_draft(draft)
        content = content_of(draft.kind, files)
        # Before an hour of hashing: a registry that is down is told at once.
        self.versions(draft.name)
        stamp = stamp_of(content)
        total_bytes = sum(size for size, _ in stamp.values())
        digests = digests_of(content, self._counter(f"{draft.name}: hashing", total_bytes))
        sha256 = whole_sha256(digests)
        tags = tags_of(draft, sha256, digests)
        require_new(draft, sha256, self.versions(draft.name))
        self._make_name(draft.name)
        run = self._uploads.begin(draft, sha256)
        is_asked_for = False
        try:
            self._upload(run, draft, content, digests)
            _require_same(content, stamp)
            self._uploads.note_results(run.info.run_id, draft)
            is_asked_for = True
            row = self._rows.create(draft, run, tags)
        except BaseException as error:
            # Once the version was asked for, it may come to be even after an error: then its files are needed.
            if not is_asked_for or isinstance(error, UserError):
                self._uploads.clean_up(run, error)
            raise
        self._require_first(draft, sha256, int(row.version))
        return self._rows.version_of(row, ())

    def set_alias(self, name: str, alias: Alias, version: int | None) -> None:
        """Point an alias at a version, or at none."""
        if version is not None:
            self._rows.row(name, version)
            self._session.call(lambda client: client.set_registered_model_alias(name, alias, str(version)))
        else:
            with contextlib.suppress(NotFound):
                if alias in self._session.call(lambda client: client.get_registered_model(name)).aliases:
                    self._session.call(lambda client: client.delete_registered_model_alias(name, alias))

    def fetch(self, version: Version, versions_dir: Path) -> Path:
        """The version's files, verified, in the folder `versions_dir/SHA256`."""

        def bring(folder: Path) -> None:
            source = self._rows.row(version.name, version.version).source
            count = self._counter(f"{version.name} {version.version}: fetching", _size(version))
            for file in version.files:
                self._uploads.download(version, source, file, folder / file.path)
                count(file.size_bytes)

        return VersionCache(versions_dir).fetch(version, bring)

    def damage(self, version: Version) -> tuple[str, ...]:
        """Hash all that is kept of a version anew, a file at a time; a sentence for each that does not match."""
        source = self._rows.row(version.name, version.version).source
        count = self._counter(f"{version.name} {version.version}: verifying", _size(version))
        found = []
        for file in version.files:
            with tempfile.TemporaryDirectory(prefix="fenzhen-verify-") as folder:
                copy = Path(folder) / "file"
                try:
                    self._uploads.download(version, source, file, copy)
                except OurFault as error:
                    found.append(str(error))
                    continue
                if digests_of(((file.path, copy),), count)[0] != file:
                    found.append(f"{version.name} {version.version}: {file.path} is not what was registered")
        return tuple(found)

    def delete(self, name: str, version: int) -> None:
        """Remove a version with its files."""
        row = self._rows.row(name, version)
        if row.aliases:
            raise UserError(f"{name} {version} is {', '.join(sorted(row.aliases))}: move the alias first")
        self._session.call(lambda client: client.delete_model_version(name, str(version)))
        # Unseen from here on; should the rest fail, the run is an orphan.
        with contextlib.suppress(NotFound):
            self._uploads.remove(row.run_id)

    def orphans(self, min_age_s: float) -> tuple[Orphan, ...]:
        """Uploads that no version points to. Young ones may still be on their way."""
        return self._uploads.orphans(min_age_s)

    def remove_orphan(self, run_id: str) -> None:
        """Remove an upload that no version points to, with its files."""
        self._uploads.remove(run_id)

    def _make_name(self, name: str) -> None:
        try:
            self._session.call(lambda client: client.get_registered_model(name))
        except NotFound:
            with contextlib.suppress(AlreadyThere):
                self._session.call(lambda client: client.create_registered_model(name))

    def _upload(self, run: Any, draft: Draft, content: Content, digests: tuple[FileDigest, ...]) -> None:
        count = self._counter(f"{draft.name}: uploading", sum(file.size_bytes for file in digests))
        self._uploads.upload(run, content, digests, count)

    def _require_first(self, draft: Draft, sha256: str, number: int) -> None:
        """Of two that registered the same files at the same time the later takes its version back."""
        for other in self.versions(draft.name):
            if other.sha256 == sha256 and other.version < number:
                self.delete(draft.name, number)
                require_new(draft, sha256, (other,))

    def _counter(self, title: str, total_bytes: int) -> Callable[[int], None]:
        if self._progress is None:
            return lambda _: None
        self._progress.stage(title, total_bytes)
        done_bytes, progress = 0, self._progress

        def count(more_bytes: int) -> None:
            nonlocal done_bytes
            done_bytes += more_bytes
            progress.advance(done_bytes)

        return count


def _require_same(content: Content, stamp: Stamp) -> None:
    if stamp_of(content) != stamp:
        raise UserError(f"{content[0][1].parent} was changed while it was being registered; nothing of it is kept")


def _size(version: Version) -> int:
    return sum(file.size_bytes for file in version.files)
