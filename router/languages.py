"""Which natural languages a text is written in, as far as its scripts tell."""

import functools
from collections.abc import Sequence
from typing import Final

import numpy as np

from router.compiled import njit, types

LATIN, HAN, JA, KO, RU, AR, TH, EL, HE, HI = (1 << bit for bit in range(10))

# Ranges of letters only. The Japanese ones leave out the middle dot (U+30FB), which Chinese uses in foreign names.
_RANGES: Final[dict[int, Sequence[tuple[int, int]]]] = {
    LATIN: (
        (0x41, 0x5A), (0x61, 0x7A), (0xFF21, 0xFF3A), (0xFF41, 0xFF5A), (0xC0, 0xD6), (0xD8, 0xF6), (0xF8, 0x24F),
        (0x1E00, 0x1EFF),
    ),
    HAN: ((0x2E80, 0x2FD5), (0x3007, 0x3007), (0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF)),
    JA: ((0x3041, 0x3096), (0x30A1, 0x30FA), (0x31F0, 0x31FF), (0xFF66, 0xFF9D)),
    KO: ((0x1100, 0x11FF), (0x3131, 0x318E), (0xAC00, 0xD7A3), (0xFFA1, 0xFFDC)),
    RU: ((0x400, 0x52F),),
    AR: ((0x620, 0x64A), (0x66E, 0x6D3), (0x750, 0x77F), (0xFB50, 0xFDFF), (0xFE70, 0xFEFC)),
    TH: ((0xE01, 0xE30), (0xE40, 0xE46)),
    # One or two Greek letters are a formula (pi, alpha beta), not Greek: whoever looks counts three in a row.
    EL: ((0x370, 0x3FF), (0x1F00, 0x1FFF)),
    HE: ((0x5D0, 0x5EA),),
    HI: ((0x904, 0x939), (0x958, 0x961)),
}  # fmt: skip
WIDE_HAN: Final = (0x20000, 0x3FFFF)
"""Han letters beyond the table."""
_OTHERS: Final = {JA: "ja", KO: "ko", RU: "ru", AR: "ar", TH: "th", EL: "el", HE: "he", HI: "hi"}


def _table() -> np.ndarray:
    script_of = np.zeros(65536, np.uint16)
    for script, ranges in _RANGES.items():
        for first, last in ranges:
            script_of[first : last + 1] |= script
    return script_of


SCRIPT_OF: Final = _table()
"""The script of each code point below 65,536."""


@njit(types.int64(types.Array(types.uint32, 1, "C", readonly=True), types.uint16[::1]), cache=True)
def scripts_in(points, script_of):  # type: ignore[no-untyped-def]
    """The scripts of a text (code points), as bits."""
    scripts, greek = 0, 0
    for point in points:
        if point >= 0x10000:
            greek = 0
            if WIDE_HAN[0] <= point <= WIDE_HAN[1]:
                scripts |= HAN
            continue
        script = script_of[point]
        if script & EL:
            greek += 1
            if greek < 3:
                continue
        else:
            greek = 0
        scripts |= script
    return scripts


def languages_of(*texts: str) -> frozenset[str]:
    """Name the languages (ISO 639-1) that a model must know to read all of `texts`.

    Scripts are all that is looked at: Latin letters count as `en`, for French or Vietnamese cannot be told from
    English by letters; Cyrillic counts as `ru`, Arabic as `ar`, Devanagari as `hi`. A single Han character asks for
    `zh`, or for `ja` where kana stand beside it. Latin letters beside Chinese or Japanese add nothing: names and
    codes are everywhere. A text without letters needs no language.
    """
    scripts = 0
    for text in texts:
        scripts |= scripts_in(np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32), SCRIPT_OF)
    return languages_of_scripts(int(scripts))


@functools.cache
def languages_of_scripts(scripts: int) -> frozenset[str]:
    """The same for scripts that have been found."""
    found = {code for script, code in _OTHERS.items() if scripts & script}
    if scripts & HAN and "ja" not in found:
        found.add("zh")
    elif scripts & LATIN and "ja" not in found and not scripts & HAN:
        found.add("en")
    return frozenset(found)
