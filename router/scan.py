"""One pass over a question, compiled: everything that the judge weighs, as one row of numbers.

In Python the same took 15 microseconds alone, and three times as much between the router's other work, whose tables
and branches it pushed out of the processor's caches. numba compiles it once and keeps the result beside this file.
"""

from math import log, log1p

import numpy as np

from router.compiled import njit, types
from router.scan_tables import (
    AT_CHOICE,
    AT_CLAUSES,
    AT_CLOSED,
    AT_EMPTY,
    AT_FENCE,
    AT_ITEMS,
    AT_LENGTH,
    AT_MATERIAL,
    AT_NUMBERS,
    AT_PROOF,
    AT_QUESTIONS,
    AT_SUMS,
    AT_SUMS_NEED,
    AT_SYMBOLS,
    CUE_COUNT,
    HASH_MASK,
    KIND_COUNT,
)  # fmt: skip

# The task stands at the head or at the tail of a long text; between them lies material, which is not read.
WINDOW_CHARS = 2000
# One Chinese character carries about 0.6 of an English word.
WORDS_PER_HAN = 0.6
# What is asked stands in the first and last characters of a question. A cue word in between is more likely part of the
# material, and a longer material has more of them by chance.
ASKING_CHARS = 240
# From here on a question is long rather than short; only its logarithm counts, and for little.
MIDDLING_WORDS = 15
# A stem longer than this brings its material along.
MUCH_MATERIAL_WORDS = 60

_POINTS = types.Array(types.uint32, 1, "C", readonly=True)
_U16, _U32, _ROW = types.uint16[::1], types.uint32[::1], types.float64[::1]


@njit(types.boolean(types.uint32), cache=True)
def _is_space(point):  # type: ignore[no-untyped-def]
    """As `\\s` and `str.split` see it."""
    if point < 0x80:
        return point == 32 or 9 <= point <= 13 or 28 <= point <= 31
    return (
        point in (0x85, 0xA0, 0x1680, 0x2028, 0x2029, 0x202F, 0x205F, 0x3000)
        or 0x2000 <= point <= 0x200A
    )  # fmt: skip


@njit(types.boolean(types.uint32), cache=True)
def _is_delimiter(point):  # type: ignore[no-untyped-def]
    """Whether an English cue may begin behind it: white space or one of ( [ " ' “ ‘ , . : ; / -"""
    return point in (40, 91, 34, 39, 0x201C, 0x2018, 44, 46, 58, 59, 47, 45) or _is_space(point)


@njit(types.boolean(types.uint32), cache=True)
def _is_word(point):  # type: ignore[no-untyped-def]
    return 97 <= point <= 122 or 48 <= point <= 57 or point == 95


@njit(types.boolean(types.uint32), cache=True)
def _is_digit(point):  # type: ignore[no-untyped-def]
    return 48 <= point <= 57


@njit(types.int64(types.int64, types.uint32, _U32, _U16), cache=True)
def _child(node, point, keys, children):  # type: ignore[no-untyped-def]
    """The node below `node` at this letter, 0 if there is none. Open addressing; an empty place has the key 0."""
    if point >= 0x10000:
        return 0
    key = (node << 16) | point
    place = ((key * 0x9E3779B1) >> 15) & HASH_MASK
    while True:
        found = keys[place]
        if found == key:
            return np.int64(children[place])
        if found == 0:
            return 0
        place = (place + 1) & HASH_MASK


@njit(types.void(_U32, types.int64, types.uint8[::1], _U16, _U16, _U32, _U16, _U16), cache=True)
def _mark_cues(asking, size, is_seen, first_zh, first_en, keys, children, cue_of):  # type: ignore[no-untyped-def]
    """Mark every cue that stands in `asking[:size]`; a node's cue counts from 1."""
    has_wide = False
    for place in range(size):
        if asking[place] >= 0x80:
            has_wide = True
            break
    # English cues are whole words behind a delimiter, the longest of those that begin there; then on from its end.
    place = -1
    while place < size:
        if place >= 0 and not _is_delimiter(asking[place]):
            place += 1
            continue
        at = place + 1
        node = np.int64(first_en[asking[at]]) if at < size and asking[at] < 0x80 else 0
        at += 1
        longest, cue = 0, 0
        while node != 0:
            if cue_of[node] != 0 and not (at < size and _is_word(asking[at])):
                longest, cue = at, cue_of[node]
            if at >= size:
                break
            if _is_space(asking[at]):
                node = _child(node, 32, keys, children)
                while at < size and _is_space(asking[at]):
                    at += 1
            else:
                node = _child(node, asking[at], keys, children)
                at += 1
        if cue != 0:
            is_seen[cue] = 1
            place = longest
        else:
            place += 1
    if not has_wide:
        return
    for start in range(size):
        point = asking[start]
        if 97 <= point <= 122:
            # Inside Chinese, English words stand without spaces around them.
            if start > 0 and 97 <= asking[start - 1] <= 122:
                continue
            node, at = np.int64(first_en[point]), start + 1
            while at < size and 97 <= asking[at] <= 122:
                if node != 0:
                    node = _child(node, asking[at], keys, children)
                at += 1
            if node != 0 and cue_of[node] != 0:
                is_seen[cue_of[node]] = 1
        elif 0x80 <= point < 0x10000:
            node, at = np.int64(first_zh[point]), start + 1
            while node != 0:
                if cue_of[node] != 0:
                    is_seen[cue_of[node]] = 1
                if at >= size:
                    break
                node = _child(node, asking[at], keys, children)
                at += 1


