"""The estimate for one folded question, in one compiled call: signs, n-grams, both heads, the task and the reason.

The steps are those of `scan`, `shape` and `ngrams`; apart they cost more in calls than in work. Whoever reads a
request, thoroughly or quickly, ends here, so that both come to the same numbers.
"""

from collections.abc import Mapping
from math import log1p
from typing import Final

import numpy as np

from router import fold_tables, scan_tables
from router.characters import HASH, KIND
from router.compiled import njit, types
from router.difficulty import WEIGHTS
from router.languages import SCRIPT_OF
from router.ngrams import weigh
from router.scale import difficulty_at
from router.scan import scan
from router.scan_tables import FEATURE_COUNT, YES_NO_ROOT
from router.seen import is_strange
from router.shape import shape
from router.signs import SIGNS
from router.tasks import SAYS, TASK_OF, TASKS, WORTH_NAMING

FAR: Final = 3.0
"""A sign further from its mean than this many spreads counts as this far: so long a text was never seen."""

# What surrounds a question. No public rows show it, so these log-odds against the small model are set by hand; a large
# model feels half of each.
_PER_CONTEXT: Final = 0.3
_FOLLOW_UP: Final = 0.2
_TOOLS: Final = 0.3
_JSON: Final = 0.2
_MUCH_CONTEXT_CHARS: Final = 2000
_FELT_BY_LARGE: Final = 0.5
# What is told where nobody asks anything: a greeting is answered well by every model.
_EMPTY_ODDS: Final = 4.0
# What is told of a question that is unlike anything seen: whoever is not the large model fails, however near to it.
_STRANGE_SMALL_ODDS: Final = -300.0
_STRANGE_LARGE_ODDS: Final = 3.0

# The numbers of a judge besides its n-grams, as one row: four numbers for each sign, then these.
_SIGN_COUNT: Final = len(SIGNS)
_MEANS, _SPREADS, _SMALL_HEAD, _LARGE_HEAD, _OTHERS = (part * _SIGN_COUNT for part in range(5))
(
    _SMALL_BIAS, _LARGE_BIAS, _SMALL_SCALE, _LARGE_SCALE, _TRUST, _BORDER,
) = range(_OTHERS, _OTHERS + 6)  # fmt: skip

# Places in what is told of an estimate.
TASK, WHY, IS_HARD = range(3)
TOLD: Final = 3
# Why, besides the place of a sign.
SMALL_SIGNS: Final = _SIGN_COUNT
WORDING: Final = _SIGN_COUNT + 1
SHAPE: Final = _SIGN_COUNT + 2
SURROUNDINGS: Final = _SIGN_COUNT + 3
STRANGENESS: Final = _SIGN_COUNT + 4
EMPTINESS: Final = _SIGN_COUNT + 5
# Log-odds below this are not worth a word.
_WORTH_TELLING: Final = 0.15
# A cue word that is there can be named; that it is missing speaks as well, but names nothing. A size can be named both
# ways.
_IF_SEEN, _ALWAYS = 1, 2
SIZES: Final[Mapping[str, tuple[str, str]]] = {
    "length": ("short question", "long question"),
    "shape_words": ("short question", "long question"),
    "shape_very_long": ("short question", "long question"),
    "shape_numbers": ("holds few numbers", "holds several numbers"),
    "shape_numbers_in_much_text": ("holds few numbers", "holds several numbers"),
    "shape_formulas": ("holds few formulas", "holds formulas"),
    "shape_long_words": ("short words", "long words"),
    "shape_lines": ("has few lines", "has many lines"),
    "shape_clauses": ("has few clauses", "has many clauses"),
}
"""Signs that name something both ways: below the middle, and above it."""
_NAMES: Final = np.array([_ALWAYS if sign in SIZES else _IF_SEEN if sign in WEIGHTS else 0 for sign in SIGNS])
_TASKS: Final = len(TASKS)


