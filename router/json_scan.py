"""JSON's smallest pieces, compiled: blanks, strings, escapes, characters, numbers and truth, each at a place in bytes.

What is malformed or odd gives -1: whoever asked leaves it to the real parser.
"""

import numpy as np

from router.compiled import BYTES, njit, types

_PAIR = types.UniTuple(types.int64, 2)


@njit(types.int64(BYTES, types.int64), cache=True)
def after_space(raw, at):  # type: ignore[no-untyped-def]
    """The place of the next byte that is no blank."""
    while at < len(raw) and raw[at] in (32, 10, 13, 9):
        at += 1
    return at


@njit(types.int64(BYTES, types.int64), cache=True)
def plain_end(raw, at):  # type: ignore[no-untyped-def]
    """The closing quote of the string that opens at `at`, or -1 unless it is printable ASCII without escapes."""
    if at >= len(raw) or raw[at] != 34:
        return -1
    at += 1
    while at < len(raw):
        byte = raw[at]
        if byte == 34:
            return at
        if byte < 32 or byte > 126 or byte == 92:
            return -1
        at += 1
    return -1


@njit(types.int64(BYTES, types.int64), cache=True)
def _hex4(raw, at):  # type: ignore[no-untyped-def]
    """The number in the four hexadecimal digits at `at`, or -1."""
    if at + 4 > len(raw):
        return -1
    value = np.int64(0)
    for place in range(at, at + 4):
        byte = np.int64(raw[place])
        if 48 <= byte <= 57:
            digit = byte - 48
        elif 97 <= byte <= 102:
            digit = byte - 87
        elif 65 <= byte <= 70:
            digit = byte - 55
        else:
            return -1
        value = value * 16 + digit
    return value


@njit(_PAIR(BYTES, types.int64), cache=True)
def escaped(raw, at):  # type: ignore[no-untyped-def]
    """The code point of the escape whose backslash stands at `at`, and the place behind it; -1 if it is none."""
    if at + 1 >= len(raw):
        return -1, at
    kind = raw[at + 1]
    if kind == 110:
        return 10, at + 2
    if kind in (34, 92, 47):
        return np.int64(kind), at + 2
    if kind == 116:
        return 9, at + 2
    if kind == 114:
        return 13, at + 2
    if kind == 98:
        return 8, at + 2
    if kind == 102:
        return 12, at + 2
    if kind != 117:
        return -1, at
    point = _hex4(raw, at + 2)
    if point < 0xD800 or point > 0xDFFF:
        return point, at + 6
    # Half of a pair: the other half must follow.
    if point > 0xDBFF or at + 7 >= len(raw) or raw[at + 6] != 92 or raw[at + 7] != 117:
        return -1, at
    low = _hex4(raw, at + 8)
    if low < 0xDC00 or low > 0xDFFF:
        return -1, at
    return 0x10000 + ((point - 0xD800) << 10) + (low - 0xDC00), at + 12


@njit(_PAIR(BYTES, types.int64), cache=True)
def utf8(raw, at):  # type: ignore[no-untyped-def]
    """The code point whose first byte, not ASCII, stands at `at`, and the place behind it; -1 if it is malformed."""
    first = np.int64(raw[at])
    if 0xC2 <= first <= 0xDF:
        more, point, least = 1, first & 0x1F, 0x80
    elif 0xE0 <= first <= 0xEF:
        more, point, least = 2, first & 0x0F, 0x800
    elif 0xF0 <= first <= 0xF4:
        more, point, least = 3, first & 0x07, 0x10000
    else:
        return -1, at
    if at + more >= len(raw):
        return -1, at
    for place in range(at + 1, at + 1 + more):
        if raw[place] & 0xC0 != 0x80:
            return -1, at
        point = (point << 6) | (np.int64(raw[place]) & 0x3F)
    if point < least or point > 0x10FFFF or 0xD800 <= point <= 0xDFFF:
        return -1, at
    return point, at + 1 + more


@njit(types.Tuple((types.float64, types.int64, types.boolean))(BYTES, types.int64), cache=True)
def number_at(raw, at):  # type: ignore[no-untyped-def]
    """The number at `at`, the place behind it (-1 if it is none or an odd one), and whether it is a whole one."""
    sign = 1.0
    if at < len(raw) and raw[at] == 45:
        sign = -1.0
        at += 1
    start, value, digits = at, 0.0, 0
    while at < len(raw) and 48 <= raw[at] <= 57:
        value = value * 10 + (raw[at] - 48)
        digits += 1
        at += 1
    if digits == 0 or digits > 15 or (digits > 1 and raw[start] == 48):
        return 0.0, -1, False
    is_whole = True
    if at < len(raw) and raw[at] == 46:
        is_whole = False
        at += 1
        scale, decimals = 1.0, 0
        while at < len(raw) and 48 <= raw[at] <= 57:
            value = value * 10 + (raw[at] - 48)
            scale *= 10
            decimals += 1
            at += 1
        if decimals == 0 or digits + decimals > 15:
            return 0.0, -1, False
        value /= scale
    if at < len(raw) and raw[at] in (101, 69):
        return 0.0, -1, False
    return sign * value, at, is_whole


@njit(_PAIR(BYTES, types.int64), cache=True)
def flag_at(raw, at):  # type: ignore[no-untyped-def]
    """true (1) or false (0) at `at`, and the place behind it; -1 if it is neither."""
    if at + 4 <= len(raw) and raw[at] == 116 and raw[at + 1] == 114 and raw[at + 2] == 117 and raw[at + 3] == 101:
        return 1, at + 4
    if (
        at + 5 <= len(raw)
        and raw[at] == 102
        and raw[at + 1] == 97
        and raw[at + 2] == 108
        and raw[at + 3] == 115
        and raw[at + 4] == 101
    ):
        return 0, at + 5
    return -1, -1
