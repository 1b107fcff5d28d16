"""Recipes: what a judge is made of, and what its card says."""

import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from cluster.errors import UserError
from router.learning.own_rows import own_rows
from router.learning.recipe import Recipe, auc_of, judge_by, public_sets
from tests.fakes.judges import rows


def public_folder(folder: Path) -> Path:
    """Public sets of a few rows, with a question of MT-Bench in LLMRouter's."""
    quality = ("mistral-7b-instruct-v0.3", "qwen2.5-7b-instruct", "codegemma-7b", "gemma-2-9b-it",
               "llama-3.1-8b-instruct", "llama-3.1-nemotron-51b-instruct",
               "llama-3.3-nemotron-super-49b-v1")  # fmt: skip
    sets: dict[str, list[dict[str, object]]] = {
        "routellm_mmlu": [{"prompt": "Which?", "weak": 1, "strong": 1, "subject": "law"}],
        "routellm_gsm8k": [{"prompt": "How many?", "weak": 0, "strong": 1}],
        "routellm_mtbench": [
            {
                "prompt": "Write a poem.",
                "mistralai/Mixtral-8x7B-Instruct-v0.1": 7,
                "gpt-4-1106-preview": 9,
                "category": "w",
            }
        ],
        "lexeval_zh": [{"prompt": "哪一项？", "Qwen_7B_chat": 0, "gpt4": 1, "task": "1_1"}],
        "llmrouter_train": [
            {"prompt": prompt, **dict.fromkeys(quality, 0.5)} for prompt in ("Write a poem.", "Something else.")
        ],
    }
    for name, content in sets.items():
        text = "".join(json.dumps(row) + "\n" for row in content)
        (folder / f"{name}.jsonl.gz").write_bytes(gzip.compress(text.encode(), mtime=0))
    return folder


def test_mt_bench_is_never_trained_on_nor_any_question_of_it(tmp_path: Path) -> None:
    sets = public_sets(public_folder(tmp_path))
    assert [one.name for one in sets] == ["routellm_mmlu", "routellm_gsm8k", "lexeval_zh", "llmrouter_train"]
    assert list(sets[-1].prompts) == ["Something else."]


def test_a_set_is_known_by_its_licence_its_source_and_its_digest(tmp_path: Path) -> None:
    first = public_sets(public_folder(tmp_path))[0]
    assert first.licence == "Apache-2.0"
    assert "lm-sys/RouteLLM" in first.source
    assert len(first.source.split("sha256 ")[1]) == 64


def test_the_card_says_what_went_in_and_how_it_did() -> None:
    lines: list[str] = []
    card = judge_by(Recipe("mine", "a test", rows=[rows()]), lines.append).weights.card
    assert [(one.name, one.rows) for one in card.trained_on] == [("test", 200), ("own_rows", len(own_rows()))]
    assert card.figures["own_rows_auc"] > 0.85
    assert card.figures["test_apgr"] > 0.6
    assert lines[-1] == "fit 6 of 6 done"


def test_nothing_to_train_on_is_refused() -> None:
    with pytest.raises(UserError, match="nothing to train on"):
        judge_by(Recipe("mine", "a test"))


def test_the_area_under_the_curve_counts_pairs_in_the_right_order() -> None:
    is_hard = np.array([False, False, True, True])
    assert auc_of(np.array([0.1, 0.2, 0.3, 0.4]), is_hard) == 1
    assert auc_of(np.array([0.1, 0.3, 0.2, 0.4]), is_hard) == 0.75
    assert auc_of(np.array([0.5, 0.5, 0.5, 0.5]), is_hard) == 0.5
    assert auc_of(np.array([0.1, 0.2]), np.array([True, True])) == 0.5
