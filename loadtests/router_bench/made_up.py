"""Requests made to measure: of a certain length, to many models, in many conversations."""

import itertools
import json
from collections.abc import Mapping, Sequence
from typing import Final, Literal

from loadtests import questions
from loadtests.router_bench.load import Target

Language = Literal["zh", "en"]
# A question as people ask them, then what it is about. The material repeats itself: how long it is matters here.
_ASKED: Final = {
    "zh": "请阅读下面的材料，并用三句话概括其中的要点，再指出办理时最容易出错的一步。材料：",
    "en": "Read the following material, sum it up in three sentences, and name the step in which most mistakes "
    "are made: ",
}
_MATERIAL: Final = {
    "zh": "申请人应当向户籍所在地的街道办事处提交书面申请，并附身份证明、居住证明和收入说明；材料齐全的，当场受理，"
    "材料不齐的，一次性告知需要补正的全部内容，二十个工作日内作出决定。",
    "en": "The applicant files a written request with the office of the district in which he is registered, together "
    "with proof of identity, of residence and of income; complete files are accepted at once, and otherwise the office "
    "names everything that is missing in one letter and decides within twenty working days. ",
}
# Enough different texts that no cache of whole requests would help, few enough to be sent to the client quickly.
_MOST_BODIES: Final = 200
_ALL_CHARS: Final = 1_000_000


def prompt(language: Language, chars: int, number: int = 0) -> str:
    """So many characters; each number gives another text."""
    head = f"({number}) {_ASKED[language]}"
    text = head + _MATERIAL[language] * (max(chars - len(head), 0) // len(_MATERIAL[language]) + 1)
    return text[:chars]


def of_length(name: str, port: int, model: str, language: Language, chars: int) -> Target:
    """Requests with one user turn of so many characters."""
    count = max(4, min(_MOST_BODIES, _ALL_CHARS // chars))
    bodies = tuple(body(model, prompt(language, chars, number)) for number in range(count))
    return Target(name=name, port=port, bodies=bodies)


def conversations(name: str, port: int, models: Sequence[str], count: int) -> Target:
    """So many conversations, each with a beginning of its own, dealt out to the models in turn."""
    asked = itertools.cycle(questions.load())
    bodies = []
    for number, model, question in zip(range(count), itertools.cycle(models), asked, strict=False):
        greeting = "您好" if question.language == "zh" else "Hello"
        bodies.append(body(model, f"{greeting}, {number}. {question.question}", system="Answer briefly. 请简短回答。"))
    return Target(name=name, port=port, bodies=tuple(bodies))


def body(model: str, text: str, system: str = "", more: Mapping[str, object] | None = None) -> str:
    """A chat request, JSON as the usual clients write it; `more` fields beside the usual ones."""
    messages = [{"role": "user", "content": text}]
    if system:
        messages.insert(0, {"role": "system", "content": system})
    document = {"model": model, "messages": messages, "max_tokens": 256, **(more or {})}
    return json.dumps(document, ensure_ascii=False, separators=(",", ":"))
