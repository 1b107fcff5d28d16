"""Takes away what nobody needs: versions, uploads that came to nothing, and copies of files on this machine."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple, Protocol

from cluster.errors import NotFound, OurFault, UserError
from registry.mlflow_uploads import Orphan
from registry.version_cache import VersionCache
from registry.version_gc import Kept, Needs, Rule, digests_in_use, plan_of
from registry.versions import Version

# A copy that was looked at so recently may be about to be loaded.
CACHE_AGE_S: Final = 3600.0


class Clearable(Protocol):
    """As much of the registry as a clearing asks for."""

    def audit(self) -> tuple[tuple[Version, ...], tuple[str, ...]]:
        """All versions, and a sentence for each that was tampered with."""

    def orphans(self, min_age_s: float) -> tuple[Orphan, ...]:
        """Uploads that no version points to."""

    def remove_orphan(self, run_id: str) -> None:
        """Remove one of them, unless a version points to it after all."""

    def delete(self, name: str, version: int) -> None:
        """Remove a version; UserError if an alias points to it."""


class Found(NamedTuple):
    """What may go, and what stays and why."""

    versions: tuple[Version, ...]
    orphans: tuple[Orphan, ...]
    folders: tuple[Path, ...]
    kept: tuple[Kept, ...]


class Swept(NamedTuple):
    """What went, and what did not because it was wanted in the meantime."""

    versions: tuple[Version, ...]
    orphans: tuple[Orphan, ...]
    folders: tuple[Path, ...]
    spared: tuple[str, ...]


@dataclass(frozen=True)
class Sweep:
    """One clearing of one registry and one machine's copies."""

    store: Clearable
    needs: Needs
    cache: VersionCache
    rule: Rule
    orphan_age_s: float
    """An upload may take long; younger ones are left alone."""

    def find(self, now_s: float) -> Found:
        """Look, and change nothing. Raises Unavailable where rollouts or registry cannot be asked."""
        versions, needed = self._asked()
        plan = plan_of(versions, needed, now_s, self.rule)
        folders = self.cache.unneeded(digests_in_use(versions, needed), now_s, CACHE_AGE_S)
        return Found(plan.remove, self.store.orphans(self.orphan_age_s), folders, plan.keep)

    def remove(self, found: Found) -> Swept:
        """Take away what was found, each thing looked at once more right before."""
        versions, orphans, folders, spared = [], [], [], []
        for version in found.versions:
            if (version.name, version.version) in self.needs.needed_versions():
                spared.append(f"{version.name} {version.version}: a rollout needs it now")
                continue
            try:
                self.store.delete(version.name, version.version)
            except NotFound:
                continue
            except UserError as error:
                spared.append(str(error))
            else:
                versions.append(version)
        for orphan in found.orphans:
            self.store.remove_orphan(orphan.run_id)
            orphans.append(orphan)
        in_use = digests_in_use(*self._asked())
        for folder in found.folders:
            if folder.name in in_use:
                spared.append(f"{folder}: it is needed now")
            elif folder.is_dir():
                self.cache.remove(folder)
                folders.append(folder)
        return Swept(tuple(versions), tuple(orphans), tuple(folders), tuple(spared))

    def _asked(self) -> tuple[tuple[Version, ...], frozenset[tuple[str, int]]]:
        needed = self.needs.needed_versions()
        versions, faults = self.store.audit()
        if faults:
            # It may be the one on duty, and this machine's copy the last good one.
            raise OurFault("\n".join(["nothing is removed while a version cannot be read:", *faults]))
        return versions, needed
