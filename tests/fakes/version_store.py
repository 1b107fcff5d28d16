"""A registry of versions in memory, with the files in a folder: what MLflow keeps, without MLflow."""

import shutil
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from cluster.errors import NotFound, Unavailable, UserError
from registry.version_cache import VersionCache
from registry.version_draft import require_draft, require_new
from registry.version_files import content_of, copy_file, digests_of, whole_sha256
from registry.versions import Alias, Draft, Version


class FakeVersionStore:
    """Keeps versions until it is forgotten; `is_down` makes every call raise Unavailable."""

    def __init__(self, folder: Path, clock: Callable[[], float] = time.time) -> None:
        self.is_down = False
        self._folder = folder
        self._clock = clock
        self._versions: dict[str, dict[int, Version]] = {}
        self._aliases: dict[str, dict[Alias, int]] = {}
        self._numbers: dict[str, int] = {}
        self._lock = threading.Lock()

    def versions(self, name: str | None = None) -> tuple[Version, ...]:
        """All versions, of one name or of all."""
        self._require_up()
        with self._lock:
            names = sorted(self._versions) if name is None else [name]
            return tuple(
                self._with_aliases(version)
                for one in names
                for _, version in sorted(self._versions.get(one, {}).items())
            )

    def version(self, name: str, version: int) -> Version:
        """One version."""
        self._require_up()
        with self._lock:
            return self._with_aliases(self._known(name, version))

    def register(self, draft: Draft, files: Path) -> Version:
        """Keep a folder, or one file, as the next version of a name."""
        require_draft(draft)
        content = content_of(draft.kind, files)
        digests = digests_of(content)
        sha256 = whole_sha256(digests)
        self._require_up()
        with self._lock:
            require_new(draft, sha256, tuple(self._versions.get(draft.name, {}).values()))
            number = self._numbers.get(draft.name, 0) + 1
            for relative, path in content:
                copy_file(path, self.folder_of(draft.name, number) / relative)
            self._numbers[draft.name] = number
            version = Version(
                name=draft.name,
                version=number,
                kind=draft.kind,
                serves=draft.serves,
                sha256=sha256,
                files=digests,
                lineage=draft.lineage,
                results=dict(draft.results),
                gates=draft.gates,
                note=draft.note,
                created_s=self._clock(),
                aliases=(),
            )
            self._versions.setdefault(draft.name, {})[number] = version
            return version

    def set_alias(self, name: str, alias: Alias, version: int | None) -> None:
        """Point an alias at a version, or at none."""
        self._require_up()
        with self._lock:
            if version is None:
                self._aliases.get(name, {}).pop(alias, None)
            else:
                self._known(name, version)
                self._aliases.setdefault(name, {})[alias] = version

    def fetch(self, version: Version, versions_dir: Path) -> Path:
        """The version's files, verified, in the folder `versions_dir/SHA256`."""

        def bring(folder: Path) -> None:
            self._require_up()
            with self._lock:
                self._known(version.name, version.version)
                shutil.copytree(self.folder_of(version.name, version.version), folder, dirs_exist_ok=True)

        return VersionCache(versions_dir).fetch(version, bring)

    def delete(self, name: str, version: int) -> None:
        """Remove a version with its files."""
        self._require_up()
        with self._lock:
            found = self._with_aliases(self._known(name, version))
            if found.aliases:
                raise UserError(f"{name} {version} is {', '.join(found.aliases)}: move the alias first")
            del self._versions[name][version]
            shutil.rmtree(self.folder_of(name, version))

    def folder_of(self, name: str, version: int) -> Path:
        """Where a version's files are kept: for tests that damage them."""
        return self._folder / name / str(version)

    @property
    def aliases(self) -> Mapping[str, Mapping[Alias, int]]:
        """All aliases by name: for tests, also while the store is down."""
        return {name: dict(aliases) for name, aliases in self._aliases.items() if aliases}

    def _known(self, name: str, version: int) -> Version:
        versions = self._versions.get(name, {})
        if version not in versions:
            raise NotFound(f"{name} has no version {version}")
        return versions[version]

    def _with_aliases(self, version: Version) -> Version:
        aliases = self._aliases.get(version.name, {})
        return replace(version, aliases=tuple(sorted(a for a, number in aliases.items() if number == version.version)))

    def _require_up(self) -> None:
        if self.is_down:
            raise Unavailable("the registry does not answer")
