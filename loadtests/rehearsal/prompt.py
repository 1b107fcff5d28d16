"""How many tokens a prompt has, and which of its blocks others share, without a tokeniser.

A token is taken for 4 bytes of ASCII or 4.5 bytes of other UTF-8, which is 1.5 Chinese characters: about
what the vocabularies of Qwen and its like come to for everyday text. Prompts given as numbers count as they are.
"""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import orjson

from cluster.errors import BadRequest

# Of a token, in parts: 36 make one.
_ASCII_PARTS: Final = 9
_OTHER_PARTS: Final = 8
_TOKEN_PARTS: Final = 36
_ID_BYTES: Final = 8
# About as many tokens as real templates put around a message.
_ROLES: Final = {role: f"\n<|im_{role}|>\n".encode() for role in ("system", "user", "assistant", "tool", "developer")}


class Prompt:
    """The bytes of a prompt, with what they come to."""

    __slots__ = ("_data", "_is_ids", "tokens")

    def __init__(self, data: bytes, *, is_ids: bool = False) -> None:
        self._data = data
        self._is_ids = is_ids
        self.tokens = max(1, len(data) // _ID_BYTES if is_ids else tokens_of(data))

    @property
    def data(self) -> bytes:
        """What was asked."""
        return self._data

    def hashes(self, answer: bytes, block_tokens: int) -> list[int]:
        """Of each whole block of the prompt and the answer to it: equal for equal beginnings."""
        if self._is_ids:
            size = block_tokens * _ID_BYTES
            ends: Sequence[int] = range(size, len(self._data) + 1, size)
            data = self._data
        else:
            data = self._data + answer
            ends = _block_ends(data, block_tokens)
        found = []
        start = before = 0
        for end in ends:
            before = hash((before, data[start:end]))
            found.append(before)
            start = end
        return found


def chat_prompt(messages: object, tools: object) -> Prompt:
    """The prompt of a chat as a template would write it. Raises BadRequest."""
    if not isinstance(messages, list) or not messages:
        raise BadRequest("messages must be a list of at least one message", "messages")
    parts: list[bytes] = []
    if isinstance(tools, list) and tools:
        parts += [_ROLES["system"], orjson.dumps(tools)]
    for message in messages:
        if not isinstance(message, dict) or message.get("role") not in _ROLES:
            raise BadRequest(f"each message needs a role: {', '.join(_ROLES)}", "messages")
        parts += [_ROLES[message["role"]], _content(message.get("content"))]
        if message.get("tool_calls"):
            parts.append(orjson.dumps(message["tool_calls"]))
    return Prompt(b"".join([*parts, _ROLES["assistant"]]))


def plain_prompt(prompt: object) -> Prompt:
    """The prompt of a completion: text, or tokens by their numbers. Raises BadRequest."""
    match prompt:
        case str() if prompt:
            return Prompt(prompt.encode("utf-8", "surrogatepass"))
        case list() if prompt and all(type(one) is int and 0 <= one < 2**31 for one in prompt):
            return Prompt(np.array(prompt, np.int64).tobytes(), is_ids=True)
    raise BadRequest("prompt must be one text that is not empty, or one list of token numbers", "prompt")


def tokens_of(data: bytes) -> int:
    """The tokens of text in UTF-8, by the estimate above, rounded up."""
    # isascii is so fast that what is all ASCII, most of long prompts, need not be looked at byte by byte.
    other = 0 if data.isascii() else int(np.count_nonzero(np.frombuffer(data, np.uint8) > 127))
    parts = _ASCII_PARTS * (len(data) - other) + _OTHER_PARTS * other
    return -(-parts // _TOKEN_PARTS)


def _block_ends(data: bytes, block_tokens: int) -> Sequence[int]:
    size = block_tokens * _TOKEN_PARTS
    if data.isascii():
        step = size // _ASCII_PARTS
        return range(step, len(data) + 1, step)
    values = np.frombuffer(data, np.uint8)
    parts = np.cumsum(np.where(values > 127, _OTHER_PARTS, _ASCII_PARTS))
    wanted = np.arange(size, int(parts[-1]) + 1, size)
    ends: list[int] = (np.searchsorted(parts, wanted) + 1).tolist()
    return ends


def _content(content: Any) -> bytes:
    match content:
        case None:
            return b""
        case str():
            return content.encode("utf-8", "surrogatepass")
        case list() if all(isinstance(part, dict) and isinstance(part.get("text"), str) for part in content):
            return "".join(part["text"] for part in content).encode("utf-8", "surrogatepass")
    raise BadRequest("the stand-in reads text only: content must be a text or a list of text parts", "messages")
