"""A record becomes a row, or findings that say what to mend: keys, types, roles and their order."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, Literal, get_args

from training.data_findings import Finding
from training.rows import Message, Preference, Role, Row
from training.rows_lines import Record, json_type
from training.rows_text import flaw

Objective = Literal["sft", "dpo"]

ROLES: Final = get_args(Role)
MAX_GROUP_CHARS: Final = 200
_SFT: Final = frozenset(("messages", "prompt", "answer", "completion", "system", "group", "source"))
_DPO: Final = frozenset(("messages", "prompt", "chosen", "rejected", "system", "group", "source"))
_NULLABLE: Final = frozenset(("system", "group", "source"))
_MEANT: Final = {
    "instruction": "prompt", "question": "prompt", "query": "prompt", "input": "prompt", "output": "answer",
    "response": "answer", "target": "answer", "conversations": "messages", "conversation": "messages",
    "dialog": "messages", "chat": "messages", "from": "role", "value": "content", "text": "content",
    "preferred": "chosen", "label": "group", "category": "group",
}  # fmt: skip
_HARMLESS: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,31}")
_NOT_LEARNT: Final = {
    "tool": "answers of tools are not learnt from",
    "function": "answers of functions are not learnt from",
    "developer": "call it system",
    "human": "call it user",
    "gpt": "call it assistant",
    "bot": "call it assistant",
}


class _Flaw(Exception):
    """Why a record is no row."""

    def __init__(self, kind: str, says: str) -> None:
        super().__init__(says)
        self.kind, self.says = kind, says


def row_of(record: Record, path: Path, name: str, objective: Objective) -> Row | Preference | Finding:
    """The row that a record stands for, or what is wrong with it first. `name` is what people call the file."""
    try:
        return _read(record.values, f"{name}:{record.line}", objective)
    except _Flaw as found:
        return Finding("error", found.kind, path, record.line, found.says)


def _read(values: dict[str, Any], source: str, objective: Objective) -> Row | Preference:
    values = {key: value for key, value in values.items() if value is not None or key not in _NULLABLE}
    _require_objective(values, objective)
    _require_known(values, _SFT if objective == "sft" else _DPO, "a row")
    if "source" in values:
        _text(values, "source")
    group = _group(values)
    if objective == "dpo":
        return _preference(values, source, group)
    if "messages" in values:
        _require_alone(values, "messages", ("prompt", "answer", "completion", "system"))
        messages = _messages(values["messages"])
        if messages[-1].role != "assistant":
            raise _Flaw(
                "order", f"messages end with {messages[-1].role}; the last must be the assistant's, to be learnt"
            )
        return Row(messages, source, group)
    if "answer" in values and "completion" in values:
        raise _Flaw("unknown_key", "answer and completion mean the same; give one")
    answer_key = "completion" if "completion" in values else "answer"
    for key in ("prompt", answer_key):
        if key not in values:
            raise _Flaw("missing", f"{key} is missing; a row has prompt and answer, or messages")
    asked = _asked(values)
    return Row((*asked, Message("assistant", _text(values, answer_key))), source, group)


def _preference(values: dict[str, Any], source: str, group: str) -> Preference:
    for key in ("chosen", "rejected"):
        if key not in values:
            raise _Flaw("missing", f"{key} is missing; a row for DPO has prompt or messages, chosen and rejected")
    if "messages" in values:
        _require_alone(values, "messages", ("prompt", "system"))
        asked = _messages(values["messages"])
        if asked[-1].role != "user":
            raise _Flaw(
                "order", f"messages end with {asked[-1].role}; before chosen and rejected a user must have asked"
            )
    elif "prompt" in values:
        asked = _asked(values)
    else:
        raise _Flaw("missing", "prompt is missing; a row for DPO has prompt or messages, chosen and rejected")
    chosen, rejected = _text(values, "chosen"), _text(values, "rejected")
    if chosen.strip() == rejected.strip():
        raise _Flaw("same_answers", "chosen and rejected are the same; nothing can be learnt from that")
    return Preference(asked, chosen, rejected, source, group)


def _asked(values: dict[str, Any]) -> tuple[Message, ...]:
    system = (Message("system", _text(values, "system")),) if "system" in values else ()
    return (*system, Message("user", _text(values, "prompt")))


def _messages(value: object) -> tuple[Message, ...]:
    if not isinstance(value, list):
        raise _Flaw("wrong_type", f"messages must be a list, this is {json_type(value)}")
    if not value:
        raise _Flaw("empty", "messages is empty")
    messages = tuple(_message(one, f"messages[{number}]") for number, one in enumerate(value))
    for number, (message, expected) in enumerate(zip(messages, _order(messages), strict=False)):
        if message.role != expected:
            raise _Flaw("order", f"messages[{number}] is {message.role}, where {expected} should speak: {_ORDER}")
    if len(messages) == 1 and messages[0].role == "system":
        raise _Flaw("order", f"messages has only a system prompt: {_ORDER}")
    return messages


_ORDER: Final = "system may stand first, then user and assistant take turns"


def _order(messages: tuple[Message, ...]) -> Iterator[Role]:
    if messages[0].role == "system":
        yield "system"
    for _ in messages:
        yield "user"
        yield "assistant"


def _message(value: object, name: str) -> Message:
    if not isinstance(value, dict):
        raise _Flaw("wrong_type", f"{name} must be an object with role and content, this is {json_type(value)}")
    for key in ("tool_calls", "function_call"):
        if value.get(key) is not None:
            raise _Flaw("unknown_key", f"{name} has {key}; calls of tools are not learnt, leave such rows out")
    known = {key: one for key, one in value.items() if one is not None or key in ("role", "content")}
    _require_known(known, frozenset(("role", "content")), name)
    for key in ("role", "content"):
        if key not in known:
            raise _Flaw("missing", f"{name}.{key} is missing")
    role = known["role"]
    if role not in ROLES:
        says = f"{name}.role must be one of {', '.join(ROLES)}"
        if isinstance(role, str) and role in _NOT_LEARNT:
            says += f"; this is {role}: {_NOT_LEARNT[role]}"
        raise _Flaw("role", says)
    if isinstance(known["content"], list):
        raise _Flaw("wrong_type", f"{name}.content is a list of parts; write the text itself, pictures are not learnt")
    return Message(role, _text(known, "content", f"{name}.content"))


def _group(values: dict[str, Any]) -> str:
    if "group" not in values:
        return ""
    group = values["group"]
    if isinstance(group, int) and not isinstance(group, bool):
        # Numbers of departments: nothing is lost by writing them down.
        return str(group)
    text = _text(values, "group").strip()
    if len(text) > MAX_GROUP_CHARS or "\n" in text:
        raise _Flaw("group", f"group is a label of one line and at most {MAX_GROUP_CHARS} characters")
    return text


def _text(values: dict[str, Any], key: str, name: str = "") -> str:
    value = values[key]
    if not isinstance(value, str):
        raise _Flaw("wrong_type", f"{name or key} must be a text, this is {json_type(value)}")
    if found := flaw(value):
        raise _Flaw(found[0], f"{name or key} {found[1]}")
    return value


def _require_objective(values: dict[str, Any], objective: Objective) -> None:
    if objective == "sft" and not {"chosen", "rejected"}.isdisjoint(values):
        raise _Flaw("objective", "chosen and rejected are rows for DPO; set objective: dpo, or give answer")
    if objective == "dpo" and not {"answer", "completion"}.isdisjoint(values):
        raise _Flaw("objective", "a row for DPO has chosen and rejected, no answer; or set objective: sft")


def _require_alone(values: dict[str, Any], key: str, others: tuple[str, ...]) -> None:
    for other in others:
        if other in values:
            raise _Flaw("unknown_key", f"{key} and {other} exclude each other; write {other} as one of the messages")


def _require_known(values: dict[str, Any], known: frozenset[str], what: str) -> None:
    for key in values:
        if key in known:
            continue
        # A key may be a text by mistake; only what looks like a name is repeated.
        called = f"key {key}" if _HARMLESS.fullmatch(key) else "a key"
        meant = _MEANT.get(key, "")
        hint = f"; is {meant} meant?" if meant in known else f"; {what} has {', '.join(sorted(known - {'source'}))}"
        raise _Flaw("unknown_key", f"{called} is not known{hint}")