def _joined(tables: Mapping[str, np.ndarray]) -> tuple[np.ndarray, list[int]]:
    """Several tables as one, because each argument of a compiled call costs; and where each begins, and the end."""
    ends = np.cumsum([0, *map(len, tables.values())])
    return np.ascontiguousarray(np.concatenate(list(tables.values()))), [int(end) for end in ends]


_FOLDS, _COURTESIES = fold_tables.TABLES
_, _FIRST_ZH, _FIRST_EN, _KEYS, _CHILDREN, _CUE_OF, _KIND_OF_CUE, _KIND_OF_POINT = scan_tables.TABLES
SMALL, _S = _joined(
    {
        "scripts": SCRIPT_OF, "folds": _FOLDS, "first_zh": _FIRST_ZH, "first_en": _FIRST_EN, "children": _CHILDREN,
        "cue_of": _CUE_OF, "kind_of_cue": _KIND_OF_CUE, "kind_of_point": _KIND_OF_POINT, "kinds": KIND,
    }
)  # fmt: skip
"""All tables of 16-bit numbers."""
LARGE, _L = _joined({"courtesies": _COURTESIES, "keys": _KEYS, "hashes": HASH})
"""All tables of 32-bit numbers."""
SCRIPTS_END, FOLDS_END, COURTESIES_END = _S[1], _S[2], _L[1]
_S2, _S3, _S4, _S5, _S6, _S7, _S8, _S9 = _S[2:]
_L1, _L2, _L3 = _L[1:]

_POINTS = types.Array(types.uint32, 1, "C", readonly=True)
_NGRAMS = types.Array(types.int16, 2, "C", readonly=True)
_NUMBERS = types.Array(types.float64, 1, "C", readonly=True)
_SEEN = types.Array(types.uint8, 1, "C", readonly=True)


@njit(types.float64(types.int64, types.int64, types.boolean, types.boolean), cache=True)
def burden_of(context_chars, turns, has_tools, wants_json):  # type: ignore[no-untyped-def]
    """What the surroundings of a question take from a small model's log-odds."""
    burden = 0.0
    if context_chars > 0:
        burden += _PER_CONTEXT * min(2.0, log1p(context_chars / _MUCH_CONTEXT_CHARS))
    if turns > 1:
        burden += _FOLLOW_UP
    if has_tools:
        burden += _TOOLS
    if wants_json:
        burden += _JSON
    return burden


@njit(types.int64(types.float64[::1]), cache=True)
def _task_of(row):  # type: ignore[no-untyped-def]
    """The kind of task, as its place in `TASKS`; the first where hardly anything speaks for another."""
    sums = np.zeros(_TASKS)
    for place in range(FEATURE_COUNT):
        sums[TASK_OF[place]] += SAYS[place] * row[place]
    best, most = 0, max(sums[0], WORTH_NAMING)
    for task in range(1, _TASKS):
        if sums[task] > most:
            best, most = task, sums[task]
    return best


@njit(
    types.Tuple((types.float64, types.float64, types.float64, types.int64, types.float64, types.int64))(
        types.float64[::1], _NUMBERS
    ),
    cache=True,
)  # fmt: skip
def _signs_of(row, numbers):  # type: ignore[no-untyped-def]
    """Both heads' sums over all signs; then, of those that can be named, what says most for a small model and against.

    Each of these two is told by its log-odds and by its place, as `Judge` names it: from 0 on a sign that is above its
    mean, from -2 down one below; -1: none.
    """
    small, large = 0.0, 0.0
    most, least, at_most, at_least = 0.0, 0.0, -1, -1
    for place in range(_SIGN_COUNT):
        away = (row[place] - numbers[_MEANS + place]) / numbers[_SPREADS + place]
        away = min(FAR, max(-FAR, away))
        part = away * numbers[_SMALL_HEAD + place]
        small += part
        large += away * numbers[_LARGE_HEAD + place]
        if _NAMES[place] == _ALWAYS or (_NAMES[place] == _IF_SEEN and row[place] > 0):
            if part > most:
                most, at_most = part, place if away > 0 else -2 - place
            elif part < least:
                least, at_least = part, place if away > 0 else -2 - place
    return small, large, most, at_most, least, at_least


