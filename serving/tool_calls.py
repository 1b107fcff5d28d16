"""Finds tool calls in what a model writes, as plain functions and one small state.

Small Qwen models are told to write a call between <tool_call> tags, and write it in one of three ways:

    <tool_call>                                       ```json                          {"name": ..., "arguments": {...}}
    {"name": ..., "arguments": {...}}                 {"name": ..., "arguments": {}}
    </tool_call>                                      ```

each with one call, several one after the other, or a JSON list of them. Text is a call only if it names an offered
tool and has an object of arguments; all other text is content, word for word. To be taken for a call without tags or a
fence it must begin a line, so that an example within a sentence or inside other JSON stays what it is.

A `Reader` decides as soon as the text read so far allows it, by rules that look at the text alone and not at how it
was split. What may still be a call it keeps until the call is whole: a name that went out could not be taken back if
the arguments turned out to be none.
"""

import json
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Literal, NoReturn, TypeAlias

NAME = "qwen_json"
"""What engine_args of a pool call this way of reading: `tool-call-parser: qwen_json`."""

_TAG, _END_TAG, _FENCE = "<tool_call>", "</tool_call>", "```"
_START = re.compile(r"<|`|(?<=\n)[{\[]")
_START_OF_LINE = re.compile(r"<|`|\A[{\[]|(?<=\n)[{\[]")
_STRING = re.compile(r'"(?:[^"\\]|\\.)*+"', re.DOTALL)
_STRING_OR_BRACKET = re.compile(r'"(?:[^"\\]|\\.)*+"|["{}\[\]]', re.DOTALL)
_BLANK = re.compile(r"[ \t\r\n]*")


@dataclass(frozen=True, slots=True)
class Call:
    """A call of one of the offered tools."""

    name: str
    arguments: str
    """A JSON object."""


Piece: TypeAlias = Call | str
"""A call, or content."""


class _TooShort(Exception):
    """The text ends before it is known whether it is a call."""


class _NoCall(Exception):
    """However it goes on, this text is no call."""


@dataclass(slots=True)
class Reader:
    """Reads one answer, as it comes. `feed` and `finish` return what is certain by then, in order."""

    offered: Collection[str]
    """The names of the tools that may be called."""
    _kept: str = ""
    # "gap": nothing but blanks since the beginning or since a call. "code": inside a fence that holds no call.
    _state: Literal["gap", "prose", "code"] = "gap"
    _starts_line: bool = True
    _has_called: bool = False
    # A call was found behind an opening fence, so the next fence closes it.
    _in_fence: bool = False
    _pieces: list[Piece] = field(default_factory=list)

    @property
    def is_waiting(self) -> bool:
        """Whether some text is kept because it may still be a call."""
        return bool(self._kept)

    def feed(self, text: str) -> list[Piece]:
        """Read on."""
        if not self.offered:
            return [text] if text else []
        self._kept += text
        while self._kept and self._step():
            pass
        return self._taken()

    def finish(self) -> list[Piece]:
        """The answer ends here: what was kept is content now, but for blanks after a call."""
        if self._kept.strip() or not self._has_called:
            self._release(len(self._kept))
        self._kept = ""
        return self._taken()

    def _step(self) -> bool:
        """Do one thing to the text kept; false if more text is needed for the next."""
        match self._state:
            case "gap":
                return self._gap()
            case "prose":
                return self._prose()
            case "code":
                return self._code()

    def _gap(self) -> bool:
        start = _blank(self._kept, 0)
        rest = self._kept[start:]
        # Closing marks are dropped even where the opening one is missing, which small models forget.
        closing = ([_END_TAG] if self._has_called else []) + ([_FENCE] if self._in_fence else [])
        for mark in closing:
            if rest.startswith(mark):
                self._in_fence = self._in_fence and mark != _FENCE
                self._kept = rest.removeprefix(mark)
                return True
        if not rest or any(mark.startswith(rest) for mark in closing):
            return False
        try:
            return self._found(start)
        except _TooShort:
            return False
        except _NoCall:
            self._state, self._in_fence = "prose", False
            self._release(start)
            return self._pass_start()

    def _prose(self) -> bool:
        match = (_START_OF_LINE if self._starts_line else _START).search(self._kept)
        if not match:
            self._release(len(self._kept))
            return False
        self._release(match.start())
        try:
            return self._found(0)
        except _TooShort:
            return False
        except _NoCall:
            return self._pass_start()

    def _code(self) -> bool:
        end = self._kept.find(_FENCE)
        if end >= 0:
            self._release(end + len(_FENCE))
            self._state = "prose"
            return True
        # One or two backticks at the end may be the beginning of the closing fence.
        ticks = len(self._kept) - len(self._kept.rstrip("`"))
        self._release(len(self._kept) - ticks)
        return False

    def _found(self, start: int) -> bool:
        calls, end = _calls(self._kept, start, self.offered)
        self._pieces.extend(calls)
        self._in_fence = self._in_fence or self._kept.startswith(_FENCE, start)
        self._kept = self._kept[end:]
        self._state, self._has_called, self._starts_line = "gap", True, True
        return True

    def _pass_start(self) -> bool:
        """Release the start of what is no call, and no more: a call may follow at once."""
        if self._kept.startswith(_FENCE):
            self._release(len(_FENCE))
            self._state = "code"
        elif self._kept[:1] in ("<", "`", "{", "["):
            self._release(1)
        return True

    def _release(self, length: int) -> None:
        text, self._kept = self._kept[:length], self._kept[length:]
        if text:
            self._pieces.append(text)
            self._starts_line = text.endswith("\n")

    def _taken(self) -> list[Piece]:
        pieces, self._pieces = self._pieces, []
        return pieces


