"""What a person asks, out of a text that an application has wrapped in passages, tool output and agent scaffolding.

Applications put what they found into the user's own turn, in a few well-known frames. What stands in such a frame is
taken in by the model, but it is not asked by anybody. Texts come from strangers, so each step is one pass.
"""

import re
from typing import Final

import numpy as np

from router.compiled import njit, types

# Frames are looked for in texts up to this length; of longer ones only head and tail are judged anyway.
MAX_CHARS: Final = 131_072

# Between such tags stands what was found or said by a machine.
_MATERIAL_TAGS: Final = (
    "context|contexts|documents?|search[_-]results?|retrieved(?:[_-]\\w+)?|passages?|sources?|references?|knowledge|"
    "tool[_-](?:results?|response|output)|function[_-](?:results?|response|output)|tools?|observation|"
    "system[_-]reminder|environment[_-](?:details|context)|file[_-]contents?|file|instructions?|user[_-]info|"
    "上下文|参考资料|参考内容|已知信息|检索结果|搜索结果|文档|指令"
)
# Between these, what is asked.
_QUESTION_TAGS: Final = "question|query|user[_-](?:question|query|message|input)|task|问题|用户问题"
_TAG: Final = re.compile(
    f"<(/?)(?:({_MATERIAL_TAGS})|({_QUESTION_TAGS}))(?:[ \\t][^<>]{{0,200}})?>", re.IGNORECASE | re.ASCII
)

# At the beginning of a line or a sentence, before a colon.
_MATERIAL_LABELS: Final = (
    "contexts?|(?:retrieved |relevant )?(?:passages?|documents?)(?: \\[?\\d{1,4}\\]?)?|background(?: information)?|"
    "search results|references?|sources?|knowledge|evidence|"
    "thought|action(?: input)?|observation|tool (?:output|result)|assistant|system|"
    "参考(?:资料|内容|文档|信息)|已知(?:信息|内容)|背景(?:资料|信息)|上下文|检索(?:结果|内容)|搜索结果|知识库(?:内容)?|"
    "文档\\d{1,4}"
)
_QUESTION_LABELS: Final = (
    "(?:user )?(?:question|query)|user(?: input| message)?|human|task|the user's message is|"
    "(?:用户)?(?:问题|提问)|用户|任务|用户消息为"
)
_ANSWER_LABELS: Final = "(?:final )?answer|response|回答|答案|答"
_LABEL: Final = re.compile(
    f"[\\n.!?。！？；][ \\t>#*]{{0,8}}(?:({_MATERIAL_LABELS})|({_QUESTION_LABELS})|(?:{_ANSWER_LABELS}))"
    "[ \\t*]{0,4}[:：]",
    re.IGNORECASE | re.ASCII,
)
_PASSAGE: Final = re.compile(
    "^[ \\t]{0,4}\\[(?:document|doc|passage|source|webpage|文档|资料|网页)[ \\t]{0,2}\\d{1,4}[^\\]\\n]{0,60}\\]",
    re.IGNORECASE | re.MULTILINE | re.ASCII,
)
_PARAGRAPH: Final = re.compile(r"\n[ \t]*\n")


def asked(text: str) -> str:
    """What a person asks in one turn; empty if all of it stands in frames for what nobody asks."""
    if len(text) > MAX_CHARS:
        return text
    if "</" in text:
        text = _outside_tags(text)
    passages = [found.start() for found in _PASSAGE.finditer(text)] if "[" in text else []
    question = _labelled(text, has_passages=bool(passages)) if ":" in text or "：" in text else None
    if question is None and passages:
        question = _around(text, passages)
    return question or text


def _outside_tags(text: str) -> str:
    """The text without its framed material, or what stands in the last frame for a question."""
    tags = [
        (tag.start(), tag.end(), bool(tag[1]), (tag[2] or tag[3]).lower(), bool(tag[3])) for tag in _TAG.finditer(text)
    ]
    last_close = {name: start for start, _, is_close, name, _ in tags if is_close}
    kept: list[str] = []
    questions: list[str] = []
    at, begin, open_name, depth = 0, 0, "", 0
    for start, end, is_close, name, is_question in tags:
        if not open_name:
            # A tag that nobody closes is a word.
            if is_close or last_close.get(name, -1) < start:
                continue
            kept.append(text[at:start])
            open_name, depth, begin = name, 1, end
        elif name == open_name:
            depth += -1 if is_close else 1
            if depth == 0:
                if is_question:
                    questions.append(text[begin:start])
                open_name, at = "", end
    if open_name:
        # Opened more often than closed: what follows is not known to be a question either.
        at = len(text)
    kept.append(text[at:])
    asked_for = next((question.strip() for question in reversed(questions) if question.strip()), "")
    if asked_for:
        return asked_for
    return "".join(kept).strip() if len(kept) > 1 else text


