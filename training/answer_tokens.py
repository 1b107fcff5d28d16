"""A chat in the base's own tokens, and which of them are learnt: every answer, with the token that ends its turn."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cluster.errors import UserError
from training.rows import Message, Preference, Row


@dataclass(frozen=True, slots=True)
class AnswerTokens:
    """The tokens of one chat."""

    ids: tuple[int, ...]
    learnt: tuple[bool, ...]
    """Of each token, whether the model is to say it."""


def tokens_of(row: Row, tokenizer: Any) -> AnswerTokens:
    """A row's tokens; all its answers are learnt."""
    return _tokens(row.messages, tokenizer, row.source, only_last=False)


def pair_of(preference: Preference, tokenizer: Any) -> tuple[AnswerTokens, AnswerTokens]:
    """The better and the worse answer with their prompt; only they themselves are compared."""
    better, worse = (
        _tokens((*preference.prompt, Message("assistant", answer)), tokenizer, preference.source, only_last=True)
        for answer in (preference.chosen, preference.rejected)
    )
    return better, worse


def _tokens(messages: Sequence[Message], tokenizer: Any, source: str, *, only_last: bool) -> AnswerTokens:
    if not tokenizer.is_fast:
        raise UserError("the base's tokenizer cannot tell where tokens lie: save it as tokenizer.json, a fast one")
    text = _written(messages, tokenizer, source, opens_answer=False)
    # The template has written the marks of the beginning already.
    coded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    ids, places = coded["input_ids"], coded["offset_mapping"]
    marks = {number for number, token in tokenizer.added_tokens_decoder.items() if token.special}
    learnt = [False] * len(ids)
    answers = [number for number, message in enumerate(messages) if message.role == "assistant"]
    for number in answers[-1:] if only_last else answers:
        begin = _begin(messages, number, text, tokenizer, source)
        _mark(learnt, ids, places, marks, begin, _end(messages[number], text, begin, source))
    return AnswerTokens(tuple(ids), tuple(learnt))


def _begin(messages: Sequence[Message], number: int, text: str, tokenizer: Any, source: str) -> int:
    """Where an answer begins: after what the engine writes before the model speaks."""
    opening = _written(messages[:number], tokenizer, source, opens_answer=True)
    if not text.startswith(opening):
        raise UserError(
            f"{source}: the base's chat template writes what stands before answer {number + 1} differently once it is "
            "answered, so where the answer begins cannot be told; split the chat into rows of one answer each"
        )
    return len(opening)


def _end(answer: Message, text: str, begin: int, source: str) -> int:
    """Where its words end. Templates may strip them."""
    for content in (answer.content, answer.content.strip()):
        place = text.find(content, begin)
        if place >= 0:
            return place + len(content)
    raise UserError(f"{source}: the base's chat template changes the words of an answer; take a base that keeps them")


def _mark(
    learnt: list[bool], ids: Sequence[int], places: Sequence[tuple[int, int]], marks: set[int], begin: int, end: int
) -> None:
    """Mark the tokens between two places of the text, and those after them up to the mark that ends the turn."""
    ended = None
    for number, (first, last) in enumerate(places):
        if last <= begin:
            continue
        if first < end:
            learnt[number] = True
        elif ids[number] in marks:
            ended = number
            break
    if ended is None:
        # No mark at all: the words are all there is to learn.
        return
    for number in range(ended, -1, -1):
        if learnt[number]:
            break
        learnt[number] = True


def _written(messages: Sequence[Message], tokenizer: Any, source: str, *, opens_answer: bool) -> str:
    from jinja2 import TemplateError

    chat = [{"role": each.role, "content": each.content} for each in messages]
    try:
        text = tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=opens_answer)
    except TemplateError as error:
        raise UserError(f"{source}: the base's chat template refuses this chat: {error}") from error
    return str(text)
