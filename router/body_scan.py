"""Reads an ordinary chat body in one compiled pass over its bytes: no object is made, no text copied twice.

Ordinary is what nearly every request is: texts by the usual roles, sampling numbers within their bounds. Of anything
else (tools, pictures, odd numbers, a key twice, a mistake) `read` says that it is not, and `openai_request` reads it,
refuses it, and words the refusal. Where `read` says yes, both read the same.
"""

from typing import Final

import numpy as np

from router.compiled import BYTES, njit, types
from router.json_scan import after_space, escaped, flag_at, number_at, plain_end, utf8
from router.languages import EL, HAN, WIDE_HAN
from router.word_table import AS_IT_IS, word_index, word_table

# Places in the row of results.
(
    MODEL_START, MODEL_END, IS_STREAM, ANSWER_TOKENS, TURNS, TEXTS, CHARS, WIDE_BYTES, SCRIPTS, QUESTION_START,
    QUESTION_END, FIRST_END, AT, BEFORE_END,
) = range(14)  # fmt: skip
RESULTS: Final = 14

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

_NAMES = word_table(*(name for name, *_ in _FIELDS))
_ROLE_NAMES = word_table(*_ROLES)
_MESSAGE_NAMES = word_table("role", "content", "name")
_USAGE_NAME = word_table("include_usage")
_KINDS = np.array([kind for _, kind, *_ in _FIELDS], np.int64)
_LOW = np.array([low for *_, low, _ in _FIELDS])
_HIGH = np.array([high for *_, high in _FIELDS])

_POINTS, _OUT = types.uint32[::1], types.int64[::1]


@njit(types.int64(BYTES, types.int64, _POINTS, types.int64, _OUT, types.uint16[::1]), cache=True)
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
            point, at = escaped(raw, at)
        elif byte < 128:
            point, at = np.int64(byte), at + 1
        else:
            point, at = utf8(raw, at)
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


@njit(types.int64(BYTES, types.int64), cache=True)
def _other(raw, at):  # type: ignore[no-untyped-def]
    """Pass over a value of a field that the router does not know, if it is a simple one."""
    if at >= len(raw):
        return -1
    if raw[at] == 34:
        end = plain_end(raw, at)
        return end + 1 if end >= 0 else -1
    value, after = flag_at(raw, at)
    if value >= 0:
        return after
    _, after, _ = number_at(raw, at)
    return after


@njit(types.int64(BYTES, types.int64), cache=True)
def _options(raw, at):  # type: ignore[no-untyped-def]
    """Pass over {"include_usage": true}."""
    if at >= len(raw) or raw[at] != 123:
        return -1
    at = after_space(raw, at + 1)
    end = plain_end(raw, at)
    if end < 0 or word_index(raw, at + 1, end, _USAGE_NAME, AS_IT_IS) < 0:
        return -1
    at = after_space(raw, end + 1)
    if at >= len(raw) or raw[at] != 58:
        return -1
    value, at = flag_at(raw, after_space(raw, at + 1))
    if value < 0:
        return -1
    at = after_space(raw, at)
    return at + 1 if at < len(raw) and raw[at] == 125 else -1


@njit(types.int64(BYTES, types.int64, _POINTS, _OUT, types.uint16[::1]), cache=True)
def _message(raw, at, points, out, script_of):  # type: ignore[no-untyped-def]
    """Read one message that opens at `at`; gives the place behind it, -1 if it is not ordinary."""
    if at >= len(raw) or raw[at] != 123:
        return -1
    at += 1
    role, start, seen = -1, out[AT], 0
    while True:
        at = after_space(raw, at)
        end = plain_end(raw, at)
        if end < 0:
            return -1
        name = word_index(raw, at + 1, end, _MESSAGE_NAMES, AS_IT_IS)
        if name < 0 or seen & (1 << name):
            return -1
        seen |= 1 << name
        at = after_space(raw, end + 1)
        if at >= len(raw) or raw[at] != 58:
            return -1
        at = after_space(raw, at + 1)
        if at >= len(raw) or raw[at] != 34:
            return -1
        if name == 1:
            at = _text(raw, at, points, start, out, script_of)
            if at < 0:
                return -1
        else:
            end = plain_end(raw, at)
            if end < 0:
                return -1
            if name == 0:
                role = word_index(raw, at + 1, end, _ROLE_NAMES, AS_IT_IS)
                if role < 0:
                    return -1
            at = end + 1
        at = after_space(raw, at)
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
        out[BEFORE_END] = out[QUESTION_END]
        out[QUESTION_START] = start
        out[QUESTION_END] = out[AT]
        if out[FIRST_END] < 0:
            out[FIRST_END] = out[AT]
    return at + 1


@njit(types.int64(BYTES, types.int64, _POINTS, _OUT, types.uint16[::1]), cache=True)
def _messages(raw, at, points, out, script_of):  # type: ignore[no-untyped-def]
    if at >= len(raw) or raw[at] != 91:
        return -1
    at += 1
    while True:
        at = _message(raw, after_space(raw, at), points, out, script_of)
        if at < 0:
            return -1
        at = after_space(raw, at)
        if at >= len(raw):
            return -1
        if raw[at] == 93:
            return at + 1
        if raw[at] != 44:
            return -1
        at += 1


@njit(types.boolean(BYTES, _POINTS, _OUT, types.uint16[::1]), cache=True)
def read(raw, points, out, script_of):  # type: ignore[no-untyped-def]
    """Whether `raw` is an ordinary chat body. If so `out` says what it holds, and `points` the texts of its messages.

    `points` must have a place for each byte of `raw`. `script_of`: `languages.SCRIPT_OF`.
    """
    out[:] = 0
    out[FIRST_END] = -1
    at = after_space(raw, 0)
    if at >= len(raw) or raw[at] != 123:
        return False
    at += 1
    seen = np.int64(0)
    while True:
        at = after_space(raw, at)
        end = plain_end(raw, at)
        if end < 0:
            return False
        field = word_index(raw, at + 1, end, _NAMES, AS_IT_IS)
        kind = _KINDS[field] if field >= 0 else _OTHER
        if field >= 0:
            if seen & (1 << field):
                return False
            seen |= 1 << field
        at = after_space(raw, end + 1)
        if at >= len(raw) or raw[at] != 58:
            return False
        at = after_space(raw, at + 1)
        if kind == _MODEL:
            end = plain_end(raw, at)
            if end <= at + 1:
                return False
            out[MODEL_START], out[MODEL_END] = at, end + 1
            at = end + 1
        elif kind == _MESSAGES:
            at = _messages(raw, at, points, out, script_of)
        elif kind in (_STREAM, _FLAG):
            value, at = flag_at(raw, at)
            if kind == _STREAM:
                out[IS_STREAM] = value
        elif kind in (_NUMBER, _WHOLE):
            number, at, is_whole = number_at(raw, at)
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
        at = after_space(raw, at)
        if at >= len(raw):
            return False
        if raw[at] == 125:
            break
        if raw[at] != 44:
            return False
        at += 1
    # Nothing may follow, and nothing that is needed may be missing.
    return after_space(raw, at + 1) == len(raw) and seen & 3 == 3 and out[TURNS] > 0
