"""What a version may be called and say of itself, the same in every store."""

import json
import math
import re
from typing import Final

from cluster.errors import UserError
from registry.versions import Draft, Version

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
JUDGES_NAME: Final = "auto"
"""What callers ask for when a judge shall choose: the name of all versions of judges."""
MAX_TEXT: Final = 1000
"""Characters of a note or a line of lineage: a database column holds 5,000."""
MAX_RESULTS: Final = 50


def require_draft(draft: Draft) -> None:
    """Check all but the files. Raises UserError with what to mend."""
    require_name(draft.name)
    if (draft.kind == "judge") != (draft.name == JUDGES_NAME):
        raise UserError(
            f"{draft.name!r} cannot be the name of a version of kind {draft.kind}: the name {JUDGES_NAME!r} is for "
            "judges, and for them only"
        )
    if draft.kind == "judge" and draft.serves:
        raise UserError("a judge is served by no model: leave `serves` out")
    if draft.kind != "judge":
        if not draft.serves:
            raise UserError(f"a version of kind {draft.kind} needs `serves`, the served model that carries it")
        require_name(draft.serves)
    if draft.lineage.parent is not None and draft.lineage.parent < 1:
        raise UserError(f"the parent is a version of {draft.name}, a number from 1, got {draft.lineage.parent}")
    _require_texts(draft)
    _require_results(draft)


def is_name(name: str) -> bool:
    """Whether a version, or a result of one, may be called so."""
    return _NAME.fullmatch(name) is not None


def require_name(name: str) -> None:
    """Check a name. Raises UserError."""
    if not is_name(name):
        raise UserError(
            f"{name!r} cannot be a name: up to 64 letters, digits, dots, dashes and underscores, the first a letter or "
            "digit"
        )


def require_new(draft: Draft, sha256: str, known: tuple[Version, ...]) -> None:
    """Check that a name has the parent and does not have these files yet. Raises UserError."""
    for version in known:
        if version.sha256 == sha256:
            raise UserError(
                f"{draft.name} has these very files already: version {version.version} has the digest {sha256[:8]}…"
            )
    parent = draft.lineage.parent
    if parent is not None and parent not in {version.version for version in known}:
        raise UserError(f"{draft.name} has no version {parent} that could be the parent")


def _require_texts(draft: Draft) -> None:
    texts = {
        "note": draft.note,
        "data": draft.lineage.data,
        "code commit": draft.lineage.code_commit,
        "base model": draft.lineage.base_model,
    }
    for what, text in texts.items():
        if len(text) > MAX_TEXT:
            raise UserError(f"the {what} has {len(text):,} characters, the most is {MAX_TEXT:,}")
        if not text.replace("\n", " ").isprintable():
            raise UserError(f"the {what} holds a character that cannot be printed")


def _require_results(draft: Draft) -> None:
    if len(draft.results) > MAX_RESULTS or len(draft.gates) > MAX_RESULTS:
        raise UserError(f"a version keeps up to {MAX_RESULTS} results and as many gates; name the ones that decide")
    for metric, value in draft.results.items():
        require_name(metric)
        if not math.isfinite(value):
            raise UserError(f"the result {metric} is {json.dumps(value)}, which is no number to compare with")
