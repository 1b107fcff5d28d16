"""What can be wrong with one text, whoever wrote it: empty, signs that nobody types, an encoding misread before."""

import re
from typing import Final

# Tab, line feed and carriage return are text. A byte order mark inside of it is not, nor are Unicode's non-characters.
_CONTROL: Final = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ufeff\ufffe\uffff]")
_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_FOREIGN: Final = re.compile("[^\x00-\x7f]+")
# UTF-8 of two to four bytes, each of them read as a sign of Windows-1252.
_CONTINUES: Final = "\u0080-\u00bf\u20ac\u201a\u0192\u201e\u2026\u2020\u2021\u02c6\u2030\u0160\u2039\u0152\u017d" \
    "\u2018\u2019\u201c\u201d\u2022\u2013\u2014\u02dc\u2122\u0161\u203a\u0153\u017e\u0178"  # fmt: skip
# Of two bytes only letters of the West and Cyrillic ones: `NESCAFÉ®` is a name.
_AS_LATIN: Final = re.compile(
    f"[\u00c2\u00c3\u00d0\u00d1][{_CONTINUES}]|[\u00e0-\u00ef][{_CONTINUES}]{{2}}|[\u00f0-\u00f4][{_CONTINUES}]{{3}}"
)
# What nobody writes right after a letter. Quotes and dashes are: `perché…”` is Italian.
_STRANGE: Final = re.compile(
    "[\u0080-\u009f\u00a2-\u00a9\u00ac\u00ae\u00af\u00b1-\u00b6\u00b8\u00b9\u00bc-\u00be\u02c6\u02dc\u0192\u2020\u2021\u2030]"
)
_LOST: Final = "锟斤拷"
"""Two of Unicode's replacement characters in UTF-8, read as GBK."""
_MIN_AS_GBK: Final = 6
"""Fewer Chinese characters may by chance be UTF-8 in their GBK bytes."""


def flaw(text: str) -> tuple[str, str] | None:
    """The kind of flaw and its sentence, to follow a name: `is empty`; None for a text as it should be."""
    if not text.strip():
        return "empty", "is empty"
    if text.isascii():
        # Nearly every other flaw needs more than ASCII.
        return ("control", _control(text)) if _CONTROL.search(text) else None
    if _SURROGATE.search(text):
        return "surrogate", "has half of a surrogate pair, which is no character; write the whole one"
    if "\ufffd" in text:
        return "replacement", "has the replacement character U+FFFD: text was lost; take it from its source again"
    if _CONTROL.search(text) and not _AS_LATIN.search(text):
        return "control", _control(text)
    if _LOST in text:
        return "mojibake", "has 锟斤拷, which is lost text read as GBK; take it from its source again"
    if _is_latin(text):
        return "mojibake", "is UTF-8 that was read as Latin-1 (Windows-1252); read its source as UTF-8"
    if _is_gbk(text):
        return "mojibake", "is UTF-8 that was read as GBK; read its source as UTF-8"
    if _CONTROL.search(text):
        return "control", _control(text)
    return None


def _control(text: str) -> str:
    found = _CONTROL.search(text)
    assert found is not None
    return f"has the control character U+{ord(found[0]):04X} at {found.start() + 1}; take it out"


def _is_latin(text: str) -> bool:
    return any(_STRANGE.search(found[0]) and _decodes(found[0]) for found in _AS_LATIN.finditer(text))


def _decodes(run: str) -> bool:
    try:
        # What Windows-1252 leaves open is read as the control character of that number.
        content = b"".join(
            sign.encode("cp1252") if not "\x80" <= sign <= "\x9f" else bytes((ord(sign),)) for sign in run
        )
        content.decode("utf-8")
    except UnicodeError:
        return False
    return True


def _is_gbk(text: str) -> bool:
    """Whether all that is not ASCII, in the bytes of GBK, is UTF-8 of common Chinese characters."""
    foreign = "".join(_FOREIGN.findall(text))
    if len(foreign) < _MIN_AS_GBK:
        return False
    try:
        foreign.encode("gb18030").decode("utf-8").encode("gb2312")
    except UnicodeError:
        return False
    return True
