"""All that a judge sees of a question besides its words: kinds of task by their cue words, and its shape."""

from typing import Final

import numpy as np

from router.characters import KIND
from router.scan import scan
from router.scan_tables import FEATURE_COUNT, FEATURES, TABLES
from router.shape import SHAPES, shape

SIGNS: Final = (*FEATURES, *(f"shape_{name}" for name in SHAPES))
"""Names of the numbers in a row of signs."""


class SignReader:
    """Reads signs into rows of its own. For one thread."""

    def __init__(self) -> None:
        self._row = np.empty(len(SIGNS))
        self._shapes = self._row[FEATURE_COUNT:]

    def read(self, points: np.ndarray, all_chars: int) -> np.ndarray:
        """The signs of a folded question that was `all_chars` long. Good until the next call."""
        # It leaves everything behind the features 0.
        scan(points, all_chars, True, *TABLES, self._row)
        shape(points, KIND, self._shapes)
        return self._row
