"""Everyday questions of Chinese and English offices and homes, written for this project and labelled by judgement.

Public sets hold examinations; what people ask at a counter or at work stands in none of them. An easy question is one
that a small model is trusted to answer well (1), a hard one is not (0); a large one is trusted with both.
"""

from pathlib import Path
from typing import Final

import numpy as np

from router.learning.labelled_rows import RowSet, json_lines
from router.learning.public_rows import with_digest

FILE: Final = Path(__file__).with_name("own_rows.jsonl")


def own_rows() -> RowSet:
    """The rows that come with the package."""
    rows = [row for _, row in json_lines(FILE)]
    return RowSet(
        "own_rows",
        [row["prompt"] for row in rows],
        np.array([[row["small"], row["large"]] for row in rows], np.float64),
        [row["kind"] for row in rows],
        "as Fenzhen",
        with_digest("written by Fenzhen's authors, labelled by judgement", FILE),
    )
