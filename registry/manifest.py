"""What the store knows of a model that it holds: one small JSON file, written last."""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from cluster.errors import UserError
from cluster.settings import HubSource, PackageSource, Source
from registry.digests import MANIFEST_NAME
from registry.disk import write_durably

SourceKind = Literal["hub", "packages", "folder"]
# Raise it when `registry.convert` writes something else from the same file: what an older one wrote is then made anew.
CONVERSION = 1


class Manifest(BaseModel):
    """One model in the store."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str
    source_kind: SourceKind
    pin: str
    """What the source was pinned to, in full: the entry's name holds only its beginning."""
    conversion: int = CONVERSION
    """Which `CONVERSION` made the folder; of no meaning where nothing was converted."""
    origin: str
    """One line for people."""
    sha256: str
    """Of the folder."""
    size_bytes: int
    stamp: dict[str, tuple[int, int]]
    """Size in bytes and time of change in ns of each file when it was last hashed."""

    def write(self, entry: Path) -> None:
        """Put it into the model's entry."""
        write_durably(entry / MANIFEST_NAME, self.model_dump_json(indent=1))


def read_manifest(entry: Path) -> Manifest | None:
    """The manifest of an entry, None where there is no entry."""
    try:
        return Manifest.model_validate_json((entry / MANIFEST_NAME).read_bytes())
    except FileNotFoundError:
        return None
    except ValidationError as error:
        raise UserError(f"{entry / MANIFEST_NAME} cannot be read: {error.errors()[0]['msg']}") from None


def fits(manifest: Manifest, source: Source) -> bool:
    """Whether an entry holds what the source gives now."""
    is_converted_alike = not isinstance(source, PackageSource) or manifest.conversion == CONVERSION
    return manifest.pin == pin_of(source) and is_converted_alike


def pin_of(source: Source) -> str:
    """The digest or commit that decides what a source gives."""
    match source:
        case HubSource():
            return source.revision
        case PackageSource():
            return source.gguf_sha256
        case _:
            return source.sha256


def origin_of(source: Source) -> str:
    """Where a source's weights come from, one line for people."""
    match source:
        case HubSource():
            return f"{source.repository} at {source.revision[:7]} from the hub"
        case PackageSource():
            packages = _joined_names([package.name for package in source.packages])
            return f"{source.weights}, from {packages} (sha256 {source.gguf_sha256[:4]}…), converted to bf16"
        case _:
            return f"the folder {source.path} (sha256 {source.sha256[:4]}…)"


def _joined_names(names: list[str]) -> str:
    """`packages part1..6` for `part1` to `part6`."""
    if len(names) == 1:
        return f"package {names[0]}"
    stem = names[0].rstrip("0123456789")
    if names == [f"{stem}{number}" for number in range(1, len(names) + 1)]:
        return f"packages {stem}1..{len(names)}"
    return f"packages {', '.join(names)}"
