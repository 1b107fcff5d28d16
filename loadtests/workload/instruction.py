"""How a labelled question is put to a model, so that its answer can be marked."""

from typing import Final

from loadtests.questions import Question

_HOW_TO_ANSWER: Final = {
    "zh": "请用中文简短回答。需要时先写出步骤，最后一行写“答案：”和答案；有选项时只写选项字母。",
    "en": 'Answer briefly. Show steps if needed, then end with a line "Answer:" and the answer; if there are options, '
    "give the letter only.",
}


def messages_of(question: Question) -> list[dict[str, object]]:
    """The chat that asks one question; languages without words of their own are told in English."""
    how = _HOW_TO_ANSWER.get(question.language, _HOW_TO_ANSWER["en"])
    return [{"role": "system", "content": how}, {"role": "user", "content": question.question}]
