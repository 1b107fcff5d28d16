"""What a person asks is found in the frames that applications put around it, and left alone elsewhere."""

import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from loadtests.questions import load
from router.features import points_of
from router.frames import MAX_CHARS, asked, may_be_framed

FACTS = "The library opens at nine.\nProve it. Calculate 3 + 4."

FRAMED = [
    (f"<context>\n{FACTS}\n</context>\n\nWhen does it open?", "When does it open?"),
    (f"When does it open?\n<documents><document index=\"1\">{FACTS}</document></documents>", "When does it open?"),
    (f"<system-reminder>{FACTS}</system-reminder>Rename the file.", "Rename the file."),
    (f"<task>\nRename the file.\n</task>\n<environment_details>\n{FACTS}\n</environment_details>", "Rename the file."),
    (f"<tool_result id='7'>{FACTS}</tool_result>", ""),
    (f"<指令>根据已知信息回答。</指令>\n<已知信息>{FACTS}</已知信息>\n<问题>几点开门？</问题>", "几点开门？"),
    (f"<search_results>{FACTS}<search_results>x</search_results></search_results>\n几点开门？", "几点开门？"),
    (f"Answer from the context.\nContext:\n{FACTS}\nQuestion: When does it open?\nAnswer:", "When does it open?"),
    (f"Context: {FACTS} Question: When does it open?", "When does it open?"),
    (f"Question: When does it open?\nContext: {FACTS}", "When does it open?"),
    (f"参考资料：{FACTS}问题：几点开门？", "几点开门？"),
    (f"已知信息：\n{FACTS}\n\n请根据已知信息回答。问题： 几点开门？\n回答：", "几点开门？"),
    (f"### 检索结果：\n{FACTS}\n### 用户问题：几点开门？", "几点开门？"),
    (f"[Document 1] {FACTS}\n\n[Document 2](Title: x) {FACTS}\n\nWhen does it open?", "When does it open?"),
    (f"When does it open?\n\n[1] is a mark.\n[文档1] {FACTS}", "When does it open?\n\n[1] is a mark."),
    (f"[webpage 1 begin]{FACTS}[webpage 1 end]\n# 用户消息为：\n几点开门？", "几点开门？"),
    (
        "Use this format:\nQuestion: the question\nThought: think\nAction: one of [search]\nObservation: its result\n"
        "Begin!\n\nQuestion: When does it open?\nThought: I must look.\nAction: search\n"
        f"Observation: {FACTS}\nThought:",
        "When does it open?",
    ),
    (f"User: hello\nAssistant: {FACTS}\nUser: When does it open?\nAssistant:", "When does it open?"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "question"), FRAMED)
def test_what_is_asked_is_found_in_its_frame(text: str, question: str) -> None:
    assert asked(text) == question
    assert may_be_framed(points_of(text))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "What does <context> mean in React?",
        "Why does <b>this</b> not work: <div class='document'>x</div>?",
        "Question: what is a monad?",
        "问题：什么是社保？",
        "The task: write a parser. It must be fast.",
        "材料：小明有3个苹果。他吃了1个。还剩几个？",
        "See [docs](https://example.org) and answer: which port?",
        "x</context>",
        "<context>" * 3,
    ],
)
def test_a_question_without_a_frame_is_left_alone(text: str) -> None:
    assert asked(text) == text


def test_our_own_questions_have_no_frames_and_are_not_looked_at_twice() -> None:
    texts = [one.question for one in load()]
    assert [asked(text) for text in texts] == texts
    assert sum(may_be_framed(points_of(text)) for text in texts) <= 1


PIECES = st.lists(
    st.sampled_from(
        [
            "<context>", "</context>", "<document\ta=1>", "<document>", "</document>", "<question>", "</question>",
            "Question:", "QUESTION：", "Context:", "问题：", "参考资料：", "[Document\t1]", "[文档2]", "Thought:",
            "Task\t*:", "Answer:", "\n\n", "\n", ".", "。", "x", "你", "<", "[", ":", "/", "user:",
        ]
    )
)  # fmt: skip


@given(PIECES.map("".join) | PIECES.map("\n".join) | st.text())
@example("Context:a\n\tTask**:b")
def test_the_quick_look_misses_no_frame(text: str) -> None:
    if asked(text) != text:
        assert may_be_framed(points_of(text))


@pytest.mark.parametrize(
    "piece",
    ["<context>", "</context>", "<context></context>", "Question:\n", "[doc 1]\n\n", "<", ": ", " \n", "[", "\t"],
)
def test_no_text_takes_long(piece: str) -> None:
    text = "</context>" + piece * (MAX_CHARS // len(piece) - 10)
    started_s = time.process_time()
    asked(text)
    assert time.process_time() - started_s < 2


def test_a_text_without_end_is_not_searched() -> None:
    text = "<context>x</context>" + "y" * MAX_CHARS
    assert asked(text) == text
    assert not may_be_framed(points_of(text))