def read(text: str, offered: Collection[str]) -> tuple[list[Call], str]:
    """The calls and the content of a whole answer."""
    reader = Reader(offered)
    return sorted_out([*reader.feed(text), *reader.finish()])


def sorted_out(pieces: Sequence[Piece]) -> tuple[list[Call], str]:
    """The calls in their order, and the content without them."""
    calls = [piece for piece in pieces if isinstance(piece, Call)]
    return calls, "".join(piece for piece in pieces if isinstance(piece, str))


# What follows reads one text from a place on, and returns what it found with the place behind it.
# It raises _TooShort or _NoCall, and _TooShort only if the text could go on in such a way as to be a call.


def _calls(text: str, at: int, offered: Collection[str]) -> tuple[list[Call], int]:
    """One call or a list of calls, behind the tag or the fence that opens them, if there is one."""
    if text.startswith(_TAG[0], at):
        at = _literal(text, at, _TAG)
    elif text.startswith(_FENCE[0], at):
        at = _blank(text, _literal(text, at, _FENCE))
        if text.startswith("j", at):
            at = _literal(text, at, "json")
    at = _blank(text, at)
    if not text.startswith("[", at):
        call, at = _call(text, at, offered)
        return [call], at
    calls, mark = [], ","
    at += 1
    while mark == ",":
        call, at = _call(text, _blank(text, at), offered)
        calls.append(call)
        mark, at = _one_of(text, _blank(text, at), (",", "]"))
    return calls, at


def _call(text: str, at: int, offered: Collection[str]) -> tuple[Call, int]:
    """{"name": one that is offered, "arguments": {...}}, in either order."""
    keys = ['"name"', '"arguments"']
    at = _literal(text, at, "{")
    name, arguments = "", ""
    while keys:
        key, at = _one_of(text, _blank(text, at), keys)
        keys.remove(key)
        at = _blank(text, _literal(text, _blank(text, at), ":"))
        if key == '"name"':
            name, at = _name(text, at, offered)
        else:
            arguments, at = _arguments(text, at)
        at = _literal(text, _blank(text, at), "," if keys else "}")
    return Call(name, arguments), at


def _name(text: str, at: int, offered: Collection[str]) -> tuple[str, int]:
    end = _string_end(text, at)
    name = _decoded(text[at:end])
    if not isinstance(name, str) or name not in offered:
        raise _NoCall
    return name, end


def _arguments(text: str, at: int) -> tuple[str, int]:
    """An object, or a string in which an object is written."""
    if text.startswith('"', at):
        end = _string_end(text, at)
        value = _decoded(str(_decoded(text[at:end])))
    else:
        _literal(text, at, "{")
        end = _object_end(text, at)
        value = _decoded(text[at:end])
    if not isinstance(value, dict):
        raise _NoCall
    try:
        # Written anew: models leave line breaks inside strings, which clients' JSON does not allow.
        arguments = json.dumps(value, ensure_ascii=False, allow_nan=False)
        # Half of a surrogate pair can be read, but not sent.
        arguments.encode()
    except (ValueError, RecursionError):
        raise _NoCall from None
    return arguments, end


def _decoded(text: str) -> object:
    def refuse(_: str) -> NoReturn:
        raise _NoCall

    try:
        # A number can be too long for Python, which is a ValueError, too.
        return json.loads(text, strict=False, parse_constant=refuse)
    except (ValueError, RecursionError):
        raise _NoCall from None


def _object_end(text: str, at: int) -> int:
    """Where the brackets that open here are closed; what is between them need not be JSON."""
    depth = 0
    for match in _STRING_OR_BRACKET.finditer(text, at):
        match match[0]:
            case '"':
                break
            case "{" | "[":
                depth += 1
            case "}" | "]":
                depth -= 1
        if depth == 0:
            return match.end()
    raise _TooShort


def _string_end(text: str, at: int) -> int:
    _literal(text, at, '"')
    match = _STRING.match(text, at)
    if not match:
        raise _TooShort
    return match.end()


def _literal(text: str, at: int, wanted: str) -> int:
    return _one_of(text, at, (wanted,))[1]


def _one_of(text: str, at: int, wanted: Sequence[str]) -> tuple[str, int]:
    for word in wanted:
        if text.startswith(word, at):
            return word, at + len(word)
    if any(word.startswith(text[at:]) for word in wanted):
        raise _TooShort
    raise _NoCall


def _blank(text: str, at: int) -> int:
    match = _BLANK.match(text, at)
    assert match
    return match.end()
