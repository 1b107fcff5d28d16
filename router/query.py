"""What the router judges: one query, taken out of an OpenAI body.

Bodies come from strangers, so nothing here raises: what cannot be read counts as empty.
"""

from collections.abc import Iterable
from dataclasses import dataclass

# Text of unknown script runs to about four characters a token in English; only the order of size matters here.
CHARS_PER_TOKEN = 4


@dataclass(frozen=True, slots=True)
class Query:
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


def query_of_chat(messages: object, *, has_tools: bool = False, wants_json: bool = False) -> Query:
    """Read the `messages` of a chat body. The newest message with role `user` is the question, whatever follows it."""
    text, context_chars, turns = "", 0, 0
    for message in messages if isinstance(messages, list | tuple) else ():
        if not isinstance(message, dict):
            continue
        content = _text_of_content(message.get("content"))
        if message.get("role") == "user":
            context_chars += len(text)
            text, turns = content, turns + 1
        else:
            context_chars += len(content)
            has_tools = has_tools or message.get("role") == "tool" or bool(message.get("tool_calls"))
    return Query(text, context_chars, turns, has_tools, wants_json)


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


def _text_of_content(content: object) -> str:
    """Join the text parts; images and sounds have no text to judge."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list | tuple):
        return ""
    parts = (part.get("text") if isinstance(part, dict) else part for part in content)
    return "\n".join(part for part in parts if isinstance(part, str))


def text_of_chat(messages: object) -> str:
    """All text of a conversation, for what concerns it as a whole: its languages and its length."""
    contents = (
        (message.get("content") for message in messages if isinstance(message, dict))
        if isinstance(messages, list)
        else ()
    )
    return "\n".join(_text_of_content(content) for content in contents)
