"""All that the router wants to know of an ordinary chat body, in one compiled call: read, fold, judge.

The steps are those of `body_scan`, `fold` and `judge_scan`; apart they cost more in calls than in work.
"""

from typing import Final

import numpy as np

from router.affinity import place_of
from router.body_scan import (
    AT,
    BEFORE_END,
    CHARS,
    FIRST_END,
    MODEL_END,
    MODEL_START,
    QUESTION_END,
    QUESTION_START,
    RESULTS,
    TURNS,
    read,
)
from router.compiled import BYTES, njit, types
from router.conversations import place_of_turn
from router.fold import fold
from router.frames import may_be_framed
from router.judge_scan import COURTESIES_END, FOLDS_END, SCRIPTS_END, TOLD, estimate
from router.ngrams import pad_places
from router.query import FIRST_WIDE, LEANING_COLUMNS
from router.scan import WINDOW_CHARS

# Further places in the row of results; at the end what is told of the estimate.
HOME, BEFORE, HERE, IS_AUTO, IS_JUDGED, JUDGED = range(RESULTS, RESULTS + 6)
ALL_RESULTS: Final = RESULTS + 5 + TOLD

_WINDOWS: Final = 2 * WINDOW_CHARS + 1
_PAD_END: Final = _WINDOWS + pad_places(_WINDOWS)

_SEEN = types.Array(types.uint8, 1, "C", readonly=True)
_NGRAMS = types.Array(types.int16, 2, "C", readonly=True)
_NUMBERS = types.Array(types.float64, 1, "C", readonly=True)
_POINTS = types.uint32[::1]


def new_space(raw_bytes: int) -> np.ndarray:
    """Space for `read_and_judge` to work in on a body of so many bytes: a folded question, its n-grams, all texts."""
    return np.empty(_PAD_END + raw_bytes, np.uint32)


def points_in(space: np.ndarray) -> np.ndarray:
    """Where in the space the texts lie afterwards."""
    return space[_PAD_END:]


@njit(types.boolean(BYTES, types.int64, types.int64), cache=True)
def _is_auto(raw, start, end):  # type: ignore[no-untyped-def]
    """Whether `raw[start:end]`, quotes included, is "auto"."""
    return (
        end - start == 6
        and raw[start + 1] == 97
        and raw[start + 2] == 117
        and raw[start + 3] == 116
        and raw[start + 4] == 111
    )


@njit(types.boolean(_POINTS), cache=True)
def _is_leaning(question):  # type: ignore[no-untyped-def]
    """As in `query`."""
    columns = len(question)
    if columns < LEANING_COLUMNS:
        for point in question:
            if point >= FIRST_WIDE:
                columns += 1
    return columns < LEANING_COLUMNS


@njit(
    types.Tuple((types.boolean, types.float64, types.float64, types.float64))(
        BYTES, _POINTS, types.int64[::1], types.uint16[::1], _POINTS, _NGRAMS, _NUMBERS, _SEEN, types.uint8[::1]
    ),
    cache=True,
)  # fmt: skip
def read_and_judge(raw, space, out, small, large, ngrams, numbers, seen, counts):  # type: ignore[no-untyped-def]
    """Whether `raw` is an ordinary chat body, both models' log-odds, and the difficulty; `out` says all else about it.

    Where the newest turn leans on others or may hold more than a question, a body is not ordinary either.
    `small` and `large` are the tables of `judge_scan`, the rest is a judge's. `IS_JUDGED` stays 0 for a named model,
    and where only Python can prepare the question.
    """
    points = space[_PAD_END:]
    if not read(raw, points, out, small[:SCRIPTS_END]):
        return False, 0.0, 0.0, 0.0
    out[IS_AUTO] = out[IS_JUDGED] = 0
    out[HOME] = place_of(points[: out[FIRST_END]])
    if not _is_auto(raw, out[MODEL_START], out[MODEL_END]):
        return True, 0.0, 0.0, 0.0
    out[IS_AUTO] = 1
    # As `conversations.places_of` finds them; -1: there was no turn before.
    out[BEFORE], out[HERE] = -1, out[HOME]
    if out[TURNS] > 1:
        out[HERE] = place_of_turn(points, out[QUESTION_END], out[HOME])
        out[BEFORE] = out[HOME] if out[TURNS] == 2 else place_of_turn(points, out[BEFORE_END], out[HOME])
    if out[AT] > out[QUESTION_END]:
        out[BEFORE] = out[HERE]
    question = points[out[QUESTION_START] : out[QUESTION_END]]
    if (out[TURNS] > 1 and _is_leaning(question)) or may_be_framed(question):
        return False, 0.0, 0.0, 0.0
    folded = space[:_WINDOWS]
    size = fold(question, folded, small[SCRIPTS_END:FOLDS_END], large[:COURTESIES_END])
    if size < 0:
        return True, 0.0, 0.0, 0.0
    if size == 0 and out[TURNS] > 1:
        return False, 0.0, 0.0, 0.0
    out[IS_JUDGED] = 1
    small_odds, large_odds, difficulty = estimate(
        folded[:size], len(question), out[CHARS] - len(question), out[TURNS], False, False, small, large, ngrams,
        numbers, seen, counts, space[_WINDOWS:_PAD_END], out[JUDGED:],
    )  # fmt: skip
    return True, small_odds, large_odds, difficulty
