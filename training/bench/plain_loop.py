"""A fine-tuning as people write it with transformers and peft in forty lines: what ours is measured beside.

Nothing in it is slower than it has to be in such a loop: the number type, the learning rates and the batches, sorted by
length, are ours; the prompt's labels are -100, so that the loss is ours as well. It keeps no checkpoints.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from training.recipe import Recipe

IGNORED: Final = -100


@dataclass(frozen=True, slots=True)
class Example:
    """One row in tokens."""

    input_ids: tuple[int, ...]
    labels: tuple[int, ...]
    """`IGNORED` where nothing is to be learnt."""


def plain_fit(
    recipe: Recipe,
    batches: Sequence[Sequence[Example]],
    base: Path,
    dtype: Any,
    adapter: Path,
    *,
    is_autocast: bool,
    began: Callable[[], None],
    stepped: Callable[[float], None],
) -> None:
    """Train on the batches, one a step, and save the adapter. `began` is called before the first, `stepped` after each.

    `is_autocast`: under torch.autocast, which lets the adapter's float32 weights be multiplied in `dtype`. Both are
    written; which is faster hangs on the machine.
    """
    import torch
    from peft import LoraConfig, get_peft_model
    from torch.utils.data import DataLoader
    from transformers import AutoModelForCausalLM, AutoTokenizer, DataCollatorForSeq2Seq, get_scheduler

    tokenizer = AutoTokenizer.from_pretrained(base)
    model = AutoModelForCausalLM.from_pretrained(base, dtype=dtype)
    model = get_peft_model(
        model,
        LoraConfig(
            r=recipe.lora.rank,
            lora_alpha=recipe.lora.alpha,
            lora_dropout=recipe.lora.dropout_ratio,
            target_modules="all-linear",
            task_type="CAUSAL_LM",
        ),
    )
    model.train()
    parameters = [each for each in model.parameters() if each.requires_grad]
    optimiser = torch.optim.AdamW(parameters, lr=recipe.train.learning_rate, weight_decay=recipe.train.weight_decay)
    schedule = get_scheduler(
        recipe.train.schedule,
        optimiser,
        num_warmup_steps=round(recipe.train.warmup_ratio * len(batches)),
        num_training_steps=len(batches),
    )
    rows = [{"input_ids": list(each.input_ids), "labels": list(each.labels)} for batch in batches for each in batch]
    size = len(batches[0])
    loader = DataLoader(rows, batch_size=size, collate_fn=DataCollatorForSeq2Seq(tokenizer, padding=True))
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model.to(device)
    began()
    for batch in loader:
        with torch.autocast(device, dtype, enabled=is_autocast):
            loss = model(**batch.to(device)).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, recipe.train.max_grad_norm)
        optimiser.step()
        schedule.step()
        optimiser.zero_grad()
        stepped(loss.item())
    model.save_pretrained(adapter)
