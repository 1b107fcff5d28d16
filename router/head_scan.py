"""Reads ordinary HTTP heads in one compiled pass: a whole request of a client, a whole answer of an engine.

The parser (llhttp) calls back for every header, which is most of what a small request costs in Python. Ordinary is what
nearly every message is: all of it there in one read, its length announced, nothing odd in it. Of anything else these
functions say that it is not, and the parser reads it: they accept nothing that it would refuse or read in another way.
"""

from typing import Final

import numpy as np

from router.compiled import BYTES, njit, types
from router.word_table import word_index, word_table

# Places in the row of results, for a request; a header that is not there has 0 as its start.
(
    TARGET_END, BODY_START, HOST_START, HOST_END, LENGTH_START, LENGTH_END, ID_START, ID_END, PARENT_START, PARENT_END,
    STATE_START, STATE_END, DEADLINE_START, DEADLINE_END, CONNECTION_START, CONNECTION_END, REQUEST_RESULTS,
) = range(17)  # fmt: skip
TARGET_START: Final = 5
# And for an answer.
STATUS, LINES_SIZE, LENGTH, ANSWER_BODY_START, ANSWER_RESULTS = range(5)
# Added to each header's size, as HTTP/2 counts them: thousands of tiny ones cost more than their bytes.
OVERHEAD_BYTES: Final = 32

# In the order of the results above; then those with which a request is not ordinary.
_WANTED: Final = (
    "host", "content-length", "x-request-id", "traceparent", "tracestate", "x-fenzhen-deadline-s", "connection",
)  # fmt: skip
_CONNECTION: Final = _WANTED.index("connection")
_ONCE: Final = ("authorization", "content-type")
_ODD: Final = (
    "transfer-encoding", "expect", "upgrade", "te", "trailer", "content-encoding", "keep-alive", "proxy-connection",
    "http2-settings",
    # Rare ones of ours, which whoever asks for them must find among the headers.
    "x-fenzhen-no-learning", "x-fenzhen-version", "x-fenzhen-group", "x-fenzhen-grade",
)  # fmt: skip
# An answer's headers that are not passed on; with some of them it is not ordinary.
_DROPPED: Final = ("server", "date", "x-request-id", "keep-alive", "proxy-authenticate", "proxy-authorization")
_ANSWER_ODD: Final = ("connection", "transfer-encoding", "upgrade", "te", "trailer")
NOT_PASSED_ON: Final = frozenset(name.encode("ascii") for name in (*_DROPPED, *_ANSWER_ODD))
"""Answer headers of ours or of one connection only; everything else an engine says is passed on."""
_MAX_LENGTH_DIGITS: Final = 9


def _token_table() -> np.ndarray:
    """The lower-case form of each byte that may stand in a header's name (RFC 9110, 5.6.2), else 0."""
    table = np.zeros(256, np.uint8)
    for letter in "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ":
        table[ord(letter)] = ord(letter.lower())
    return table


_NAMES = word_table(*_WANTED, *_ONCE, *_ODD)
_WANTED_COUNT: Final = len(_WANTED)
_ONCE_COUNT: Final = len(_WANTED) + len(_ONCE)
_ANSWER_NAMES = word_table("content-length", *_DROPPED, *_ANSWER_ODD)
_DROPPED_COUNT: Final = 1 + len(_DROPPED)
_TOKENS = _token_table()
# Letters of the addresses that there are, and of what a client may hang on them.
_IN_TARGET = np.array(
    [chr(byte).isascii() and (chr(byte).isalnum() or chr(byte) in "/_-.~?=&%") for byte in range(256)], np.uint8
)
_POST = np.frombuffer(b"POST /", np.uint8).copy()
_VERSION = np.frombuffer(b" HTTP/1.1\r\n", np.uint8).copy()
_ANSWER_VERSION = np.frombuffer(b"HTTP/1.1 ", np.uint8).copy()
_KEEP_ALIVE = np.frombuffer(b"keep-alive", np.uint8).copy()

_OUT = types.int64[::1]


@njit(cache=True)
def _begins(raw, at, word):  # type: ignore[no-untyped-def]
    """Whether `word` stands at `at`."""
    if at + len(word) > len(raw):
        return False
    for place in range(len(word)):  # noqa: SIM110  numba has no generators.
        if raw[at + place] != word[place]:
            return False
    return True


@njit(types.int64(BYTES, types.int64), cache=True)
def _name_end(raw, at):  # type: ignore[no-untyped-def]
    """The colon behind the header's name that begins at `at`, or -1."""
    start = at
    while at < len(raw) and _TOKENS[raw[at]] != 0:
        at += 1
    return at if start < at < len(raw) and raw[at] == 58 else -1


@njit(types.int64(BYTES, types.int64), cache=True)
def _line_end(raw, at):  # type: ignore[no-untyped-def]
    """The end of a line of printable ASCII, its CR; -1 if it is another or has none."""
    while at < len(raw):
        if raw[at] == 13:
            return at if at + 1 < len(raw) and raw[at + 1] == 10 else -1
        if raw[at] < 32 or raw[at] > 126:
            return -1
        at += 1
    return -1


