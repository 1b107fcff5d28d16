"""Which rows are measured, and whether they can be: said before anything is loaded."""

import random
from collections.abc import Sequence
from typing import Any, Final

from cluster.errors import UserError
from training.metrics import json_object
from training.prepared import Prepared
from training.recipe import Recipe
from training.rows import Row

GENERAL_ANSWERS: Final = 8
"""Everyday questions that are answered, for people to read; the loss on them takes more."""
_SEED: Final = 20260101


def answered_places(recipe: Recipe, prepared: Prepared) -> tuple[int, ...]:
    """Which held-out rows are answered: all, or as many as the recipe allows, drawn the same way each time."""
    return _some(len(prepared.test), recipe.evaluation.max_rows)


def general_places(recipe: Recipe, prepared: Prepared) -> tuple[int, ...]:
    """Which everyday questions are measured."""
    return _some(len(prepared.general), recipe.evaluation.max_general_rows)


def require_measurable(recipe: Recipe, prepared: Prepared) -> None:
    """Raise UserError if the recipe asks for a figure that there will not be, or rows cannot be held against it."""
    wanted = recipe.evaluation
    if wanted.metric not in recipe.figures:
        known = ", ".join(recipe.figures)
        raise UserError(f"evaluation.metric: {wanted.metric!r} is not measured; there are {known}")
    if not prepared.test:
        raise UserError("there are no held-out rows to measure on; raise data.test_ratio or give data.test_rows")
    if wanted.format == "json":
        _require_json(prepared.test, wanted.json_keys)


def _require_json(rows: Sequence[Row], keys: Sequence[str]) -> None:
    bad: list[str] = []
    for row in rows:
        document: dict[str, Any] | None = json_object(row.answer)
        missing = [key for key in keys if document is not None and key not in document]
        if document is None:
            bad.append(f"{row.source} is no JSON object")
        elif missing:
            bad.append(f"{row.source} lacks {', '.join(missing)}")
    if bad:
        raise UserError(
            f"evaluation.format is json, but {len(bad)} of {len(rows)} held-out answers do not fit, the first: "
            f"{'; '.join(bad[:5])}. Mend these rows, or set `format: text`"
        )


def _some(count: int, most: int) -> tuple[int, ...]:
    if count <= most:
        return tuple(range(count))
    # Drawn and not the first ones: files are often sorted, by department for example.
    return tuple(sorted(random.Random(_SEED).sample(range(count), most)))  # noqa: S311
