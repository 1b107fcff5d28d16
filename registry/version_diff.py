"""What is different between two versions: files, results, lineage, gates, and the texts that people read."""

import difflib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from registry.version_tags import gate_verdict
from registry.versions import Version


@dataclass(frozen=True, slots=True)
class FileChange:
    """One file that is not the same on both sides."""

    path: str
    old_bytes: int | None
    """None: it was added."""
    new_bytes: int | None
    """None: it was removed."""


@dataclass(frozen=True, slots=True)
class ResultChange:
    """One result of either side."""

    metric: str
    old: float | None
    new: float | None

    @property
    def difference(self) -> float | None:
        """New minus old, where both are there."""
        return None if self.old is None or self.new is None else self.new - self.old


@dataclass(frozen=True, slots=True)
class TextChange:
    """One property that is not the same on both sides; empty: not said."""

    what: str
    old: str
    new: str


@dataclass(frozen=True, slots=True)
class Difference:
    """Two versions side by side."""

    old: Version
    new: Version
    files: tuple[FileChange, ...]
    same_files: int
    results: tuple[ResultChange, ...]
    """All of them, also equal ones: they are what one compares versions by."""
    properties: tuple[TextChange, ...]


def difference_of(old: Version, new: Version) -> Difference:
    """Compare what the registry says of two versions; their files are not read."""
    before, after = ({file.path: file for file in version.files} for version in (old, new))
    changed = tuple(
        FileChange(
            path, before[path].size_bytes if path in before else None, after[path].size_bytes if path in after else None
        )
        for path in sorted(before.keys() | after.keys())
        if path not in before or path not in after or before[path].sha256 != after[path].sha256
    )
    metrics = sorted(old.results.keys() | new.results.keys())
    return Difference(
        old=old,
        new=new,
        files=changed,
        same_files=len(before.keys() | after.keys()) - len(changed),
        results=tuple(ResultChange(metric, old.results.get(metric), new.results.get(metric)) for metric in metrics),
        properties=tuple(
            TextChange(what, one, other)
            for (what, one), (_, other) in zip(_properties(old), _properties(new), strict=True)
            if one != other
        ),
    )


def text_difference(old: Version, old_text: str, new: Version, new_text: str) -> str:
    """Two prompts as a unified difference; empty if they are the same."""
    lines = difflib.unified_diff(old_text.splitlines(), new_text.splitlines(), _label(old), _label(new), lineterm="")
    return "\n".join(lines)


def config_changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> tuple[TextChange, ...]:
    """The keys of two adapters' configurations that differ."""
    return tuple(
        TextChange(key, _written(old, key), _written(new, key))
        for key in sorted(old.keys() | new.keys())
        if _written(old, key) != _written(new, key)
    )


def _properties(version: Version) -> tuple[tuple[str, str], ...]:
    lineage = version.lineage
    return (
        ("kind", version.kind),
        ("serves", version.serves),
        ("data", lineage.data),
        ("code commit", lineage.code_commit),
        ("base model", lineage.base_model),
        ("parent", str(lineage.parent or "")),
        ("gates", gate_verdict(version.gates)),
        ("note", version.note),
    )


def _written(config: Mapping[str, Any], key: str) -> str:
    value = config.get(key)
    if isinstance(value, list) and all(isinstance(one, str) for one in value):
        # PEFT writes sets in any order.
        value = sorted(value)
    return "" if key not in config else json.dumps(value, ensure_ascii=False, sort_keys=True)


def _label(version: Version) -> str:
    return f"{version.name} {version.version}"
