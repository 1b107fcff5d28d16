"""What the commands of the registry share: which version is meant, and how versions are shown."""

import time
from typing import Any

from rich.filesize import decimal

from cluster.errors import NotFound, UserError
from registry.version_tags import ALIASES, gate_verdict
from registry.versions import Version, VersionStore


def find(store: VersionStore, name: str, which: str | None) -> Version:
    """The version that is meant: a number, `@stable`, or without a word the newest. Raises UserError."""
    if which is None or which.startswith("@"):
        versions = store.versions(name)
        if not versions:
            raise NotFound(f"the registry has no versions of {name!r}; `fenzhen registry list` shows all")
        if which is None:
            return versions[-1]
        if which[1:] not in ALIASES:
            raise UserError(f"there is no alias {which!r}; there are @{', @'.join(ALIASES)}")
        for version in versions:
            if which[1:] in version.aliases:
                return version
        raise NotFound(f"no version of {name} is {which[1:]}")
    if not (which.isascii() and which.isdigit() and len(which) < 10):
        raise UserError(f"{which!r} is no version; give its number, or @{', @'.join(ALIASES)}")
    return store.version(name, int(which))


def age(created_s: float) -> str:
    """How long ago, in one unit."""
    passed_s = max(0.0, time.time() - created_s)
    for unit, length_s in (("d", 86400), ("h", 3600), ("min", 60)):
        if passed_s >= length_s:
            return f"{passed_s / length_s:.0f} {unit}"
    return f"{passed_s:.0f} s"


def size_of(version: Version) -> int:
    """Bytes of all files together."""
    return sum(file.size_bytes for file in version.files)


def document_of(version: Version) -> dict[str, Any]:
    """A version for `--json`."""
    lineage = version.lineage
    return {
        "name": version.name,
        "version": version.version,
        "kind": version.kind,
        "serves": version.serves,
        "aliases": list(version.aliases),
        "sha256": version.sha256,
        "size_bytes": size_of(version),
        "files": [{"path": file.path, "sha256": file.sha256, "size_bytes": file.size_bytes} for file in version.files],
        "lineage": {
            "data": lineage.data,
            "code_commit": lineage.code_commit,
            "base_model": lineage.base_model,
            "parent": lineage.parent,
        },
        "results": dict(version.results),
        "gates": [
            {"metric": gate.metric, "required": gate.required, "value": gate.value, "is_passed": gate.is_passed}
            for gate in version.gates
        ],
        "gate_verdict": gate_verdict(version.gates),
        "note": version.note,
        "created_s": version.created_s,
    }


def lines_of(version: Version) -> str:
    """A version for people, all of it."""
    lineage = version.lineage
    created = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(version.created_s))
    parts = [
        ("version", f"{version.name} {version.version}" + "".join(f" @{alias}" for alias in version.aliases)),
        ("kind", version.kind + (f", served by {version.serves}" if version.serves else "")),
        ("digest", version.sha256),
        ("registered", f"{created} ({age(version.created_s)} ago)"),
        ("data", lineage.data),
        ("code commit", lineage.code_commit),
        ("base model", lineage.base_model),
        ("parent", f"version {lineage.parent}" if lineage.parent else ""),
        ("note", version.note.replace("\n", f"\n{'':14}")),
    ]
    lines = [f"{title:<14}{text}" for title, text in parts if text]
    gates = {gate.metric: gate for gate in version.gates}
    for metric in dict.fromkeys([*version.results, *gates]):
        value = f"{version.results[metric]:g}" if metric in version.results else "no result"
        asked = "; ".join(
            f"{gate.required}: {'passed' if gate.is_passed else 'failed'}"
            for gate in version.gates
            if gate.metric == metric
        )
        lines.append(f"{'result':<14}{metric} {value}" + (f" ({asked})" if asked else ""))
    lines += [
        f"{'file':<14}{file.path}  {decimal(file.size_bytes)}  sha256 {file.sha256[:12]}…" for file in version.files
    ]
    return "\n".join(lines)
