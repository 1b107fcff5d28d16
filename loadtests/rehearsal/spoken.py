"""What a stand-in answers: how long, in which words, or with a call of a tool. By seed and question, not by chance."""

import json
import math
import random
import zlib
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from cluster.errors import BadRequest

# A piece is about one token by the estimate of `loadtests.rehearsal.prompt`, so that a conversation's next turn
# counts as long as it was answered. An even number of each, as Chinese ones have one and two characters in turn.
_ENGLISH: Final = tuple(
    f"{word} ".encode()
    for word in (
        "the", "law", "says", "you", "may", "ask", "for", "one", "form", "and", "pay", "tax", "each", "year", "but",
        "not", "all", "who", "own", "two", "can", "use", "our", "new", "desk", "day", "now", "get", "any", "aid",
    )
)  # fmt: skip
_CHINESE: Final = tuple(
    word.encode()
    for word in (
        "请", "携带", "您", "身份", "证", "材料", "到", "窗口", "办", "申请", "或", "网上", "交", "表格", "在", "工作",
        "日", "内", "可", "领取", "如", "需要", "问", "大厅", "。", "我们",
    )
)  # fmt: skip
# The language is that of the end of a question.
_LAST_BYTES: Final = 600


class Habits(NamedTuple):
    """How a stand-in answers where the request leaves it open."""

    answer_tokens: int = 120
    """Median of the length of an answer that ends by itself; lognormal, so that a tenth are over 2.2 times it."""
    answer_sigma: float = 0.6
    tool_ratio: float = 1.0
    """How often a tool that is offered is called."""
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Said:
    """One answer before it is given, a piece a token."""

    pieces: tuple[bytes, ...]
    """UTF-8, as they stand inside a JSON string."""
    finish: str
    """stop, length or tool_calls."""
    tool: str | None = None
    """The name of the tool that is called; the first piece is then empty, the others are its arguments."""

    @property
    def data(self) -> bytes:
        """All of it."""
        return b"".join(self.pieces)


def said(question: bytes, room: int, limit: int | None, habits: Habits, *, is_whole: bool) -> Said:
    """The words of an answer.

    `room`: tokens that the context leaves; `limit`: what was asked for at most; `is_whole`: it ends at the limit, not
    before (`ignore_eos`).
    """
    lot = _lot(question, habits.seed)
    most = room if limit is None else min(room, limit)
    drawn = max(1, round(habits.answer_tokens * math.exp(lot.gauss(0, habits.answer_sigma))))
    count = most if is_whole or drawn > most else drawn
    words = _ENGLISH if question[-_LAST_BYTES:].isascii() else _CHINESE
    start = 2 * lot.randrange(len(words) // 2)
    pieces = (words * (2 + count // len(words)))[start : start + count]
    return Said(pieces, "length" if is_whole or drawn > most else "stop")


def called(tool: str, parameters: dict[str, Any], most: int) -> Said:
    """A call of a tool, its arguments made up by their schema."""
    text = json.dumps(_value(parameters, 0))
    pieces = (b"", *(_quoted(text[at : at + 4]) for at in range(0, len(text), 4)))
    return Said(pieces[:most], "tool_calls" if len(pieces) <= most else "length", tool)


def chosen_tool(body: dict[str, Any], question: bytes, habits: Habits) -> tuple[str, dict[str, Any]] | None:
    """The tool to call now with its schema, if any: none right after a tool's result. Raises BadRequest."""
    tools, choice = body.get("tools"), body.get("tool_choice") or "auto"
    if not tools or choice == "none":
        return None
    known: dict[str, dict[str, Any]] = {}
    for tool in tools if isinstance(tools, list) else [None]:
        function = tool.get("function") if isinstance(tool, dict) else None
        if not isinstance(function, dict) or not isinstance(function.get("name"), str):
            raise BadRequest("tools must be a list of functions with names", "tools")
        parameters = function.get("parameters")
        known[function["name"]] = parameters if isinstance(parameters, dict) else {}
    if isinstance(choice, dict):
        named = choice.get("function")
        name = named.get("name") if isinstance(named, dict) else None
        if name not in known:
            raise BadRequest(f"tool_choice names a tool that is not among tools: {name!r}", "tool_choice")
        return name, known[name]
    if body["messages"][-1].get("role") == "tool":
        return None
    if choice != "required" and _lot(question, habits.seed + 1).random() >= habits.tool_ratio:
        return None
    return next(iter(known.items()))


def _lot(question: bytes, seed: int) -> random.Random:
    return random.Random(zlib.crc32(question) ^ seed << 32)  # noqa: S311 - made-up answers


def _quoted(text: str) -> bytes:
    """As it stands inside a JSON string."""
    return json.dumps(text)[1:-1].encode()


def _value(schema: object, depth: int) -> Any:
    """Something that the schema allows, for the schemas that tools have."""
    if not isinstance(schema, dict) or depth > 8:
        return "x"
    if schema.get("enum"):
        return schema["enum"][0]
    if "const" in schema:
        return schema["const"]
    for union in ("anyOf", "oneOf", "allOf"):
        if isinstance(schema.get(union), list) and schema[union]:
            return _value(schema[union][0], depth + 1)
    kind = schema.get("type", "object")
    match kind[0] if isinstance(kind, list) and kind else kind:
        case "object":
            inner = schema.get("properties")
            return {key: _value(one, depth + 1) for key, one in inner.items()} if isinstance(inner, dict) else {}
        case "array":
            return [_value(schema.get("items", {"type": "string"}), depth + 1)]
        case "integer" | "number":
            return schema.get("minimum", 1)
        case "boolean":
            return True
        case "null":
            return None
        case _:
            return "example"
