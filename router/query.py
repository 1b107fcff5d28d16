"""What the router judges: one query, taken out of an OpenAI body.

Bodies come from strangers, so nothing here raises: what cannot be read counts as empty.
"""

from collections.abc import Iterable
from typing import NamedTuple

# Text of unknown script runs to about four characters a token in English; only the order of size matters here.
CHARS_PER_TOKEN = 4


class Query(NamedTuple):
    """The newest question and what surrounds it."""

    text: str
    """The newest user turn."""
    context_chars: int = 0
    """Characters of all other messages."""
    turns: int = 1
    """User turns so far, this one included; 0 if there is none."""
    has_tools: bool = False
    """Whether the model may call tools, or has called some."""
    wants_json: bool = False
    """Whether the answer must be JSON."""


def read_chat(messages: object, *, has_tools: bool = False, wants_json: bool = False) -> tuple[Query, list[str]]:
    """Read the `messages` of a chat body: its query, and the text of each message.

    The newest message with role `user` is the question, whatever follows it.
    """
    text, turns, chars = "", 0, 0
    texts = []
    for message in messages if isinstance(messages, list | tuple) else ():
        if not isinstance(message, dict):
            continue
        content = message.get("content")
        if not isinstance(content, str):
            content = _text_of_parts(content)
        texts.append(content)
        chars += len(content)
        role = message.get("role")
        if role == "user":
            text, turns = content, turns + 1
        elif role == "tool" or message.get("tool_calls"):
            has_tools = True
    return Query(text, chars - len(text), turns, has_tools, wants_json), texts


def query_of_text(prompt: object) -> Query:
    """Read the `prompt` of a completion or the `input` of an embedding: text, several texts, or token ids."""
    if isinstance(prompt, str):
        return Query(prompt)
    if not isinstance(prompt, list | tuple):
        return Query("", turns=0)
    text = "\n".join(part for part in prompt if isinstance(part, str))
    # Token ids cannot be read here; their number still says how much there is to take in.
    return Query(text, context_chars=CHARS_PER_TOKEN * _tokens(prompt))


def _tokens(prompt: Iterable[object]) -> int:
    tokens = 0
    for part in prompt:
        if isinstance(part, int):
            tokens += 1
        elif isinstance(part, list | tuple):
            tokens += len(part)
    return tokens


def _text_of_parts(content: object) -> str:
    """Join the text parts; images and sounds have no text to judge."""
    if not isinstance(content, list | tuple):
        return ""
    parts = (part.get("text") if isinstance(part, dict) else part for part in content)
    return "\n".join(part for part in parts if isinstance(part, str))
