"""An evaluation on the disk: one JSON file, replaced whole. It holds what was said: a run's folder is its owner's."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from pydantic import TypeAdapter, ValidationError

from cluster.errors import NotFound, UserError
from registry.disk import write_durably
from training.evaluation import Evaluation

_FORMAT: Final = 1
_READER: Final = TypeAdapter(Evaluation)


def write_evaluation(evaluation: Evaluation, path: Path) -> None:
    """Write it, and the folder it stands in."""
    path.parent.mkdir(parents=True, exist_ok=True)
    document: dict[str, Any] = {"format": _FORMAT, **asdict(evaluation)}
    write_durably(path, json.dumps(document, ensure_ascii=False, allow_nan=False, indent=1) + "\n")


def read_evaluation(path: Path) -> Evaluation:
    """Read it. Raises NotFound, UserError."""
    try:
        document = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise NotFound(f"{path} is not there: nothing was measured yet") from None
    except ValueError as error:
        raise UserError(f"{path} is not JSON, so no evaluation of ours; measure again") from error
    if not isinstance(document, dict) or document.pop("format", None) != _FORMAT:
        raise UserError(f"{path} is not an evaluation as this version writes them; measure again")
    try:
        return _READER.validate_python(document)
    except ValidationError as error:
        # Without the value: it may be what somebody asked.
        where = ".".join(map(str, error.errors()[0]["loc"][:3]))
        raise UserError(f"{path} cannot be read, {where} is not as it should be; measure again") from None