@njit(types.UniTuple(types.int64, 3)(_POINTS), cache=True)
def _items(text):  # type: ignore[no-untyped-def]
    """Lines of a list: how many, how many of them are options (A. B. C.), and where the first option begins.

    An item is white space (or the beginning), then `-` `*` or a bullet and white space; or a number of one or two
    digits, or a letter from a to h, with or without an opening bracket, and a closing mark.
    """
    items, options, first_option = 0, 0, -1
    size = len(text)
    # As if a line break stood in front: place 0 is that.
    place = 0
    while place <= size:
        if place > 0 and not _is_space(text[place - 1]):
            place += 1
            continue
        at, is_option, end = place, False, -1
        has_bracket = at < size and text[at] == 40
        if has_bracket:
            at += 1
        if at + 1 < size:
            point, mark = text[at], text[at + 1]
            if 97 <= point <= 104 and mark in (46, 41, 58, 0x3001):
                is_option, end = True, at + 2
            elif not has_bracket and point in (45, 42, 0x2022) and _is_space(mark):
                end = at + 2
            elif _is_digit(point):
                after = at + 1
                if _is_digit(mark):
                    after += 1
                if after < size and text[after] in (46, 41, 0x3001):
                    after += 1
                    if after >= size or not _is_digit(text[after]):
                        end = after
                        if after < size and _is_space(text[after]):
                            is_last = after + 1 >= size or not _is_digit(text[after + 1])
                            end = after + 1 if is_last else after
        if end < 0:
            place += 1
            continue
        items += 1
        if is_option:
            options += 1
            if first_option < 0:
                first_option = place
        # Shifted by the line break that is not there.
        place = end + 1
    return items, options, first_option


@njit(types.UniTuple(types.float64, 3)(_POINTS, types.int64), cache=True)
def _words_and_clauses(text, size):  # type: ignore[no-untyped-def]
    """Of `text[:size]`: words, question marks, ends of clauses."""
    words, wide, questions, clauses = 0, 0, 0, 0
    is_inside = False
    for place in range(size):
        point = text[place]
        if _is_space(point):
            is_inside = False
        elif not is_inside:
            is_inside = True
            words += 1
        if point >= 0x80:
            # Bytes in UTF-8 beyond the first; half a surrogate is written as a question mark there.
            if point >= 0x10000:
                wide += 3
            elif point >= 0x800:
                wide += 0 if 0xD800 <= point <= 0xDFFF else 2
            else:
                wide += 1
        if point == 63:
            questions += 1
        elif point in (0x3002, 33, 44, 59) or (point == 46 and place + 1 < size and text[place + 1] == 32):
            clauses += 1
    return words + WORDS_PER_HAN * wide / 2, float(questions), float(questions + clauses)


@njit(types.UniTuple(types.int64, 2)(_U32, types.int64, _U16), cache=True)
def _figures(asking, size, kind_of_point):  # type: ignore[no-untyped-def]
    """Numbers and signs of formulas; `kind_of_point` is 1 for what begins a number and 2 for such a sign."""
    numbers, symbols, place = 0, 0, 0
    while place < size:
        kind = kind_of_point[asking[place]] if asking[place] < 0x10000 else 0
        place += 1
        if kind == 0:
            continue
        start = place
        while place < size and (_is_digit(asking[place]) or asking[place] in (46, 44, 58)):
            place += 1
        if kind == 1:
            numbers += 1
        else:
            symbols += 1
            if place > start:
                numbers += 1
    return numbers, symbols


@njit(types.boolean(_POINTS), cache=True)
def _asks_for_proof(text):  # type: ignore[no-untyped-def]
    """Whether it begins with 证明 or 试证明: elsewhere the word is most often a certificate or a piece of evidence."""
    at = 1 if len(text) > 0 and text[0] in (0x8BD5, 0x8A66) else 0
    if len(text) < at + 2 or text[at] not in (0x8BC1, 0x8B49) or text[at + 1] != 0x660E:
        return False
    if len(text) == at + 2:
        return True
    after = text[at + 2]
    if after in (0x4E66, 0x66F8, 0x4FE1, 0x51FD):
        return False
    if len(text) == at + 3:
        return True
    then = text[at + 3]
    return not ((after == 0x6750 and then == 0x6599) or (after == 0x6587 and then == 0x4EF6))


