"""The public sets on which the default judge is trained and every judge is measured, read where they lie.

None of it is copied into the project. Two sets share questions, so that `without` takes out of one what stands in
another: a judge must not have seen what it is measured on.
"""

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from cluster.errors import UserError
from router.learning.labelled_rows import RowSet, json_lines

# Of LLMRouter's nine models: those of some 8B parameters that follow instructions, and those of some 50B.
_SMALL: Final = (
    "mistral-7b-instruct-v0.3",
    "qwen2.5-7b-instruct",
    "codegemma-7b",
    "gemma-2-9b-it",
    "llama-3.1-8b-instruct",
)
_LARGE: Final = ("llama-3.1-nemotron-51b-instruct", "llama-3.3-nemotron-super-49b-v1")
_ROUTELLM: Final = ("Apache-2.0", "lm-sys/RouteLLM 0b64fdaf")
# Two texts that share so many words in a row are taken to be the same question in another dress.
_SHARED_WORDS: Final = 8
_WORD: Final = re.compile(r"\w+")


def mmlu(folder: Path) -> RowSet:
    """14,037 multiple-choice questions: Mixtral-8x7B and GPT-4."""
    return _read(folder, "routellm_mmlu", ("weak",), ("strong",), *_ROUTELLM, kind="subject")


def gsm8k(folder: Path) -> RowSet:
    """1,307 calculations: the same two models."""
    return _read(folder, "routellm_gsm8k", ("weak",), ("strong",), *_ROUTELLM)


def mt_bench(folder: Path) -> RowSet:
    """72 open questions with a judge's score, 1 to 10: the same two models. Never trained on."""
    small, large = "mistralai/Mixtral-8x7B-Instruct-v0.1", "gpt-4-1106-preview"
    return _read(folder, "routellm_mtbench", (small,), (large,), *_ROUTELLM, kind="category")


def lexeval(folder: Path) -> RowSet:
    """7,900 questions on Chinese law, of 12 tasks: Qwen-7B and GPT-4."""
    return _read(folder, "lexeval_zh", ("Qwen_7B_chat",), ("gpt4",), "MIT", "CSHaitao/LexEval 044c695f", kind="task")


def llm_router(folder: Path) -> RowSet:
    """5,608 questions of 14 kinds; the mean over five models of some 8B, and over two of some 50B."""
    return _read(folder, "llmrouter_train", _SMALL, _LARGE, "MIT", "ulab-uiuc/LLMRouter 4e7a7969")


SETS: Final[Mapping[str, Callable[[Path], RowSet]]] = {
    "mmlu": mmlu,
    "gsm8k": gsm8k,
    "mt_bench": mt_bench,
    "lexeval": lexeval,
    "llm_router": llm_router,
}


def without(rows: RowSet, measured: Iterable[RowSet]) -> RowSet:
    """`rows` less every question of which eight words in a row, or all, stand in one of `measured`."""
    known = {run for other in measured for prompt in other.prompts for run in _runs(prompt)}
    kept = [row for row, prompt in enumerate(rows.prompts) if known.isdisjoint(_runs(prompt))]
    return rows.at(np.array(kept, dtype=np.intp))


def with_digest(source: str, path: Path) -> str:
    """Where rows come from, and which file it was to the last bit."""
    return f"{source}, file sha256 {hashlib.sha256(path.read_bytes()).hexdigest()}"


def _runs(text: str) -> set[tuple[str, ...]]:
    words = _WORD.findall(text.lower())
    return {tuple(words[start : start + _SHARED_WORDS]) for start in range(max(1, len(words) - _SHARED_WORDS + 1))}


def _read(
    folder: Path,
    name: str,
    small: Sequence[str],
    large: Sequence[str],
    licence: str,
    source: str,
    *,
    kind: str | None = None,
) -> RowSet:
    path = folder / f"{name}.jsonl.gz"
    prompts: list[str] = []
    quality: list[tuple[float, float]] = []
    kinds: list[str] = []
    for number, row in json_lines(path):
        try:
            prompts.append(row["prompt"])
            quality.append((_mean(row, small), _mean(row, large)))
            kinds.append(row[kind] if kind else "")
        except (KeyError, TypeError) as error:
            raise UserError(f"{path}, line {number}: {error} is missing or of another kind than expected.") from error
    return RowSet(name, prompts, np.array(quality, dtype=np.float64), kinds, licence, with_digest(source, path))


def _mean(row: Mapping[str, Any], models: Sequence[str]) -> float:
    return sum(float(row[model]) for model in models) / len(models)
