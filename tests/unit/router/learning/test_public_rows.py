"""The public sets: read as they lie, and no set holds a question of another."""

import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from cluster.errors import UserError
from router.learning.labelled_rows import RowSet
from router.learning.public_rows import gsm8k, llm_router, without

QUESTION = "James decides to run three sprints three times a week. How many metres does he run in all?"


def packed(folder: Path, name: str, rows: list[dict[str, object]]) -> None:
    (folder / f"{name}.jsonl.gz").write_bytes(gzip.compress("".join(json.dumps(row) + "\n" for row in rows).encode()))


def of(*prompts: str) -> RowSet:
    return RowSet("test", prompts, np.zeros((len(prompts), 2)), [""] * len(prompts))


def test_a_question_in_another_dress_is_taken_out() -> None:
    dressed = QUESTION.upper() + "\nAfter careful thought, put the answer in a box."
    kept = without(of("Who wrote Hamlet?", dressed, "Why is the sky blue?"), [of(QUESTION, "Why is the sky blue?")])
    assert list(kept.prompts) == ["Who wrote Hamlet?"]


def test_several_models_are_averaged(tmp_path: Path) -> None:
    small = (
        "mistral-7b-instruct-v0.3",
        "qwen2.5-7b-instruct",
        "codegemma-7b",
        "gemma-2-9b-it",
        "llama-3.1-8b-instruct",
    )
    large = ("llama-3.1-nemotron-51b-instruct", "llama-3.3-nemotron-super-49b-v1")
    row: dict[str, object] = {"prompt": "a", large[0]: 1.0, large[1]: 0.0}
    row.update({model: float(model == small[0]) for model in small})
    packed(tmp_path, "llmrouter_train", [row])
    assert llm_router(tmp_path).quality.tolist() == [[0.2, 0.5]]


def test_a_set_of_another_form_is_refused_by_its_line(tmp_path: Path) -> None:
    packed(tmp_path, "routellm_gsm8k", [{"prompt": "a", "weak": True, "strong": True}, {"prompt": "b", "weak": True}])
    with pytest.raises(UserError, match=r"routellm_gsm8k.jsonl.gz, line 2: 'strong' is missing"):
        gsm8k(tmp_path)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be read"):
        gsm8k(tmp_path / "nowhere")
