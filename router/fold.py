"""Fold what must not change the choice, compiled: width, case, spaces, and courtesies at both ends of a question.

The same as `features.normalised`, to which whatever is rare is left.
"""

import numpy as np

from router.compiled import njit, types
from router.fold_tables import ENDS_ROOT, HASH_MASK, HEAD_ROOT, LONGEST_THANKS, TAIL_ROOT, WORDS_AT
from router.scan import WINDOW_CHARS, _is_space

# Thanks longer than this are a message of their own. Fewer than 63, for a bit each.
TAIL_CHARS = 60

# What a text has, as bits.
_HAS_SPACE, _HAS_WIDE, _HAS_OTHERS = 1, 2, 4

_READ_ONLY = types.Array(types.uint32, 1, "C", readonly=True)
_U16, _U32 = types.uint16[::1], types.uint32[::1]


@njit(types.int64(types.int64, types.uint32, _U32), cache=True)
def _below(node, point, trie):  # type: ignore[no-untyped-def]
    """The node below `node` at this letter, with the courtesy that ends there above its 16 bits; 0 if none."""
    if point >= 0x10000:
        return 0
    key = (node << 16) | point
    place = ((key * 0x9E3779B1) >> 15) & HASH_MASK
    while True:
        found = trie[2 * place]
        if found == key:
            return np.int64(trie[2 * place + 1])
        if found == 0:
            return 0
        place = (place + 1) & HASH_MASK


@njit(types.boolean(types.uint32), cache=True)
def _is_blank(point):  # type: ignore[no-untyped-def]
    return point in (32, 9)


@njit(types.boolean(types.uint32), cache=True)
def _is_wide(point):  # type: ignore[no-untyped-def]
    return 0x2E80 <= point <= 0xFFFF


@njit(types.boolean(types.uint32), cache=True)
def _is_mark(point):  # type: ignore[no-untyped-def]
    """Those that may stand behind thanks: white space or one of , . ! 。 ~"""
    return point in (44, 46, 33, 0x3002, 126) or _is_space(point)


@njit(types.int64(_U32, types.int64, types.int64, types.int64, _U16), cache=True)
def _is_edge(text, start, place, end, folds):  # type: ignore[no-untyped-def]
    """Whether a word begins or ends at `place` in `text[start:end]`: 1 or 0; -1 if only Python knows."""
    before, after = 0, 0
    if place > start:
        point = np.int64(text[place - 1])
        if point >= 0x10000:
            return -1
        before = (folds[WORDS_AT + (point >> 4)] >> (point & 15)) & 1
    if place < end:
        point = np.int64(text[place])
        if point >= 0x10000:
            return -1
        after = (folds[WORDS_AT + (point >> 4)] >> (point & 15)) & 1
    return before ^ after


@njit(types.int64(_U32, types.int64, types.int64, _U16, _U32), cache=True)
def _end_of_head(text, start, end, folds, trie):  # type: ignore[no-untyped-def]
    """Where in `text[start:end]` the courtesies and marks at its beginning end; -1 if only Python knows."""
    at = start
    while at < end:
        first = text[at]
        if _is_mark(first) or first in (58, 59, 0x3001):
            at += 1
            continue
        node, place = HEAD_ROOT, at
        best, best_end = 65536, -1
        while place < end:
            below = _below(node, text[place], trie)
            if below == 0:
                break
            place += 1
            node, rank = below & 0xFFFF, below >> 16
            if 0 < rank < best:
                is_edge = _is_edge(text, start, place, end, folds) if first < 0x80 else 1
                if is_edge < 0:
                    return -1
                if is_edge:
                    best, best_end = rank, place
        if best_end < 0:
            break
        at = best_end
    return at


@njit(types.boolean(_U32, types.int64, types.int64, _U32), cache=True)
def _may_end_in_thanks(text, start, end, trie):  # type: ignore[no-untyped-def]
    # Fewer marks than may stand behind thanks.
    while end > start and text[end - 1] in (32, 44, 46, 33, 0x3002, 126, 9, 13, 10):
        end -= 1
    node = ENDS_ROOT
    while end > start:
        end -= 1
        below = _below(node, text[end], trie)
        if below == 0:
            return False
        if below >> 16:
            return True
        node = below & 0xFFFF
    return False


