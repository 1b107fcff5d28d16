"""Checkpoints of a run: folders that are whole from the moment they have their name, whenever the machine dies."""

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from hashlib import file_digest, sha256
from pathlib import Path
from typing import Any, Final

from cluster.errors import UserError
from registry.disk import sync
from training.prepared import Prepared
from training.recipe import Recipe

_PARTIAL: Final = ".partial-"
_FACTS_FILE: Final = "checkpoint.json"
# What may change between two lives of a run: where and how it is calculated, not what.
_FREE: Final = ("micro_batch_size", "gradient_checkpointing", "checkpoint_every_steps", "keep_checkpoints")


@dataclass(frozen=True, slots=True)
class Identity:
    """What is trained on what: two runs with the same go the same way."""

    recipe_sha256: str
    data_sha256: str


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is, apart from what the libraries keep."""

    step: int = 0
    loss: float = 0.0
    """Of the last step."""
    seconds: float = 0.0
    """In the training loop, all lives together."""
    peak_memory_bytes: int = 0
    best_loss: float | None = None
    """Lowest held-out loss so far."""
    misses: int = 0
    """Held-out losses since then that were no better."""


def identity_of(recipe: Recipe, prepared: Prepared, base: Path) -> Identity:
    """Digests of all that decides where training goes."""
    said = recipe.model_dump(mode="json", include={"base", "objective", "quantise_base", "lora", "train"})
    said["train"] = {name: value for name, value in said["train"].items() if name not in _FREE}
    said["base"] = sha256((base / "config.json").read_bytes()).hexdigest()
    said["weights"] = {path.name: path.stat().st_size for path in sorted(base.glob("*.safetensors"))}
    # The held-out rows decide as well, where losses on them do.
    data = {"digests": dict(prepared.sha256), "rows": [len(prepared.train), len(prepared.preferences)]}
    return Identity(_digest(said), _digest(data))


def _digest(value: Mapping[str, Any]) -> str:
    return sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


class Checkpoints:
    """The checkpoints in one folder."""

    def __init__(self, folder: Path, identity: Identity, keep: int) -> None:
        self._folder, self._identity, self._keep = folder, identity, keep

    def partial(self, step: int) -> Path:
        """Where to write the next one. What a killed life left there is thrown away."""
        self._folder.mkdir(parents=True, exist_ok=True)
        for left in self._folder.glob(f"{_PARTIAL}*"):
            shutil.rmtree(left)
        partial = self._folder / f"{_PARTIAL}{_name(step)}"
        partial.mkdir()
        return partial

    def commit(self, partial: Path, progress: Progress) -> Path:
        """Give it its name, once all of it is on the disk, and let the oldest go."""
        files = sorted(path for path in partial.rglob("*") if path.is_file())
        facts = {
            "identity": asdict(self._identity),
            "progress": asdict(progress),
            "files": {str(path.relative_to(partial)): _sha256(path) for path in files},
        }
        (partial / _FACTS_FILE).write_text(json.dumps(facts, indent=1), encoding="utf-8")
        whole = self._folder / _name(progress.step)
        if whole.exists():
            # Damaged, or it would have been gone on from.
            shutil.rmtree(whole)
        put_in_place(partial, whole)
        for old in self._names()[self._keep :]:
            shutil.rmtree(self._folder / old)
        return whole

    def newest(self, note: Callable[[str], None]) -> tuple[Path, Progress] | None:
        """The newest whole one; damaged ones are passed over. Raises UserError where it is another run's."""
        for name in self._names():
            folder = self._folder / name
            read = _read(folder)
            if read is None:
                note(f"checkpoint {name} is damaged and passed over")
                continue
            identity, progress = read
            if identity != self._identity:
                what = "recipe" if identity.recipe_sha256 != self._identity.recipe_sha256 else "set of rows"
                raise UserError(
                    f"{folder} is a checkpoint of another {what}: go on with the one it was begun with, "
                    "or begin a run of its own"
                )
            return folder, progress
        return None

    def _names(self) -> list[str]:
        """Newest first."""
        if not self._folder.is_dir():
            return []
        return sorted((each.name for each in self._folder.glob("step-*")), reverse=True)


def put_in_place(partial: Path, whole: Path) -> None:
    """Rename a folder to its final name when everything in it has reached the disk."""
    for path in (*partial.rglob("*"), partial):
        sync(path)
    partial.rename(whole)
    sync(whole.parent)


def _name(step: int) -> str:
    return f"step-{step:08d}"


def _read(folder: Path) -> tuple[Identity, Progress] | None:
    """None unless every file is there as it was written."""
    try:
        facts: dict[str, Any] = json.loads((folder / _FACTS_FILE).read_bytes())
        is_whole = all(_sha256(folder / name) == digest for name, digest in facts["files"].items())
        return (Identity(**facts["identity"]), Progress(**facts["progress"])) if is_whole else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()