def _labelled(text: str, *, has_passages: bool) -> str | None:
    """What stands behind the last label of a question, where another label says that the rest is material."""
    # The engine skips quickly to a single character only; so the first line begins behind a break, too.
    text = f"\n{text}"
    labels = list(_LABEL.finditer(text))
    if not (has_passages or any(label[1] for label in labels)):
        return None
    ends = [*(label.start() for label in labels), len(text)][1:]
    sections = [text[label.end() : end].strip() for label, end in zip(labels, ends, strict=True) if label[2]]
    return next((section for section in reversed(sections) if section), None)


def _around(text: str, passages: list[int]) -> str:
    """What stands before the first passage, and the last paragraph unless it belongs to one."""
    last = passages[-1]
    breaks = [found.end() for found in _PARAGRAPH.finditer(text, last)]
    tail = text[breaks[-1] :] if breaks else ""
    return f"{text[: passages[0]].strip()}\n{tail.strip()}".strip()


# As plain numbers, which the compiler takes for constants: how the word in a mark of a passage begins, and how the
# label of a question ends.
_PASSAGE_LETTERS: Final = tuple(ord(letter) for letter in "dpswDPSW文资网")
_LABEL_ENDS: Final = tuple(
    ord(first) << 16 | ord(second) << 8 | ord(third)
    for first, second, third in ("ion", "ery", "ser", "put", "age", "man", "ask", " is")
)
_LABEL_HAN: Final = tuple(ord(first) << 16 | ord(second) for first, second in ("问题", "提问", "用户", "任务", "息为"))
_SENTENCE_ENDS: Final = tuple(ord(letter) for letter in "\n.!?。！？；")
_MARKS_IN_LABEL: Final = 4
_LONGEST_LABEL: Final = 32
"""With the marks before it."""


@njit(types.boolean(types.Array(types.uint32, 1, "C", readonly=True), types.int64), cache=True)
def _may_be_label(text, colon):  # type: ignore[no-untyped-def]
    """Whether the word before this colon may be the label of a question."""
    last = colon - 1
    while last >= 0 and last >= colon - _MARKS_IN_LABEL and text[last] in (32, 9, 42):
        last -= 1
    if last < 1:
        return False
    second, third = np.int64(text[last - 1]), np.int64(text[last])
    if (second << 16 | third) not in _LABEL_HAN:
        first = np.int64(text[last - 2]) if last > 1 else 0
        # In small letters.
        if max(first, second, third) >= 128 or (first << 16 | second << 8 | third) | 0x202020 not in _LABEL_ENDS:
            return False
    begin = last - 1
    while begin >= 0 and text[begin] not in _SENTENCE_ENDS:
        begin -= 1
        if last - begin > _LONGEST_LABEL:
            return False
    return True


@njit(types.boolean(types.Array(types.uint32, 1, "C", readonly=True)), cache=True)
def may_be_framed(text):  # type: ignore[no-untyped-def]
    """Whether `asked` might change a text (code points). It errs on the side of yes, which costs a second look."""
    size = len(text)
    if size > MAX_CHARS:
        return False
    # No branches: so the compiler takes eight or sixteen characters at once.
    marks = 0
    for place in range(size):
        point = text[place]
        marks += (point == 60) | (point == 91) | (point == 58) | (point == 0xFF1A)
    if marks == 0:
        return False
    colons, has_label = 0, False
    for place in range(size):
        point = text[place]
        if point == 60:
            if place + 1 < size and text[place + 1] == 47:
                return True
        elif point == 91:
            if place + 1 < size and text[place + 1] in _PASSAGE_LETTERS:
                return True
        elif point in (58, 0xFF1A):
            colons += 1
            has_label = has_label or _may_be_label(text, place)
    # One label says that something is material, another that something is asked.
    return has_label and colons > 1
