"""A version as MLflow's tags: short texts by name, which its pages show and anyone can read.

The list of files stands in a tag where it fits. A longer one is the artifact `fenzhen.json`, whose SHA-256 is in a tag:
either way nobody can change it unseen, because the version's digest is made of it.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any, Final

from cluster.errors import OurFault, UserError
from registry.version_files import is_safe_path, whole_sha256
from registry.versions import Alias, Draft, FileDigest, Gate, Lineage, Version

FORMAT: Final = "1"
FORMAT_TAG: Final = "fenzhen.format"
LIST_FILE: Final = "fenzhen.json"
"""Beside the folder `files` of the version's artifacts."""
ALIASES: Final[tuple[Alias, ...]] = ("stable", "canary", "previous")
# MLflow takes more, PostgreSQL's column holds 5,000 characters.
_MAX_TAG: Final = 4500


def tags_of(draft: Draft, sha256: str, files: tuple[FileDigest, ...]) -> dict[str, str]:
    """The tags of a version that is about to be. Raises UserError if they are too long."""
    listed = list_text(files)
    tags = {
        FORMAT_TAG: FORMAT,
        "fenzhen.kind": draft.kind,
        "fenzhen.serves": draft.serves,
        "fenzhen.sha256": sha256,
        "fenzhen.data": draft.lineage.data,
        "fenzhen.code_commit": draft.lineage.code_commit,
        "fenzhen.base_model": draft.lineage.base_model,
        "fenzhen.parent": str(draft.lineage.parent or ""),
        "fenzhen.results": _compact(dict(draft.results)) if draft.results else "",
        "fenzhen.gates": _compact([[g.metric, g.required, g.value, g.is_passed] for g in draft.gates])
        if draft.gates
        else "",
        # Of no use to us, which read the gates: for people who look at MLflow's pages.
        "fenzhen.gate_verdict": gate_verdict(draft.gates),
        "fenzhen.note": draft.note,
    }
    tags |= (
        {"fenzhen.files": listed}
        if is_short(listed)
        else {"fenzhen.files_sha256": hashlib.sha256(listed.encode()).hexdigest()}
    )
    for tag, text in tags.items():
        if len(text) > _MAX_TAG:
            raise UserError(f"{tag.removeprefix('fenzhen.')} are too long together, name fewer of them")
    # MLflow takes an empty tag on one way and loses it on another.
    return {tag: text for tag, text in tags.items() if text}


def version_of(
    name: str,
    number: int,
    created_s: float,
    tags: Mapping[str, str],
    files: tuple[FileDigest, ...],
    aliases: Iterable[str],
) -> Version:
    """A version out of its tags. Raises OurFault if somebody has changed them into what cannot be."""
    try:
        version = Version(
            name=name,
            version=number,
            kind=_kind(tags["fenzhen.kind"]),
            serves=tags.get("fenzhen.serves", ""),
            sha256=tags["fenzhen.sha256"],
            files=files,
            lineage=Lineage(
                data=tags.get("fenzhen.data", ""),
                code_commit=tags.get("fenzhen.code_commit", ""),
                base_model=tags.get("fenzhen.base_model", ""),
                parent=int(tags["fenzhen.parent"]) if "fenzhen.parent" in tags else None,
            ),
            results={str(key): float(value) for key, value in json.loads(tags.get("fenzhen.results", "{}")).items()},
            gates=tuple(
                Gate(str(metric), str(required), None if value is None else float(value), bool(is_passed))
                for metric, required, value, is_passed in json.loads(tags.get("fenzhen.gates", "[]"))
            ),
            note=tags.get("fenzhen.note", ""),
            created_s=created_s,
            aliases=tuple(alias for alias in ALIASES if alias in set(aliases)),
        )
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise OurFault(f"{name} {number}: its tags were changed in MLflow and cannot be read: {error}") from error
    if whole_sha256(files) != version.sha256:
        raise OurFault(f"{name} {number}: its list of files does not match its digest; nothing of it is used")
    return version


def list_text(files: Iterable[FileDigest]) -> str:
    """The list of files as it is kept."""
    return _compact([[file.path, file.sha256, file.size_bytes] for file in files])


def is_short(listed: str) -> bool:
    """Whether a list of files fits into a tag."""
    return len(listed) <= _MAX_TAG


def files_of(name: str, listed: str, sha256: str | None = None) -> tuple[FileDigest, ...]:
    """The list of files, read back; `sha256` is what it must have. Raises OurFault."""
    if sha256 is not None and hashlib.sha256(listed.encode()).hexdigest() != sha256:
        raise OurFault(f"{name}: {LIST_FILE} is not what was registered; nothing of it is used")
    try:
        rows: list[Any] = json.loads(listed)
        files = tuple(FileDigest(str(path), str(digest), int(size)) for path, digest, size in rows)
    except (ValueError, TypeError) as error:
        raise OurFault(f"{name}: its list of files cannot be read: {error}") from error
    if not files or not all(is_safe_path(file.path) for file in files):
        raise OurFault(f"{name}: its list of files has been changed; nothing of it is used")
    return files


def gate_verdict(gates: Iterable[Gate]) -> str:
    """All gates in two words or a few: `passed`, `failed: accuracy`, empty without any."""
    gates = tuple(gates)
    failed = [gate.metric for gate in gates if not gate.is_passed]
    return f"failed: {', '.join(failed)}"[:_MAX_TAG] if failed else "passed" if gates else ""


def _kind(text: str) -> Any:
    if text not in ("model", "adapter", "judge", "prompt"):
        raise ValueError(f"kind {text!r}")
    return text


def _compact(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