@njit(types.boolean(_POINTS, types.int64, _U32, _U16, _U16), cache=True)
def _is_closed(text, root, keys, children, cue_of):  # type: ignore[no-untyped-def]
    """Whether it ends in 吗 or begins as an English yes-or-no question does."""
    size = len(text)
    last = size - 1 if size > 1 and text[size - 1] == 63 else size
    if last > 0 and text[last - 1] in (0x5417, 0x55CE):
        return True
    node, at = root, 0
    while at < size:
        node = _child(node, text[at], keys, children)
        if node == 0:
            return False
        at += 1
        if cue_of[node] != 0:
            return at < size and text[at] == 32
    return False


@njit(
    types.void(_POINTS, types.int64, types.boolean, types.int64, _U16, _U16, _U32, _U16, _U16, _U16, _U16, _ROW),
    cache=True,
)
def scan(  # type: ignore[no-untyped-def]
    text, all_chars, is_asked, root, first_zh, first_en, keys, children, cue_of, kind_of_cue, kind_of_point, row
):
    """Write everything that can be seen of a normalised `text` (code points) into `row`, in the order of `FEATURES`.

    `all_chars`: length of the text before it was cut to its windows; `is_asked`: whether anybody asks anything. The
    tables are those of `scan_tables`.
    """
    row[:] = 0.0
    size = len(text)
    items, options, first_option = 0, 0, -1
    has_fence = False
    for place in range(size):
        if text[place] == 10 and items == 0:
            items, options, first_option = _items(text)
            if items == 0:
                items = -1
        elif text[place] == 96 and place + 2 < size and text[place + 1] == 96 and text[place + 2] == 96:
            has_fence = True
    items = max(items, 0)
    is_choice = options >= 3
    # The options of a multiple choice are not what is asked.
    stem_size = min(first_option, size) if is_choice else size

    asking = np.empty(2 * ASKING_CHARS + 1, np.uint32)
    if stem_size <= 2 * ASKING_CHARS:
        asking_size = stem_size
        asking[:stem_size] = text[:stem_size]
    else:
        asking_size = 2 * ASKING_CHARS + 1
        asking[:ASKING_CHARS] = text[:ASKING_CHARS]
        asking[ASKING_CHARS] = 32
        asking[ASKING_CHARS + 1 :] = text[stem_size - ASKING_CHARS : stem_size]

    is_seen = np.zeros(CUE_COUNT + 1, np.uint8)
    _mark_cues(asking, asking_size, is_seen, first_zh, first_en, keys, children, cue_of)
    for cue in range(1, CUE_COUNT + 1):
        if is_seen[cue]:
            row[kind_of_cue[cue]] += 1.0
    for kind in range(KIND_COUNT):
        if row[kind] > 0:
            # The second cue of a kind tells less than the first, and a fourth nothing more.
            row[kind] = min(1.6, 0.7 + 0.3 * row[kind])

    # A body in which nobody asks anything (token ids) is not a greeting.
    if size == 0 and is_asked:
        row[AT_EMPTY] = 1.0
    words, questions, clauses = _words_and_clauses(text, stem_size)
    if all_chars > 2 * WINDOW_CHARS:
        # Material left out of the windows is taken to be like what was read.
        words *= all_chars / (2 * WINDOW_CHARS)
    length = log((words + 1) / MIDDLING_WORDS)
    if is_choice:
        row[AT_CHOICE] = 1.0
        # A long stem with options to choose from is material to be read: more of it is not a harder task.
        length = min(0.0, length)
        if words + 1 > MUCH_MATERIAL_WORDS:
            row[AT_MATERIAL] = log((words + 1) / MUCH_MATERIAL_WORDS)
    row[AT_LENGTH] = min(2.0, max(-1.5, length))
    numbers, symbols = _figures(asking, asking_size, kind_of_point)
    row[AT_NUMBERS] = min(2.0, log1p(float(numbers)))
    if numbers > 1:
        for place in AT_SUMS_NEED:
            if row[place] > 0:
                row[AT_SUMS] = 1.0
    row[AT_SYMBOLS] = min(1.5, log1p(float(symbols)))
    row[AT_CLAUSES] = min(1.0 if is_choice else 2.5, log1p(clauses))
    row[AT_QUESTIONS] = min(2.0, max(0.0, questions - 1.0))
    row[AT_ITEMS] = min(1.5, log1p(float(items - options)))
    if has_fence:
        row[AT_FENCE] = 1.0
    if _asks_for_proof(text):
        row[AT_PROOF] = 1.0
    if _is_closed(text, root, keys, children, cue_of):
        row[AT_CLOSED] = 1.0
