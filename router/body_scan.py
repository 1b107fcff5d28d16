"""Reads an ordinary chat body in one compiled pass over its bytes: no object is made, no text copied twice.

Ordinary is what nearly every request is: texts by the usual roles, sampling numbers within their bounds. Of anything
else (tools, pictures, odd numbers, a key twice, a mistake) `read` says that it is not, and `openai_request` reads it,
refuses it, and words the refusal. Where `read` says yes, both read the same.
"""

from typing import Final

import numpy as np

from router.compiled import njit, types
from router.languages import EL, HAN, WIDE_HAN

# Places in the row of results.
(
    MODEL_START, MODEL_END, IS_STREAM, ANSWER_TOKENS, TURNS, TEXTS, CHARS, WIDE_BYTES, SCRIPTS, QUESTION_START,
    QUESTION_END, FIRST_END, AT,
) = range(13)  # fmt: skip
RESULTS: Final = 13

# What a field's value may be: the kinds that `read` knows to check.
_OTHER, _MODEL, _MESSAGES, _FLAG, _STREAM, _NUMBER, _WHOLE, _OPTIONS, _NOT_ORDINARY = range(9)
# Bounds as in `openai_request`; the two fields that limit the answer come last, the stronger one first.
_FIELDS: Final = (
    ("model", _MODEL, 0.0, 0.0), ("messages", _MESSAGES, 0.0, 0.0), ("stream", _STREAM, 0.0, 0.0),
    ("temperature", _NUMBER, 0.0, 2.0), ("top_p", _NUMBER, 0.0, 1.0), ("frequency_penalty", _NUMBER, -2.0, 2.0),
    ("presence_penalty", _NUMBER, -2.0, 2.0), ("n", _WHOLE, 1.0, 128.0), ("seed", _WHOLE, -1e15, 1e15),
    ("stream_options", _OPTIONS, 0.0, 0.0), ("logprobs", _FLAG, 0.0, 0.0), ("top_logprobs", _WHOLE, 0.0, 20.0),
    ("stop", _NOT_ORDINARY, 0.0, 0.0), ("logit_bias", _NOT_ORDINARY, 0.0, 0.0), ("tools", _NOT_ORDINARY, 0.0, 0.0),
    ("tool_choice", _NOT_ORDINARY, 0.0, 0.0), ("response_format", _NOT_ORDINARY, 0.0, 0.0),
    ("prompt_cache_key", _NOT_ORDINARY, 0.0, 0.0), ("max_completion_tokens", _WHOLE, 1.0, 1e15),
    ("max_tokens", _WHOLE, 1.0, 1e15),
)  # fmt: skip
_COUNT: Final = len(_FIELDS)
_ROLES: Final = ("user", "system", "assistant", "developer")
_LONGEST: Final = max(len(name) for name, *_ in _FIELDS)


def _table(words: tuple[str, ...]) -> np.ndarray:
    """Words as rows of bytes, each begun by its length."""
    table = np.zeros((len(words), _LONGEST + 1), np.uint8)
    for row, word in zip(table, words, strict=True):
        row[0] = len(word)
        row[1 : len(word) + 1] = np.frombuffer(word.encode("ascii"), np.uint8)
    return table


_NAMES = _table(tuple(name for name, *_ in _FIELDS))
_ROLE_NAMES = _table(_ROLES)
_MESSAGE_NAMES = _table(("role", "content", "name"))
_USAGE_NAME = _table(("include_usage",))
_KINDS = np.array([kind for _, kind, *_ in _FIELDS], np.int64)
_LOW = np.array([low for *_, low, _ in _FIELDS])
_HIGH = np.array([high for *_, high in _FIELDS])

_RAW = types.Array(types.uint8, 1, "C", readonly=True)
_POINTS, _OUT = types.uint32[::1], types.int64[::1]
_PAIR = types.UniTuple(types.int64, 2)


@njit(types.int64(_RAW, types.int64), cache=True)
def _after_space(raw, at):  # type: ignore[no-untyped-def]
    while at < len(raw) and raw[at] in (32, 10, 13, 9):
        at += 1
    return at


@njit(types.int64(_RAW, types.int64), cache=True)
def _plain_end(raw, at):  # type: ignore[no-untyped-def]
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


