"""All that the router wants to know of an ordinary chat body, in one compiled call: read, fold, count, weigh.

The steps are those of `body_scan`, `fold` and `scan`; apart they cost more in calls than in work.
"""

from collections.abc import Mapping
from math import log1p
from typing import Final

import numpy as np

from router import fold_tables, scan_tables
from router.affinity import place_of
from router.body_scan import (
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
from router.fold import fold
from router.languages import SCRIPT_OF
from router.scan import scan, weigh
from router.scan_tables import AT_CONTEXT, AT_FOLLOW_UP, FEATURES, YES_NO_ROOT

# Further places in the row of results.
HOME, IS_AUTO, IS_JUDGED, THOUSANDTHS, FIRST, SECOND, IS_HARD = range(RESULTS, RESULTS + 7)
ALL_RESULTS: Final = RESULTS + 7

_FOLDS, _COURTESIES = fold_tables.TABLES
_, _FIRST_ZH, _FIRST_EN, _KEYS, _CHILDREN, _CUE_OF, _KIND_OF_CUE, _KIND_OF_POINT = scan_tables.TABLES


def _joined(tables: Mapping[str, np.ndarray]) -> tuple[np.ndarray, list[int]]:
    """Several tables as one, because each argument of a compiled call costs; and where each begins, and the end."""
    ends = np.cumsum([0, *map(len, tables.values())])
    return np.ascontiguousarray(np.concatenate(list(tables.values()))), [int(end) for end in ends]


_SMALL, _S = _joined(
    {
        "scripts": SCRIPT_OF, "folds": _FOLDS, "first_zh": _FIRST_ZH, "first_en": _FIRST_EN, "children": _CHILDREN,
        "cue_of": _CUE_OF, "kind_of_cue": _KIND_OF_CUE, "kind_of_point": _KIND_OF_POINT,
    }
)  # fmt: skip
_LARGE, _L = _joined({"courtesies": _COURTESIES, "keys": _KEYS})
_S0, _S1, _S2, _S3, _S4, _S5, _S6, _S7, _S8 = _S
_L0, _L1, _L2 = _L
_FEATURE_COUNT: Final = len(FEATURES)
_RANK_END: Final = _S8 + _FEATURE_COUNT

_POINTS = types.uint32[::1]


def tables(rank: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The tables for `read_and_judge`. `rank` orders features that weigh alike, see `scan.weigh`."""
    return np.concatenate([_SMALL, rank.astype(np.uint16)]), _LARGE


@njit(
    types.boolean(
        BYTES, _POINTS, _POINTS, types.int64[::1], types.uint16[::1], _POINTS, types.float64[::1], types.float64,
        types.float64,
    ),
    cache=True,
)  # fmt: skip
def read_and_judge(raw, points, folded, out, small, large, weights, bias, worth_telling):  # type: ignore[no-untyped-def]
    """Whether `raw` is an ordinary chat body; if so `out` says all about it.

    `points` and `folded` must have a place for each byte of `raw`, `folded` at least those of the two windows.
    `IS_JUDGED` stays 0 for a named model, and where only Python can fold the question.
    """
    if not read(raw, points, out, small[_S0:_S1]):
        return False
    out[IS_AUTO] = out[IS_JUDGED] = 0
    out[HOME] = place_of(points[: out[FIRST_END]])
    name = out[MODEL_START] + 1
    if not (
        out[MODEL_END] - name == 5
        and raw[name] == 97
        and raw[name + 1] == 117
        and raw[name + 2] == 116
        and raw[name + 3] == 111
    ):
        return True
    out[IS_AUTO] = 1
    question = points[out[QUESTION_START] : out[QUESTION_END]]
    size = fold(question, folded, small[_S1:_S2], large[_L0:_L1])
    if size < 0:
        return True
    row = np.empty(_FEATURE_COUNT)
    scan(
        folded[:size], len(question), True, YES_NO_ROOT, small[_S2:_S3], small[_S3:_S4], large[_L1:_L2],
        small[_S4:_S5], small[_S5:_S6], small[_S6:_S7], small[_S7:_S8], row,
    )  # fmt: skip
    context_chars = out[CHARS] - len(question)
    if context_chars > 0:
        row[AT_CONTEXT] = min(2.0, log1p(context_chars / 2000))
    if out[TURNS] > 1:
        row[AT_FOLLOW_UP] = 1.0
    ratio, first, second, side = weigh(row, weights, small[_S8:_RANK_END], bias, worth_telling)
    out[IS_JUDGED] = 1
    out[THOUSANDTHS] = np.int64(ratio * 1000 + 0.5)
    out[FIRST], out[SECOND] = np.int64(first), np.int64(second)
    out[IS_HARD] = side > 0
    return True