@njit(
    types.int64(types.float64, types.float64, types.float64, types.int64, types.float64), cache=True
)  # fmt: skip
def _why(worded, shaped, named, at, burden):  # type: ignore[no-untyped-def]
    """What weighed most, of log-odds towards the side on which the question fell."""
    if max(worded, shaped, named, burden) < _WORTH_TELLING:
        return SMALL_SIGNS
    if burden >= max(worded, shaped):
        return SURROUNDINGS
    if worded >= max(shaped, named):
        return WORDING
    return at if named >= _WORTH_TELLING else SHAPE


@njit(
    types.UniTuple(types.float64, 3)(
        _POINTS, types.int64, types.int64, types.int64, types.boolean, types.boolean, types.uint16[::1],
        types.uint32[::1], _NGRAMS, _NUMBERS, _SEEN, types.uint8[::1], types.uint32[::1], types.int64[::1],
    ),
    cache=True,
)  # fmt: skip
def estimate(  # type: ignore[no-untyped-def]
    text, all_chars, context_chars, turns, has_tools, wants_json, small, large, ngrams, numbers, seen, counts, pad, told
):
    """Both models' log-odds and the difficulty; `told` becomes the task and the reason.

    `text`: the folded question (code points); `all_chars`: its length before it was cut to its windows. `small` and
    `large` are `SMALL` and `LARGE`, `ngrams`, `numbers` and `seen` a judge's. `counts` is zero before and after, and
    `pad` as long as `ngrams.pad_places` says.
    """
    row = np.empty(_SIGN_COUNT)
    scan(
        text, all_chars, turns > 0, YES_NO_ROOT, small[_S2:_S3], small[_S3:_S4], large[_L1:_L2], small[_S4:_S5],
        small[_S5:_S6], small[_S6:_S7], small[_S7:_S8], row,
    )  # fmt: skip
    told[TASK] = _task_of(row)
    trust, border = numbers[_TRUST], numbers[_BORDER]
    burden = burden_of(context_chars, turns, has_tools, wants_json)
    if len(text) == 0 and turns > 0:
        told[WHY], told[IS_HARD] = EMPTINESS, False
        small_odds, large_odds = _EMPTY_ODDS - burden, _EMPTY_ODDS - _FELT_BY_LARGE * burden
        return small_odds, large_odds, difficulty_at(small_odds, large_odds, 0.0, trust, border)
    hashes, kinds = large[_L2:_L3], small[_S8:_S9]
    if is_strange(text, hashes, kinds, seen, pad):
        told[WHY], told[IS_HARD] = STRANGENESS, True
        return (
            _STRANGE_SMALL_ODDS, _STRANGE_LARGE_ODDS,
            difficulty_at(_STRANGE_SMALL_ODDS, _STRANGE_LARGE_ODDS, 0.0, trust, border),
        )  # fmt: skip
    # Behind the features of the question itself, `scan` has left everything 0.
    shape(text, kinds, row[FEATURE_COUNT:])
    small_worded, large_worded = weigh(text, hashes, kinds, ngrams, counts, pad)
    small_worded *= numbers[_SMALL_SCALE]
    large_worded *= numbers[_LARGE_SCALE]
    small_shaped, large_shaped, most, at_most, least, at_least = _signs_of(row, numbers)
    small_odds = small_worded + small_shaped + numbers[_SMALL_BIAS] - burden
    large_odds = large_worded + large_shaped + numbers[_LARGE_BIAS] - _FELT_BY_LARGE * burden
    difficulty = difficulty_at(small_odds, large_odds, 0.0, trust, border)
    if difficulty >= 0.5:
        told[WHY], told[IS_HARD] = _why(-small_worded, -small_shaped, -least, at_least, burden), True
    else:
        told[WHY], told[IS_HARD] = _why(small_worded, small_shaped, most, at_most, 0.0), False
    return small_odds, large_odds, difficulty