@njit(cache=True)
def _index(raw, start, end, table):  # type: ignore[no-untyped-def]
    """Which word of a table `raw[start:end]` is, or -1."""
    size = end - start
    for row in range(table.shape[0]):
        if table[row, 0] != size:
            continue
        is_same = True
        for place in range(size):
            if table[row, place + 1] != raw[start + place]:
                is_same = False
                break
        if is_same:
            return row
    return -1


@njit(types.int64(_RAW, types.int64), cache=True)
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


@njit(_PAIR(_RAW, types.int64), cache=True)
def _escaped(raw, at):  # type: ignore[no-untyped-def]
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


@njit(_PAIR(_RAW, types.int64), cache=True)
def _utf8(raw, at):  # type: ignore[no-untyped-def]
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


@njit(types.int64(_RAW, types.int64, _POINTS, types.int64, _OUT, types.uint16[::1]), cache=True)
def _text(raw, at, points, written, out, script_of):  # type: ignore[no-untyped-def]
    """Decode the string that opens at `at` to `points[written:]`; gives the place behind it, -1 if it is malformed.

    Its length, scripts and wide bytes are added to `out`; `out[AT]` becomes the end of what is written.
    """
    at += 1
    start, wide_bytes, scripts, greek = written, np.int64(0), np.int64(0), 0
    size = len(raw)
    while True:
        if at >= size:
            return -1
        byte = raw[at]
        if byte == 34:
            break
        if byte < 32:
            return -1
        if byte == 92:
            point, at = _escaped(raw, at)
        elif byte < 128:
            point, at = np.int64(byte), at + 1
        else:
            point, at = _utf8(raw, at)
        if point < 0:
            return -1
        points[written] = point
        written += 1
        if point < 0x10000:
            script = np.int64(script_of[point])
            if script & EL:
                # One or two letters are a formula, not Greek.
                greek += 1
                if greek < 3:
                    script &= ~EL
            else:
                greek = 0
            scripts |= script
            if point >= 0x80:
                wide_bytes += 2 if point >= 0x800 else 1
        else:
            greek = 0
            wide_bytes += 3
            if WIDE_HAN[0] <= point <= WIDE_HAN[1]:
                scripts |= HAN
    out[CHARS] += written - start
    out[WIDE_BYTES] += wide_bytes
    out[SCRIPTS] |= scripts
    out[AT] = written
    return at + 1


@njit(types.Tuple((types.float64, types.int64, types.boolean))(_RAW, types.int64), cache=True)
def _number(raw, at):  # type: ignore[no-untyped-def]
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


@njit(_PAIR(_RAW, types.int64), cache=True)
def _flag(raw, at):  # type: ignore[no-untyped-def]
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


@njit(types.int64(_RAW, types.int64), cache=True)
def _other(raw, at):  # type: ignore[no-untyped-def]
    """Pass over a value of a field that the router does not know, if it is a simple one."""
    if at >= len(raw):
        return -1
    if raw[at] == 34:
        end = _plain_end(raw, at)
        return end + 1 if end >= 0 else -1
    value, after = _flag(raw, at)
    if value >= 0:
        return after
    _, after, _ = _number(raw, at)
    return after


@njit(types.int64(_RAW, types.int64), cache=True)
def _options(raw, at):  # type: ignore[no-untyped-def]
    """Pass over {"include_usage": true}."""
    if at >= len(raw) or raw[at] != 123:
        return -1
    at = _after_space(raw, at + 1)
    end = _plain_end(raw, at)
    if end < 0 or _index(raw, at + 1, end, _USAGE_NAME) < 0:
        return -1
    at = _after_space(raw, end + 1)
    if at >= len(raw) or raw[at] != 58:
        return -1
    value, at = _flag(raw, _after_space(raw, at + 1))
    if value < 0:
        return -1
    at = _after_space(raw, at)
    return at + 1 if at < len(raw) and raw[at] == 125 else -1


