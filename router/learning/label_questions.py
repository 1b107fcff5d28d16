"""Questions to label, one a line: plain text, or JSON with `prompt`, and `reference` and `kind` if these are known."""

import json
from pathlib import Path
from typing import Final, NamedTuple

from cluster.errors import UserError
from router.learning.labelled_rows import text_of

_FIELDS: Final = ("prompt", "reference", "kind")


class Question(NamedTuple):
    """One question that is to be put to both models."""

    prompt: str
    reference: str | None = None
    """What a right answer says."""
    kind: str | None = None


def read_questions(path: Path) -> list[Question]:
    """Read one file, gzipped or not. Raises UserError, which names the line to mend."""
    lines = text_of(path, "one question a line").split("\n")
    return [
        _question(line.strip(), f"{path}, line {number}") for number, line in enumerate(lines, start=1) if line.strip()
    ]


def _question(line: str, where: str) -> Question:
    if not line.startswith("{"):
        return Question(line)
    try:
        row = json.loads(line)
    except ValueError as error:
        raise UserError(f"{where}: this is not JSON ({error}).") from error
    texts: dict[str, str | None] = {}
    for field in _FIELDS:
        value = row.get(field)
        if field == "reference" and isinstance(value, int | float) and not isinstance(value, bool):
            value = f"{value}"
        if value is not None and not isinstance(value, str):
            raise UserError(f"{where}: {field} must be a text, got {value!r}.")
        texts[field] = value
    prompt = texts["prompt"]
    if prompt is None or not prompt.strip():
        raise UserError(f"{where}: prompt is missing; a question has at least that.")
    return Question(prompt, texts["reference"], texts["kind"])
