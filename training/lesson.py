"""What a run needs, built in one place: base, adapter, rows as tokens, and the trainer that brings them together.

Imported by `training.fitting` when a run begins.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from peft import LoraConfig, get_peft_model
from peft.tuners.tuners_utils import BaseTunerLayer
from transformers import set_seed
from transformers.utils import logging
from trl import DPOConfig, SFTConfig

from cluster.errors import UserError
from training.answer_loss import teach_answer_logps
from training.answer_tokens import pair_of, tokens_of
from training.base_model import load_base, load_tokenizer, resolved_dtype
from training.batches import order_of, steps_of
from training.checkpoints import Checkpoints
from training.dpo import Dpo, DpoCollator, dpo_dataset
from training.loop import Plan
from training.prepared import Prepared
from training.recipe import Recipe
from training.sft import Sft, SftCollator, sft_dataset
from training.watch import Watch


class Lesson:
    """One run's parts. Workers of torch.distributed make one each."""

    def __init__(self, recipe: Recipe, prepared: Prepared, base: Path, output: Path) -> None:
        self._recipe, self._prepared, self._base, self._output = recipe, prepared, base, output
        self._workers = PartialState()
        self.tokenizer = load_tokenizer(base)

    @property
    def is_first(self) -> bool:
        """Of several workers the one that writes and tells; alone, always."""
        return bool(self._workers.is_main_process)

    def trainer(self, checkpoints: Checkpoints, watch: Watch, stop: Callable[[], bool]) -> tuple[Any, Any]:
        """The trainer, at its first step, and the adapter's configuration."""
        recipe = self._recipe
        logging.set_verbosity_error()
        model = self._model()
        config = model.peft_config["default"]
        if recipe.objective == "sft":
            rows = [tokens_of(row, self.tokenizer) for row in self._prepared.train]
            held_out = [tokens_of(row, self.tokenizer) for row in self._prepared.test]
            lengths = [len(row.ids) for row in rows]
            train, test = sft_dataset(rows), sft_dataset(held_out) if held_out else None
            collator: Any = SftCollator(self.tokenizer.pad_token_id, recipe.train.packing, recipe.data.max_tokens)
        else:
            pairs = [pair_of(pair, self.tokenizer) for pair in self._prepared.preferences]
            held_out_pairs = [pair_of(pair, self.tokenizer) for pair in self._prepared.test_preferences]
            lengths = [len(better.ids) + len(worse.ids) for better, worse in pairs]
            train, test = dpo_dataset(pairs), dpo_dataset(held_out_pairs) if held_out_pairs else None
            collator = DpoCollator(self.tokenizer.pad_token_id)
        train_recipe = recipe.train
        steps = steps_of(len(lengths), train_recipe.epochs, train_recipe.batch_size, train_recipe.max_steps)
        plan = Plan(steps, order_of(lengths, train_recipe.batch_size, steps, train_recipe.seed), lengths)
        trainer_class, arguments = (Sft, SFTConfig) if recipe.objective == "sft" else (Dpo, DPOConfig)
        trainer: Any = trainer_class(
            model=model,
            args=arguments(**self._arguments(steps)),
            data_collator=collator,
            train_dataset=train,
            eval_dataset=test,
            processing_class=self.tokenizer,
        )
        trainer.begin(train_recipe, plan, checkpoints, watch, stop)
        return trainer, config

    def _model(self) -> Any:
        """The base with a fresh adapter on it. The same seed makes the same one."""
        recipe = self._recipe
        is_shared = recipe.cluster is not None and recipe.cluster.strategy == "fsdp"
        model = load_base(
            self._base,
            recipe.train.dtype,
            recipe.quantise_base,
            str(self._workers.device),
            shared_by=self._workers.num_processes if is_shared else 1,
        )
        model.config.use_cache = False
        teach_answer_logps(model)
        set_seed(recipe.train.seed)
        targets = recipe.lora.targets
        model = get_peft_model(
            model,
            LoraConfig(
                task_type="CAUSAL_LM",
                r=recipe.lora.rank,
                lora_alpha=recipe.lora.alpha,
                lora_dropout=recipe.lora.dropout_ratio,
                target_modules=targets if isinstance(targets, str) else list(targets),
            ),
        )
        if resolved_dtype(recipe.train.dtype) is torch.bfloat16:
            # Autocast brings adapters to the base's bfloat16; without this, PEFT would first make their inputs float32.
            for module in model.modules():
                if isinstance(module, BaseTunerLayer):
                    module.cast_input_dtype_enabled = False
        return model

    def _arguments(self, steps: int) -> dict[str, Any]:
        train, workers = self._recipe.train, self._workers.num_processes
        micro = train.micro_batch_size or max(1, train.batch_size // workers)
        if train.batch_size % (micro * workers):
            raise UserError(
                f"train.batch_size {train.batch_size} cannot be shared out evenly over {workers} workers of "
                f"{micro} rows at a time; take a multiple of {micro * workers}"
            )
        return {
            "output_dir": str(self._output),
            "max_steps": steps,
            "per_device_train_batch_size": micro,
            "gradient_accumulation_steps": train.batch_size // (micro * workers),
            "learning_rate": train.learning_rate,
            "lr_scheduler_type": train.schedule if train.schedule != "constant" else "constant_with_warmup",
            "warmup_steps": round(train.warmup_ratio * steps),
            "weight_decay": train.weight_decay,
            "max_grad_norm": train.max_grad_norm,
            "gradient_checkpointing": train.gradient_checkpointing,
            "bf16": resolved_dtype(train.dtype) is torch.bfloat16,
            "seed": train.seed,
            "use_cpu": self._workers.device.type == "cpu",
            "dataloader_pin_memory": self._workers.device.type != "cpu",
            "ddp_find_unused_parameters": False,
            "remove_unused_columns": False,
            "average_tokens_across_devices": True,
            "eval_strategy": "no",
            "save_strategy": "no",
            "logging_steps": 1,
            "logging_nan_inf_filter": False,
            "report_to": "none",
            "disable_tqdm": True,
            "log_level": "error",
            "push_to_hub": False,
        }
