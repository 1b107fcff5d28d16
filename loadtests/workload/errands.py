"""Errands of an agent: a question, tools with written results, and a model that is to use them."""

import json
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Final, Literal

import orjson
from pydantic import Field, JsonValue

from cluster.closed import Closed, Name
from loadtests.questions import ContainsAny, Question, is_right
from loadtests.workload.answer import Answer, ToolCall
from loadtests.workload.body import Message
from loadtests.workload.dialogues import MOST_KEPT_CHARS, kept

_FILE: Final = Path(__file__).with_name("errands.jsonl")
_MOST_CALLS: Final = 8
"""Of one answer; a model that has lost its way may write hundreds."""
_MOST_NAME_CHARS: Final = 64


class Result(Closed):
    """What a tool says to certain arguments."""

    when: dict[str, str]
    """All of them must be as they are here."""
    says: JsonValue


class Tool(Closed):
    """A function that the model may call."""

    name: Name
    description: str = Field(min_length=1)
    parameters: dict[str, JsonValue]
    """A JSON schema."""
    results: tuple[Result, ...] = ()
    """The first that fits."""
    otherwise: JsonValue

    def answer(self, arguments: Mapping[str, object]) -> str:
        """The result of one call, as JSON."""
        fitting = (
            result.says
            for result in self.results
            if all(_as_text(arguments.get(name)) == value for name, value in result.when.items())
        )
        return json.dumps(next(fitting, self.otherwise), ensure_ascii=False)


class Errand(Closed):
    """What a person wants done."""

    id: Name
    language: Literal["zh", "en"]
    difficulty: Literal["easy", "hard"]
    system: str = Field(min_length=1)
    question: str = Field(min_length=1)
    tools: tuple[Tool, ...] = Field(min_length=2, max_length=4)
    fact: tuple[str, ...] = Field(min_length=1)
    """A right final answer holds one of these; they stand in a tool's result only."""

    @cached_property
    def offered(self) -> dict[str, object]:
        """The field `tools` of a request."""
        return {
            "tools": [
                {
                    "type": "function",
                    "function": {
                        "name": tool.name,
                        "description": tool.description,
                        "parameters": tool.parameters,
                    },
                }
                for tool in self.tools
            ]
        }

    def marks(self, text: str) -> bool | None:
        """Whether an answer without calls holds the fact; None for no text: it comes with calls."""
        if not text:
            return None
        question = Question(self.id, self.language, "errand", self.difficulty, self.question, ContainsAny(self.fact))
        return is_right(question, text)


def load_errands() -> tuple[Errand, ...]:
    """Those that come with us."""
    lines = _FILE.read_text(encoding="utf-8").splitlines()
    return tuple(Errand.model_validate_json(line) for line in lines)


class Agent:
    """One errand on its way. Tools answer at once."""

    __slots__ = ("_errand", "_most_rounds", "messages", "turn")

    def __init__(self, errand: Errand, most_rounds: int) -> None:
        self._errand = errand
        self._most_rounds = most_rounds
        self.turn = 0
        self.messages: list[Message] = [
            {"role": "system", "content": errand.system},
            {"role": "user", "content": errand.question},
        ]

    @property
    def script(self) -> Errand:
        """What is to be done."""
        return self._errand

    @property
    def more(self) -> Mapping[str, object]:
        """The tools, which are offered in every turn."""
        return self._errand.offered

    @property
    def marks(self) -> Callable[[str], bool | None]:
        """Marks an answer that calls no tool, whichever turn brings it."""
        return self._errand.marks

    def hear(self, answer: Answer) -> bool:
        """Take in the answer and call its tools; whether the model is to be asked again."""
        self.turn += 1
        if not answer.tool_calls or self.turn > self._most_rounds:
            return False
        calls: list[Message] = []
        results: list[Message] = []
        for place, call in enumerate(answer.tool_calls[:_MOST_CALLS]):
            call_id = kept(call.call_id)[:_MOST_NAME_CHARS] or f"call-{self.turn}-{place}"
            arguments = arguments_of(call)
            # What is broken is not sent back: not every server can read it again. The result says what was wrong.
            sent = call.arguments if arguments else "{}"
            function = {"name": kept(call.name)[:_MOST_NAME_CHARS] or "unknown", "arguments": sent}
            calls.append({"id": call_id, "type": "function", "function": function})
            results.append({"role": "tool", "tool_call_id": call_id, "content": self._result(call, arguments)})
        self.messages.append({"role": "assistant", "content": kept(answer.text), "tool_calls": calls})
        self.messages.extend(results)
        return True

    def _result(self, call: ToolCall, arguments: Mapping[str, object] | None) -> str:
        tool = next((tool for tool in self._errand.tools if tool.name == call.name), None)
        if tool is None:
            names = ", ".join(tool.name for tool in self._errand.tools)
            return json.dumps({"error": f"there is no such tool; there are {names}"})
        if arguments is None:
            return json.dumps({"error": "the arguments must be one JSON object, and not a long one"})
        return tool.answer(arguments)


def _as_text(value: object) -> str:
    # Models write 36, 36.0 and "36" alike.
    return str(int(value) if isinstance(value, float) and value.is_integer() else value).strip()


def arguments_of(call: ToolCall) -> Mapping[str, object] | None:
    """What a model wants a tool called with; None if that is no JSON object, or one too long to be sent back."""
    if not call.arguments.strip():
        return {}
    if len(call.arguments) > MOST_KEPT_CHARS:
        return None
    try:
        arguments = orjson.loads(call.arguments)
    except orjson.JSONDecodeError:
        return None
    return arguments if isinstance(arguments, dict) else None