@njit(types.UniTuple(types.int64, 3)(BYTES, types.int64), cache=True)
def _header(raw, at):  # type: ignore[no-untyped-def]
    """The colon, the value's beginning and the line's end of the header that begins at `at`; -1 if it is not plain."""
    colon = _name_end(raw, at)
    if colon < 0:
        return -1, at, -1
    at = colon + 1
    while at < len(raw) and raw[at] == 32:
        at += 1
    return colon, at, _line_end(raw, at)


@njit(types.int64(BYTES, types.int64, types.int64), cache=True)
def _length(raw, start, end):  # type: ignore[no-untyped-def]
    """The number in `raw[start:end]`, or -1 if it is none or a very long one."""
    if end <= start or end - start > _MAX_LENGTH_DIGITS:
        return -1
    value = np.int64(0)
    for place in range(start, end):
        if raw[place] < 48 or raw[place] > 57:
            return -1
        value = value * 10 + (np.int64(raw[place]) - 48)
    return value


@njit(types.boolean(BYTES, types.int64, types.int64, _OUT), cache=True)
def read_request(raw, max_head_bytes, max_body_bytes, out):  # type: ignore[no-untyped-def]
    """Whether `raw` is exactly one ordinary POST. If so `out` says where its parts stand; its target begins at 5."""
    out[:] = 0
    if not _begins(raw, 0, _POST):
        return False
    at = np.int64(TARGET_START)
    while at < len(raw) and _IN_TARGET[raw[at]] != 0:
        at += 1
    out[TARGET_END] = at
    if not _begins(raw, at, _VERSION):
        return False
    counted = at - TARGET_START
    at += len(_VERSION)
    seen = np.int64(0)
    while True:
        if at >= len(raw):
            return False
        if raw[at] == 13:
            break
        start = at
        colon, at, end = _header(raw, at)
        if end < 0:
            return False
        counted += (colon - start) + (end - at) + OVERHEAD_BYTES
        if counted > max_head_bytes:
            return False
        value_end = end
        while value_end > at and raw[value_end - 1] == 32:
            value_end -= 1
        name = word_index(raw, start, colon, _NAMES, _TOKENS)
        if name >= 0:
            if name >= _ONCE_COUNT or seen & (1 << name) or value_end == at:
                return False
            seen |= 1 << name
            if name < _WANTED_COUNT:
                out[HOST_START + 2 * name] = at
                out[HOST_START + 2 * name + 1] = value_end
        at = end + 2
    if at + 1 >= len(raw) or raw[at + 1] != 10:
        return False
    out[BODY_START] = at + 2
    if out[HOST_START] == 0 or out[LENGTH_START] == 0:
        return False
    if out[CONNECTION_START] != 0:
        # Whatever else it may say, the parser knows what follows from it.
        size = out[CONNECTION_END] - out[CONNECTION_START]
        if size != len(_KEEP_ALIVE):
            return False
        for place in range(size):
            if _TOKENS[raw[out[CONNECTION_START] + place]] != _KEEP_ALIVE[place]:
                return False
    length = _length(raw, out[LENGTH_START], out[LENGTH_END])
    return 0 <= length <= max_body_bytes and len(raw) - (at + 2) == length


@njit(types.boolean(BYTES, types.uint8[::1], _OUT), cache=True)
def read_answer(raw, lines, out):  # type: ignore[no-untyped-def]
    """Whether `raw` is exactly one ordinary answer. If so `lines` gets the header lines that are passed on."""
    out[:] = 0
    if not _begins(raw, 0, _ANSWER_VERSION) or len(raw) < 14:
        return False
    status = _length(raw, 9, 12)
    # Of the others some have no body, whatever they announce.
    if status < 200 or status > 599 or status == 204 or status == 304 or raw[12] != 32:
        return False
    end = _line_end(raw, 13)
    if end < 0:
        return False
    at, written, length = end + 2, 0, np.int64(-1)
    while True:
        if at >= len(raw):
            return False
        if raw[at] == 13:
            break
        start = at
        colon, at, end = _header(raw, at)
        if end < 0:
            return False
        name = word_index(raw, start, colon, _ANSWER_NAMES, _TOKENS)
        if name == 0:
            if length >= 0:
                return False
            length = _length(raw, at, end)
            if length < 0:
                return False
        elif name >= _DROPPED_COUNT:
            return False
        elif name < 0:
            if written + (end - start) + 4 > len(lines):
                return False
            for place in range(start, colon):
                lines[written] = _TOKENS[raw[place]]
                written += 1
            lines[written] = 58
            lines[written + 1] = 32
            written += 2
            for place in range(at, end):
                lines[written] = raw[place]
                written += 1
            lines[written] = 13
            lines[written + 1] = 10
            written += 2
        at = end + 2
    if at + 1 >= len(raw) or raw[at + 1] != 10 or length < 0 or len(raw) - (at + 2) != length:
        return False
    out[STATUS], out[LINES_SIZE], out[LENGTH], out[ANSWER_BODY_START] = status, written, length, at + 2
    return True
