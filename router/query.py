"""What the router judges: one query, taken out of an OpenAI body.

Bodies come from strangers, so nothing here raises: what cannot be read counts as empty.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from router.frames import asked

# Text of unknown script runs to about four characters a token in English; only the order of size matters here.
CHARS_PER_TOKEN = 4
LEANING_COLUMNS = 12
"""A question narrower than this says little by itself: "why?", "go on", "and then?". A Chinese character takes two
columns, because it says as much as a short word."""
FIRST_WIDE = 0x2E80
"""From this code point on characters take two columns."""


class Query(NamedTuple):
    """The newest question and what surrounds it."""

    text: str
    """What the newest user turn asks; see `frames`."""
    context_chars: int = 0
    """Characters of all else: other messages, and what applications have put around the question."""
    turns: int = 1
    """User turns so far, this one included; 0 if there is none."""
    has_tools: bool = False
    """Whether the model may call tools, or has called some."""
    wants_json: bool = False
    """Whether the answer must be JSON."""
    before: str = ""
    """The question of the turn before, if this one is so short that it leans on that."""


def read_chat(messages: object, *, has_tools: bool = False, wants_json: bool = False) -> tuple[Query, list[str]]:
    """Read the `messages` of a chat body: its query, and the text of each message.

    The newest message with role `user` is the question, whatever follows it; but one in which nobody asks anything
    (a tool's output) goes on with the question before it.
    """
    chars = 0
    texts, by_user = [], []
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
            by_user.append(content)
        elif role == "tool" or message.get("tool_calls"):
            has_tools = True
    questions = _questions(by_user)
    text = next(questions, by_user[-1] if by_user else "")
    before = next(questions, "") if _is_leaning(text) else ""
    return Query(text, chars - len(text), len(by_user), has_tools, wants_json, before), texts


def read_prompt(prompt: object) -> tuple[Query, str]:
    """Read the `prompt` of a completion (text, several texts, or token ids): its query, and all of its text."""
    if isinstance(prompt, str):
        return query_of(prompt), prompt
    if not isinstance(prompt, list | tuple):
        return Query("", turns=0), ""
    text = "\n".join(part for part in prompt if isinstance(part, str))
    # Token ids cannot be read here; their number still says how much there is to take in.
    return Query(text, context_chars=CHARS_PER_TOKEN * _tokens(prompt)), text


def query_of(text: str) -> Query:
    """The query in a text that stands alone."""
    question = asked(text)
    if not question.strip():
        question = text
    return Query(question, len(text) - len(question))


def _questions(by_user: Sequence[str]) -> Iterator[str]:
    """What a person asks in each turn in which one does, newest first."""
    for turn in reversed(by_user):
        question = asked(turn)
        if question.strip():
            yield question


def _is_leaning(text: str) -> bool:
    return len(text) < LEANING_COLUMNS and len(text) + sum(ord(char) >= FIRST_WIDE for char in text) < LEANING_COLUMNS


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
