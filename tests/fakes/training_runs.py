"""A finished run on the disk, made in a moment: real files by the real writers, figures that somebody made up."""

import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from registry.digests import folder_sha256
from registry.disk import write_durably
from training.base_model import load_base
from training.evaluation import Evaluation, Figure, results_of
from training.evaluation_file import write_evaluation
from training.gates import judged
from training.recipe import Recipe
from training.recipe_file import recipe_yaml
from training.run_folder import RunFolder
from training.run_state import STAGES, BaseNote, FittedNote, RunState, write_state

NAME = "hotline"
BEFORE = Evaluation(
    {"exact_match": Figure(0.1, 0.05, 0.15, 120), "general_loss": Figure(2.0, 1.9, 2.1, 40)},
    {"住建局": {"exact_match": Figure(0.1, 0.0, 0.2, 60)}, "人社局": {"exact_match": Figure(0.1, 0.0, 0.2, 60)}},
    answers=("said what before",),
)
AFTER = Evaluation(
    {"exact_match": Figure(0.8, 0.7, 0.9, 120), "general_loss": Figure(2.1, 2.0, 2.2, 40)},
    {"住建局": {"exact_match": Figure(0.9, 0.8, 1.0, 60)}, "人社局": {"exact_match": Figure(0.7, 0.6, 0.8, 60)}},
    answers=("said what after",),
)


def recipe_of(base: str, rows: Path, **more: Any) -> Recipe:
    """A small one."""
    document = {
        "name": NAME,
        "base": base,
        "data": {"rows": [str(rows)], "licence": "CC BY 4.0"},
        "lora": {"rank": 4, "alpha": 8},
        "gates": ["exact_match >= 0.5", "general_loss_rise_ratio <= 0.1"],
    }
    return Recipe.model_validate(document | more)


def make_adapter(base: Path, folder: Path, seed: int = 1, strength: float = 0.1) -> Path:
    """A LoRA adapter with random weights, as PEFT saves one, with the base's tokenizer beside it."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoTokenizer

    torch.manual_seed(seed)
    config = LoraConfig(r=4, lora_alpha=8, target_modules="all-linear", task_type="CAUSAL_LM")
    model: Any = get_peft_model(load_base(base, "float32", device="cpu"), config)
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=strength)
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(base).save_pretrained(folder)
    return folder


def finished_run(
    folder: Path,
    recipe: Recipe,
    base: Path,
    *,
    before: Evaluation = BEFORE,
    after: Evaluation = AFTER,
    left_out: Mapping[str, int] | None = None,
) -> RunFolder:
    """A run that has come to its end, all but its rows."""
    run = RunFolder(folder)
    run.path.mkdir(parents=True)
    make_adapter(base, run.adapter)
    write_durably(run.recipe, recipe_yaml(recipe))
    write_evaluation(before, run.evaluation / "before.json")
    write_evaluation(after, run.evaluation / "after.json")
    write_state(
        run,
        RunState(
            name=recipe.name,
            metric=recipe.evaluation.metric,
            created_s=time.time(),
            phase="done",
            base=BaseNote(
                asked=recipe.base,
                folder=base,
                sha256=folder_sha256(base),
                origin=f"the folder {base}",
                parameters=107_000,
            ),
            stages=dict.fromkeys(STAGES, 1.0),
            data_sha256={"train": "a" * 64, "test": "b" * 64, "general": "c" * 64},
            rows={"train": 300, "test": 120, "general": 40},
            left_out=left_out or {"said before": 3},
            environment={"commit": "0123abc", "torch": "2.13.0", "memory": "24 GB"},
            fitted=FittedNote(
                steps=96, tokens=150_000, seconds=70.0, tokens_per_s=2143.0, peak_memory_bytes=900_000_000,
                final_loss=0.4, stopped_early=False,
            ),
            results=results_of(before, after),
            gates=judged(recipe, before, after),
        ),
    )  # fmt: skip
    return run


def worse(evaluation: Evaluation = AFTER) -> Evaluation:
    """One that passes no gate on what it answers."""
    figures = {**evaluation.figures, "exact_match": Figure(0.2, 0.1, 0.3, 120)}
    return replace(evaluation, figures=figures)
