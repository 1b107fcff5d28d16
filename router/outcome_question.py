"""What one request asked for, as far as an outcome is measured by it."""

import re
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import orjson

from router.need import tokens_in
from router.outcome_record import Asked
from router.query import CHARS_PER_TOKEN, read_chat, read_prompt
from router.words import CUES

# Prompts by characters. Each class needs evidence of its own, so there are few.
_SHORT_CHARS: Final = 400
_MIDDLE_CHARS: Final = 4000
# What a question of usual length says in its first characters is enough to tell code.
_LOOKED_AT_CHARS: Final = 2000


def _code_words() -> re.Pattern[str]:
    words = CUES["code"].split(",")
    latin = "|".join(re.escape(word) for word in words if word.isascii())
    return re.compile(rf"```|\b(?:{latin})(?![a-z])|{'|'.join(word for word in words if not word.isascii())}", re.I)


_CODE: Final = _code_words()


class Question(NamedTuple):
    """What one request asked for."""

    task: str
    """`chat`, `code`, `json`, `tools`, `completion` or `embed`."""
    chars: int
    """Of the whole prompt."""
    tokens: int
    """About as many."""
    text: str = ""
    """The newest user message, or the prompt."""
    schema: object = None
    """That the answer is to fit; None: none was given."""
    tools: Mapping[str, object] | None = None
    """By name of each tool that may be called: the schema of its arguments."""
    must_call: bool = False
    must_name: str = ""
    """The one tool that has to be called."""

    @property
    def stratum(self) -> str:
        """Only like is compared with like."""
        length = "short" if self.chars <= _SHORT_CHARS else "middle" if self.chars <= _MIDDLE_CHARS else "long"
        return f"{length}/{self.task}"


def read_question(asked: Asked) -> Question:
    """Read one request. A body that is not held, or that nobody can read, is known by its length alone."""
    try:
        body = orjson.loads(asked.raw) if asked.raw else None
    except orjson.JSONDecodeError:
        body = None
    if not isinstance(body, dict):
        plain = {"embeddings": "embed", "completions": "completion"}.get(asked.route, asked.task or "chat")
        return Question(plain, asked.raw_bytes, asked.raw_bytes // CHARS_PER_TOKEN)
    if asked.route == "chat":
        return _of_chat(body)
    query, text = read_prompt(body.get("prompt" if asked.route == "completions" else "input"))
    chars = len(query.text) + query.context_chars
    # Token ids cannot be read: `context_chars` stands for them.
    tokens = tokens_in(text) or chars // CHARS_PER_TOKEN
    return Question("completion" if asked.route == "completions" else "embed", chars, tokens, text)


def _of_chat(body: dict[str, Any]) -> Question:
    query, texts = read_chat(body.get("messages"))
    chars, tokens = sum(map(len, texts)), tokens_in(*texts)
    tools = _tools(body.get("tools")) if body.get("tool_choice") != "none" else {}
    if tools:
        must_call, must_name = _must_call(body.get("tool_choice"))
        return Question("tools", chars, tokens, query.text, None, tools, must_call, must_name)
    wanted = body.get("response_format")
    kind = wanted.get("type") if isinstance(wanted, dict) else None
    if kind == "json_schema":
        assert isinstance(wanted, dict)
        given = wanted.get("json_schema")
        schema = given.get("schema") if isinstance(given, dict) else None
        return Question("json", chars, tokens, query.text, schema)
    if kind == "json_object":
        return Question("json", chars, tokens, query.text, {"type": "object"})
    task = "code" if _CODE.search(query.text[:_LOOKED_AT_CHARS].lower()) else "chat"
    return Question(task, chars, tokens, query.text)


def _tools(tools: object) -> dict[str, object]:
    found = {}
    for tool in tools if isinstance(tools, list) else ():
        function = tool.get("function") if isinstance(tool, dict) else None
        name = function.get("name") if isinstance(function, dict) else None
        if isinstance(function, dict) and isinstance(name, str) and name:
            found[name] = function.get("parameters")
    return found


def _must_call(choice: object) -> tuple[bool, str]:
    if isinstance(choice, dict):
        function = choice.get("function")
        name = function.get("name") if isinstance(function, dict) else None
        return True, name if isinstance(name, str) else ""
    return choice == "required", ""
