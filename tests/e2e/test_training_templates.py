"""Which tokens of a chat are learnt, with the templates that real bases have."""

from pathlib import Path
from typing import Any

import pytest

from cluster.settings_file import profile
from tests.e2e.small_model import model_folder
from training.answer_tokens import tokens_of
from training.base_model import load_tokenizer
from training.rows import Message, Row

CHAT = (
    Message("user", "我要换居住证。"),
    Message("assistant", "请带旧证到柜台。"),
    Message("user", "What does it cost?"),
    Message("assistant", "Nothing.\n\nIt takes ten days."),
)


def qwen_folder() -> Path:
    """Not fetched for this: it is a gigabyte."""
    folders = sorted(profile("tiny").site.models_dir.glob("qwen2.5-0.5b--*"))
    if not folders:
        pytest.skip("Qwen 0.5B does not lie on this machine")
    return folders[0]


@pytest.mark.parametrize("folder", [model_folder, qwen_folder], ids=["smollm2", "qwen2.5"])
def test_answers_are_learnt_up_to_the_mark_that_ends_their_turn(folder: Any) -> None:
    tokenizer = load_tokenizer(folder())
    tokens = tokens_of(Row(CHAT, "rows.jsonl:1"), tokenizer)
    written = tokenizer.apply_chat_template(
        [{"role": each.role, "content": each.content} for each in CHAT], return_dict=True
    )
    assert list(tokens.ids) == written["input_ids"]
    learnt = [token for token, is_learnt in zip(tokens.ids, tokens.learnt, strict=True) if is_learnt]
    assert tokenizer.decode(learnt) == "请带旧证到柜台。<|im_end|>Nothing.\n\nIt takes ten days.<|im_end|>"
    # At its first answer the model has read what an engine would have written, and not a token more or less.
    asked = tokenizer.apply_chat_template(
        [{"role": "user", "content": CHAT[0].content}], add_generation_prompt=True, return_dict=True
    )
    assert list(tokens.ids[: tokens.learnt.index(True)]) == asked["input_ids"]
    assert tokenizer.convert_ids_to_tokens(learnt[-1]) == "<|im_end|>"
    assert not tokens.learnt[-1]
