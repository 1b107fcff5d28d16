from pathlib import Path
from typing import Any

import pytest

from cluster.errors import UserError
from tests.fakes.tiny_lm import make_tiny_lm
from training.answer_tokens import AnswerTokens, pair_of, tokens_of
from training.base_model import load_tokenizer, token_counter
from training.rows import Message, Preference, Row

ASKED_TWICE = (
    Message("system", "Be brief."),
    Message("user", "Who?"),
    Message("assistant", "I."),
    Message("user", "And?"),
    Message("assistant", " You.\n好"),
)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_lm(tmp_path_factory.mktemp("base") / "tiny")


@pytest.fixture
def tokenizer(base: Path) -> Any:
    return load_tokenizer(base)


def learnt(tokens: AnswerTokens, tokenizer: Any) -> list[str]:
    """The stretches of text that are learnt."""
    stretches: list[list[int]] = [[]]
    for token, is_learnt in zip(tokens.ids, tokens.learnt, strict=True):
        if is_learnt:
            stretches[-1].append(token)
        elif stretches[-1]:
            stretches.append([])
    return [tokenizer.decode(stretch) for stretch in stretches if stretch]


def test_each_answer_is_learnt_with_the_mark_that_ends_its_turn_and_nothing_else(tokenizer: Any) -> None:
    tokens = tokens_of(Row(ASKED_TWICE, "rows.jsonl:1"), tokenizer)
    assert learnt(tokens, tokenizer) == ["I.<|im_end|>", " You.\n好<|im_end|>"]


def test_the_tokens_are_those_of_the_whole_chat(tokenizer: Any, base: Path) -> None:
    tokens = tokens_of(Row(ASKED_TWICE, "rows.jsonl:1"), tokenizer)
    assert tokenizer.decode(tokens.ids) == (
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nWho?<|im_end|>\n<|im_start|>assistant\nI.<|im_end|>"
        "\n<|im_start|>user\nAnd?<|im_end|>\n<|im_start|>assistant\n You.\n好<|im_end|>\n"
    )
    assert token_counter(base)(ASKED_TWICE) == len(tokens.ids)


def test_an_answer_that_also_stands_in_its_question_is_learnt_where_it_is_the_answer(tokenizer: Any) -> None:
    tokens = tokens_of(Row((Message("user", "Yes"), Message("assistant", "Yes")), "rows.jsonl:1"), tokenizer)
    assert [number for number, is_learnt in enumerate(tokens.learnt) if is_learnt] == list(
        range(len(tokens.ids) - 5, len(tokens.ids) - 1)
    )


def test_a_template_that_strips_answers_is_followed(tokenizer: Any) -> None:
    tokenizer.chat_template = tokenizer.chat_template.replace("message['content']", "message['content'].strip()")
    tokens = tokens_of(Row(ASKED_TWICE, "rows.jsonl:1"), tokenizer)
    assert learnt(tokens, tokenizer) == ["I.<|im_end|>", "You.\n好<|im_end|>"]


def test_of_a_template_without_marks_the_words_are_learnt(tokenizer: Any) -> None:
    tokenizer.chat_template = (
        "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}"
        "{% if add_generation_prompt %}assistant: {% endif %}"
    )
    tokens = tokens_of(Row(ASKED_TWICE, "rows.jsonl:1"), tokenizer)
    assert learnt(tokens, tokenizer) == ["I.", " You.\n好"]


def test_of_two_answers_only_the_last_turn_is_compared(tokenizer: Any) -> None:
    better, worse = pair_of(Preference(ASKED_TWICE[:4], "Here.", "There.", "pairs.jsonl:1"), tokenizer)
    assert learnt(better, tokenizer) == ["Here.<|im_end|>"]
    assert learnt(worse, tokenizer) == ["There.<|im_end|>"]
    assert better.ids[: better.learnt.index(True)] == worse.ids[: worse.learnt.index(True)]


def test_a_chat_that_the_template_refuses_is_named_with_its_line(tokenizer: Any) -> None:
    tokenizer.chat_template = "{{ raise_exception('System role not supported') }}"
    with pytest.raises(UserError, match=r"rows.jsonl:1: the base's chat template refuses .*System role not supported"):
        tokens_of(Row(ASKED_TWICE, "rows.jsonl:1"), tokenizer)


def test_a_template_that_changes_what_stands_before_an_answer_is_refused(tokenizer: Any) -> None:
    tokenizer.chat_template = "{{ messages | length }}{% for m in messages %}{{ m['content'] }}{% endfor %}"
    with pytest.raises(UserError, match=r"rows.jsonl:1: .* answer 3 differently"):
        tokens_of(Row(ASKED_TWICE, "rows.jsonl:1"), tokenizer)


def test_a_template_that_changes_the_answer_is_refused(tokenizer: Any) -> None:
    tokenizer.chat_template = tokenizer.chat_template.replace("message['content']", "message['content'] | upper")
    with pytest.raises(UserError, match="changes the words of an answer"):
        tokens_of(Row((Message("user", "a"), Message("assistant", "yes")), "rows.jsonl:1"), tokenizer)