@njit(types.int64(_RAW, types.int64, _POINTS, _OUT, types.uint16[::1]), cache=True)
def _message(raw, at, points, out, script_of):  # type: ignore[no-untyped-def]
    """Read one message that opens at `at`; gives the place behind it, -1 if it is not ordinary."""
    if at >= len(raw) or raw[at] != 123:
        return -1
    at += 1
    role, start, seen = -1, out[AT], 0
    while True:
        at = _after_space(raw, at)
        end = _plain_end(raw, at)
        if end < 0:
            return -1
        name = _index(raw, at + 1, end, _MESSAGE_NAMES)
        if name < 0 or seen & (1 << name):
            return -1
        seen |= 1 << name
        at = _after_space(raw, end + 1)
        if at >= len(raw) or raw[at] != 58:
            return -1
        at = _after_space(raw, at + 1)
        if at >= len(raw) or raw[at] != 34:
            return -1
        if name == 1:
            at = _text(raw, at, points, start, out, script_of)
            if at < 0:
                return -1
        else:
            end = _plain_end(raw, at)
            if end < 0:
                return -1
            if name == 0:
                role = _index(raw, at + 1, end, _ROLE_NAMES)
                if role < 0:
                    return -1
            at = end + 1
        at = _after_space(raw, at)
        if at >= len(raw):
            return -1
        if raw[at] == 125:
            break
        if raw[at] != 44:
            return -1
        at += 1
    if seen & 3 != 3:
        return -1
    out[TEXTS] += 1
    if role == 0:
        out[TURNS] += 1
        out[QUESTION_START] = start
        out[QUESTION_END] = out[AT]
        if out[FIRST_END] < 0:
            out[FIRST_END] = out[AT]
    return at + 1


@njit(types.int64(_RAW, types.int64, _POINTS, _OUT, types.uint16[::1]), cache=True)
def _messages(raw, at, points, out, script_of):  # type: ignore[no-untyped-def]
    if at >= len(raw) or raw[at] != 91:
        return -1
    at += 1
    while True:
        at = _message(raw, _after_space(raw, at), points, out, script_of)
        if at < 0:
            return -1
        at = _after_space(raw, at)
        if at >= len(raw):
            return -1
        if raw[at] == 93:
            return at + 1
        if raw[at] != 44:
            return -1
        at += 1


@njit(types.boolean(_RAW, _POINTS, _OUT, types.uint16[::1]), cache=True)
def read(raw, points, out, script_of):  # type: ignore[no-untyped-def]
    """Whether `raw` is an ordinary chat body. If so `out` says what it holds, and `points` the texts of its messages.

    `points` must have a place for each byte of `raw`. `script_of`: `languages.SCRIPT_OF`.
    """
    out[:] = 0
    out[FIRST_END] = -1
    at = _after_space(raw, 0)
    if at >= len(raw) or raw[at] != 123:
        return False
    at += 1
    seen = np.int64(0)
    while True:
        at = _after_space(raw, at)
        end = _plain_end(raw, at)
        if end < 0:
            return False
        field = _index(raw, at + 1, end, _NAMES)
        kind = _KINDS[field] if field >= 0 else _OTHER
        if field >= 0:
            if seen & (1 << field):
                return False
            seen |= 1 << field
        at = _after_space(raw, end + 1)
        if at >= len(raw) or raw[at] != 58:
            return False
        at = _after_space(raw, at + 1)
        if kind == _MODEL:
            end = _plain_end(raw, at)
            if end <= at + 1:
                return False
            out[MODEL_START], out[MODEL_END] = at, end + 1
            at = end + 1
        elif kind == _MESSAGES:
            at = _messages(raw, at, points, out, script_of)
        elif kind in (_STREAM, _FLAG):
            value, at = _flag(raw, at)
            if kind == _STREAM:
                out[IS_STREAM] = value
        elif kind in (_NUMBER, _WHOLE):
            number, at, is_whole = _number(raw, at)
            if number < _LOW[field] or number > _HIGH[field] or (kind == _WHOLE and not is_whole):
                return False
            if field == _COUNT - 2 or (field == _COUNT - 1 and not seen & (1 << (_COUNT - 2))):
                out[ANSWER_TOKENS] = np.int64(number)
        elif kind == _OPTIONS:
            at = _options(raw, at)
        elif kind == _OTHER:
            at = _other(raw, at)
        else:
            return False
        if at < 0:
            return False
        at = _after_space(raw, at)
        if at >= len(raw):
            return False
        if raw[at] == 125:
            break
        if raw[at] != 44:
            return False
        at += 1
    # Nothing may follow, and nothing that is needed may be missing.
    return _after_space(raw, at + 1) == len(raw) and seen & 3 == 3 and out[TURNS] > 0
