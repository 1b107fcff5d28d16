"""What a registry keeps: versions of models, adapters, routing judges and prompts. MLflow is not known here."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

Kind = Literal["model", "adapter", "judge", "prompt"]
Alias = Literal["stable", "canary", "previous"]


@dataclass(frozen=True, slots=True)
class FileDigest:
    """One file of a version."""

    path: str
    """Inside the version's folder, with forward slashes."""
    sha256: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Lineage:
    """Where a version comes from; empty: not said."""

    data: str = ""
    """What it was made from: a name and a digest."""
    code_commit: str = ""
    base_model: str = ""
    """Name and revision or digest of the weights below it."""
    parent: int | None = None
    """The version of the same name that it was made from."""


@dataclass(frozen=True, slots=True)
class Gate:
    """One condition that an evaluation result had to meet."""

    metric: str
    required: str
    """As it was asked: `>= 0.9`."""
    value: float | None
    """None: the result was missing, so the gate is not passed."""
    is_passed: bool


@dataclass(frozen=True, slots=True)
class Draft:
    """A version that is about to be registered."""

    name: str
    kind: Kind
    serves: str
    """The served model that carries it: an adapter's base, the model below a prompt, the pool that has a model's
    weights loaded; empty for a judge."""
    lineage: Lineage = Lineage()
    results: Mapping[str, float] = field(default_factory=dict)
    gates: tuple[Gate, ...] = ()
    note: str = ""


@dataclass(frozen=True, slots=True)
class Version:
    """One registered version."""

    name: str
    version: int
    kind: Kind
    serves: str
    sha256: str
    """Of all files together, `registry.digests`: two versions with the same digest are the same."""
    files: tuple[FileDigest, ...]
    lineage: Lineage
    results: Mapping[str, float]
    gates: tuple[Gate, ...]
    note: str
    created_s: float
    aliases: tuple[Alias, ...]

    @property
    def served_name(self) -> str:
        """What an engine calls it as an adapter: never used again for other weights."""
        return f"{self.name}@{self.version}-{self.sha256[:8]}"


class VersionStore(Protocol):
    """Keeps versions. Blocking; every call ends within the store's time-out.

    Raises `NotFound` for what is not there, `Unavailable` when the store cannot be reached, and `UserError` with a
    sentence about what to mend when what was asked for cannot be.
    """

    def versions(self, name: str | None = None) -> tuple[Version, ...]:
        """All versions, of one name or of all, by name and number. An unknown name has none."""

    def version(self, name: str, version: int) -> Version:
        """One version."""

    def register(self, draft: Draft, files: Path) -> Version:
        """Keep a folder, or one file, as the next version of a name. Nothing is left of it where it fails."""

    def set_alias(self, name: str, alias: Alias, version: int | None) -> None:
        """Point an alias at a version, or at none."""

    def fetch(self, version: Version, versions_dir: Path) -> Path:
        """The version's files, verified, in the folder `versions_dir/SHA256`; there already: verified again.

        Raises OurFault if a digest does not match; what did not match is not left in that folder.
        """

    def delete(self, name: str, version: int) -> None:
        """Remove a version with its files."""
