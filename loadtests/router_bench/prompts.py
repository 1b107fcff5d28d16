"""The requests that every candidate gets, byte for byte the same but for the model's name."""

import itertools
import json
from collections.abc import Sequence

from loadtests.questions import Question, load

SYSTEM = {
    "zh": "你是办事大厅的助手。请用中文简短、准确地回答市民的问题，不确定时请说明，并告诉对方可以向哪个窗口咨询。",
    "en": "You are the assistant of a public service hall. Answer citizens briefly and precisely; if you are not sure, "
    "say so and name the counter that knows.",
}
# What a conversation's earlier turns say; its later turns then share a long beginning, which affinity is made for.
EARLIER = {
    "zh": ("你好，我想办理居住证。", "您好！请带身份证和租房合同到三号窗口，工作日九点到十七点均可办理，约需十分钟。"),
    "en": (
        "Hello, I would like to register my new address.",
        "Welcome! Please bring your identity card and the rental contract to counter 3, on working days from 9 to 17; "
        "it takes about ten minutes.",
    ),
}
MAX_TOKENS = 300


def bodies(model: str, *, is_conversation: bool = False) -> tuple[str, ...]:
    """One request for each question."""
    return tuple(_body(model, one, is_conversation, MAX_TOKENS, {}) for one in _mixed())


def streamed(model: str, chunks: int, pace_ms: float, *, is_conversation: bool = False) -> tuple[str, ...]:
    """The same as streams of so many chunks, so far apart."""
    return tuple(
        _body(model, one, is_conversation, chunks, {"stream": True}, f" (pace-{pace_ms:g}ms)") for one in _mixed()
    )


def _mixed() -> Sequence[Question]:
    """All questions, easy and hard and the languages in turn, so that any stretch of them is like the whole."""
    cells: dict[tuple[str, str], list[Question]] = {}
    for question in load():
        cells.setdefault((question.language, question.level_of_difficulty), []).append(question)
    return [one for row in itertools.zip_longest(*cells.values()) for one in row if one is not None]


def _body(
    model: str, question: Question, is_conversation: bool, max_tokens: int, more: dict[str, object], suffix: str = ""
) -> str:
    system, earlier = SYSTEM[question.language], EARLIER[question.language]
    turns = [("system", system)]
    if is_conversation:
        turns += [("user", earlier[0]), ("assistant", earlier[1])]
    turns.append(("user", question.question + suffix))
    messages = [{"role": role, "content": content} for role, content in turns]
    body = {"model": model, "messages": messages, "temperature": 0.2, "max_tokens": max_tokens, **more}
    # As the usual clients write it: characters of other alphabets as they are.
    return json.dumps(body, ensure_ascii=False, separators=(",", ":"))