@njit(types.int64(_U32, types.int64, types.int64, _U16, _U32), cache=True)
def _start_of_tail(text, start, end, folds, trie):  # type: ignore[no-untyped-def]
    """Where in `text[start:end]` the thanks and marks at its end begin: `end` if none, -1 if only Python knows."""
    if not _may_end_in_thanks(text, start, end, trie):
        return end
    # From the end forwards. A bit for each place, counted from the end: whether from there on stand only marks and
    # thanks. At `begin` they have begun with thanks, or with a mark before those.
    open_ends, last_open, begin = np.int64(1), end, end
    is_begun = False
    for place in range(end - 1, max(start, end - TAIL_CHARS) - 1, -1):
        if last_open - place > LONGEST_THANKS:
            break
        point = text[place]
        # This one stands before thanks only: behind the last ones it has been excluded above.
        if _is_mark(point) or point == 0x3001:
            is_open = (open_ends >> (end - place - 1)) & 1 == 1
        else:
            is_begun = False
            node, at = TAIL_ROOT, place
            while at < end:
                below = _below(node, text[at], trie)
                if below == 0:
                    break
                at += 1
                node = below & 0xFFFF
                if below >> 16 and (open_ends >> (end - at)) & 1:
                    is_begun = True
                    break
            if is_begun and point < 0x80:
                is_edge = _is_edge(text, start, place, end, folds)
                if is_edge < 0:
                    return -1
                is_begun = is_edge == 1
            is_open = is_begun
        if is_begun:
            begin = place
        if is_open:
            open_ends |= np.int64(1) << (end - place)
            last_open = place
    return begin


@njit([types.int64(points, _U32) for points in (_READ_ONLY, _U32)], cache=True)
def _fold_points(text, out):  # type: ignore[no-untyped-def]
    """Copy `text` to `out` with its ordinary characters folded; tell what it has.

    No branches and numbers of one size only: so the compiler takes eight or sixteen characters at once.
    """
    what = np.uint32(0)
    for place in range(len(text)):
        point = text[place]
        point = np.uint32(32) if point == 0x3000 else point
        # Full-width letters, digits and marks.
        point = np.uint32(point - 0xFEE0) if (point >= 0xFF01) & (point <= 0xFF5E) else point
        point = np.uint32(point + 32) if (point >= 65) & (point <= 90) else point
        out[place] = point
        is_han = (point >= 0x3001) & (point <= 0xA63F)
        # Of the others only quotes and dashes.
        is_plain = (point < 0x80) | ((point >= 0x200E) & (point <= 0x2026))
        kind = np.uint32(_HAS_WIDE) if is_han else np.uint32(0) if is_plain else np.uint32(_HAS_OTHERS)
        what |= np.uint32(_HAS_SPACE) if point == 32 else kind
    return what


@njit(types.int64(_U32, _U16), cache=True)
def _fold_others(text, folds):  # type: ignore[no-untyped-def]
    """Fold in place what `_fold_points` left; tell what `text` has, or -1 if only Python can fold it."""
    what = 0
    for place in range(len(text)):
        point = np.int64(text[place])
        if point >= 0x10000:
            # Below emoji and rare Han there are the capitals of dead scripts.
            if point < 0x1F000:
                return -1
            continue
        if point >= 0x80 and not 0x3001 <= point <= 0xA63F:
            point = np.int64(folds[point])
            if point == 0:
                return -1
            text[place] = point
        if point == 32:
            what |= _HAS_SPACE
        elif point >= 0x2E80:
            what |= _HAS_WIDE
    return what


@njit(types.int64(_U32, types.int64), cache=True)
def _without_blanks_beside_han(text, size):  # type: ignore[no-untyped-def]
    """Remove them from `text[:size]` and tell the size that is left."""
    place, kept = 0, 0
    while place < size:
        point = text[place]
        if not _is_blank(point):
            text[kept] = point
            kept += 1
            place += 1
            continue
        end = place + 1
        while end < size and _is_blank(text[end]):
            end += 1
        if (kept > 0 and _is_wide(text[kept - 1])) or (end < size and _is_wide(text[end])):
            place = end
        while place < end:
            text[kept] = text[place]
            kept += 1
            place += 1
    return kept


@njit([types.int64(points, _U32, _U16, _U32) for points in (_READ_ONLY, _U32)], cache=True)
def fold(text, out, folds, trie):  # type: ignore[no-untyped-def]
    """Write the folded `text` (code points) into `out` and tell its size; -1 if it holds what only Python can fold.

    `out` must be as long as `text` or as the two windows that are read of a long one. `folds` and `trie` are the tables
    of `fold_tables`.
    """
    size = len(text)
    is_cut = size > 2 * WINDOW_CHARS
    if is_cut:
        # A line break stands for the middle.
        size = 2 * WINDOW_CHARS + 1
    if len(out) < size:
        return -1
    if is_cut:
        what = _fold_points(text[:WINDOW_CHARS], out[:WINDOW_CHARS])
        out[WINDOW_CHARS] = 10
        what |= _fold_points(text[len(text) - WINDOW_CHARS :], out[WINDOW_CHARS + 1 : size])
    else:
        what = _fold_points(text, out[:size])
    if what & _HAS_OTHERS:
        what = _fold_others(out[:size], folds)
        if what < 0:
            return -1
    if what == _HAS_SPACE | _HAS_WIDE:
        size = _without_blanks_beside_han(out, size)

    start, end = 0, size
    while start < end and _is_space(out[start]):
        start += 1
    while start < end and _is_space(out[end - 1]):
        end -= 1
    start = _end_of_head(out, start, end, folds, trie)
    if start < 0:
        return -1
    end = _start_of_tail(out, start, end, folds, trie)
    if end < 0:
        return -1
    if start > 0:
        for place in range(start, end):
            out[place - start] = out[place]
    return end - start
