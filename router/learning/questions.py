"""Files of questions, one a line: plain text, or JSON that may say what a right answer is and what kind it is."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from cluster.errors import UserError
from router.learning.labelled_rows import text_of

_KEYS: Final = ("prompt", "question", "text")
MIN_QUESTIONS: Final = 20
"""Of fewer no share can be told."""


class Question(NamedTuple):
    """One question."""

    prompt: str
    reference: str | None = None
    """What a right answer says."""
    kind: str | None = None


def read_questions(path: Path, *, at_least: int = 1) -> list[Question]:
    """Read one file, gzipped or not. Raises UserError, which names the line to mend."""
    lines = enumerate(text_of(path, "one question a line").split("\n"), start=1)
    questions = [_question(line, f"{path}, line {number}") for number, line in lines if line.strip()]
    if len(questions) < at_least:
        raise UserError(f"{path}: {len(questions)} questions are too few; at least {at_least} are needed.")
    return questions


def _question(line: str, where: str) -> Question:
    if not line.lstrip().startswith(("{", '"')):
        return Question(line.strip())
    try:
        value = json.loads(line)
    except ValueError as error:
        if line.lstrip().startswith("{"):
            raise UserError(f"{where}: this is not JSON ({error}).") from error
        # A plain question may begin with a quotation mark.
        return Question(line.strip())
    row: Mapping[str, Any] = value if isinstance(value, Mapping) else {"prompt": value}
    prompt = next((row[key] for key in _KEYS if key in row), None)
    if prompt is None:
        raise UserError(f"{where}: the question is missing; it stands under {', '.join(_KEYS[:-1])} or {_KEYS[-1]}.")
    if not isinstance(prompt, str) or not prompt.strip():
        raise UserError(f"{where}: the question must be a text that is not empty, got {prompt!r}.")
    reference = row.get("reference")
    if isinstance(reference, int | float) and not isinstance(reference, bool):
        reference = f"{reference}"
    return Question(prompt, _text(reference, "reference", where), _text(row.get("kind"), "kind", where))


def _text(value: object, field: str, where: str) -> str | None:
    if value is not None and not isinstance(value, str):
        raise UserError(f"{where}: {field} must be a text, got {value!r}.")
    return value
