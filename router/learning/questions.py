"""Unlabelled traffic: a file of questions, one a line, as plain text or as JSON."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from cluster.errors import UserError
from router.learning.labelled_rows import text_of

_KEYS: Final = ("prompt", "question", "text")
MIN_QUESTIONS: Final = 20
"""Of fewer no share can be told."""


def read_questions(path: Path) -> list[str]:
    """The questions of a file, gzipped or not. Raises UserError."""
    questions = []
    for number, line in enumerate(text_of(path, "one question a line").split("\n"), start=1):
        if line.strip():
            questions.append(_question(line, f"{path}, line {number}"))
    if len(questions) < MIN_QUESTIONS:
        raise UserError(f"{path}: {len(questions)} questions are too few; at least {MIN_QUESTIONS} are needed.")
    return questions


def _question(line: str, where: str) -> str:
    if not line.lstrip().startswith(("{", '"')):
        return line.strip()
    try:
        value = json.loads(line)
    except ValueError as error:
        if line.lstrip().startswith("{"):
            raise UserError(f"{where}: this is not JSON ({error}).") from error
        # A plain question may begin with a quotation mark.
        return line.strip()
    if isinstance(value, Mapping):
        value = next((value[key] for key in _KEYS if key in value), None)
        if value is None:
            raise UserError(
                f"{where}: the question is missing; it stands under {', '.join(_KEYS[:-1])} or {_KEYS[-1]}."
            )
    if not isinstance(value, str) or not value.strip():
        raise UserError(f"{where}: the question must be a text that is not empty, got {value!r}.")
    return value
