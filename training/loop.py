"""What our trainers have in common, whichever loss they descend: TRL's loop with our batches, checkpoints and curves.

Imported by `training.fitting` when a run begins, and by nobody else: it needs torch and TRL at once.
"""

import math
import resource
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import broadcast_object_list
from peft import get_peft_model_state_dict, set_peft_model_state_dict
from transformers import Trainer, TrainerCallback

from cluster.errors import UserError
from training.adapter import read_weights, write_weights
from training.checkpoints import Checkpoints, Progress
from training.recipe import TrainRecipe
from training.watch import Step, Watch

_BEST = "best"


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run does, worked out before it begins."""

    steps: int
    order: Sequence[int]
    """The rows of all steps, `batch_size` each."""
    lengths: Sequence[int]
    """Tokens of each row."""

    def tokens_after(self, batch_size: int) -> list[int]:
        """Tokens read after 0, 1, 2... steps."""
        per_row = [0, *accumulate(self.lengths[row] for row in self.order)]
        return per_row[::batch_size]


class Loop(Trainer):  # type: ignore[misc]
    """A mixin for TRL's trainers. One epoch of theirs is all of our run, so that a place in it is a step's number."""

    # Ours is: each token counts the same over all micro batches and workers of a step.
    loss_is_scaled_for_ga = True

    def begin(
        self,
        recipe: TrainRecipe,
        plan: Plan,
        checkpoints: Checkpoints,
        watch: Watch,
        stop: Callable[[], bool],
    ) -> None:
        """What TRL's constructor does not take."""
        self.recipe, self.plan, self.checkpoints, self.progress = recipe, plan, checkpoints, Progress()
        self.watch, self.stop = watch, stop
        self.best: dict[str, Any] | None = None
        self.was_interrupted = False
        self._tokens = plan.tokens_after(recipe.batch_size)
        self._first = self.progress
        self._began = time.monotonic()
        # Adapters of quantised bases were made bfloat16: AdamW's small changes would be rounded away.
        for parameter in self.model.parameters():
            if parameter.requires_grad:
                parameter.data = parameter.data.float()
        for callback in list(self.callback_handler.callbacks):
            if type(callback).__name__ in ("PrinterCallback", "DefaultFlowCallback", "ProgressCallback"):
                self.remove_callback(callback)
        self.add_callback(_Flow(self))

    def go_on_from(self, checkpoint: Path, progress: Progress) -> None:
        """An earlier life has come so far."""
        self.progress = self._first = progress
        set_peft_model_state_dict(self.model, read_weights(checkpoint))
        if (checkpoint / _BEST).is_dir():
            self.best = read_weights(checkpoint / _BEST)

    @property
    def tokens(self) -> int:
        """Read so far, over the whole run."""
        return self._tokens[self.progress.step]

    @property
    def tokens_per_s(self) -> float:
        """Since this process began to train."""
        return (self.tokens - self._tokens[self._first.step]) / max(time.monotonic() - self._began, 1e-9)

    @property
    def is_over(self) -> bool:
        """Nothing is left to train: all steps are done, or it got no better for long enough."""
        return self.progress.step >= self.plan.steps or self.has_stopped_early

    @property
    def has_stopped_early(self) -> bool:
        """It got no better for long enough."""
        after = self.recipe.early_stop_after
        return after is not None and self.progress.misses >= after

    def adapter_state(self) -> dict[str, Any]:
        """The adapter's weights as PEFT names them. Each worker has all of them, also where the base is shared out."""
        state = get_peft_model_state_dict(self.accelerator.unwrap_model(self.model), save_embedding_layers=False)
        return {name: tensor.detach().to("cpu", copy=True) for name, tensor in state.items()}

    def finished_state(self) -> dict[str, Any]:
        """The weights to keep: the best where they were looked for, else the last."""
        if self.recipe.early_stop_after is not None and self.best is not None:
            return self.best
        return self.adapter_state()

    def keep_time(self, step: int) -> None:
        """Note how far it is."""
        self.progress = replace(
            self.progress,
            step=step,
            seconds=self._first.seconds + time.monotonic() - self._began,
            peak_memory_bytes=max(self._first.peak_memory_bytes, peak_memory_bytes()),
        )

    # What TRL and transformers call.

    def _prepare_dataset(self, dataset: Any, *_: Any, **__: Any) -> Any:
        """Rows are tokens already."""
        return dataset

    def _send_telemetry(self) -> None:
        """Nothing about a run leaves for anywhere."""

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        return self.plan.order

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """After each step."""
        if "loss" not in logs:
            return
        if not math.isfinite(logs["loss"]) or not math.isfinite(logs["grad_norm"]):
            raise UserError(
                f"step {self.state.global_step}: the loss is no longer a number; lower train.learning_rate, or take "
                "`train.dtype: float32`, and go on from the last checkpoint or begin again"
            )
        self.progress = replace(self.progress, loss=logs["loss"])
        self.state.log_history.append({**logs, "step": self.state.global_step})
        self.watch.step(
            Step(
                number=self.state.global_step,
                loss=logs["loss"],
                learning_rate=logs["learning_rate"],
                grad_norm=logs["grad_norm"],
                tokens=self.tokens,
                tokens_per_s=self.tokens_per_s,
            )
        )

    def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
        """The held-out loss; the best weights are remembered."""
        rows, mine = self.eval_dataset, slice(self.accelerator.process_index, None, self.accelerator.num_processes)
        size = self.args.per_device_train_batch_size
        numbers = sorted(range(len(rows)), key=lambda row: len(rows[row][self.length_column]))[mine]
        # Each worker runs as often as any: they talk with each other in every pass, under FSDP and otherwise.
        rounds = math.ceil(math.ceil(len(rows) / self.accelerator.num_processes) / size)
        total = torch.zeros(2, device=self.accelerator.device, dtype=torch.float64)
        self.model.eval()
        with torch.no_grad(), self.compute_loss_context_manager():
            for begin in range(0, rounds * size, size):
                chosen = numbers[begin : begin + size]
                batch = self._prepare_inputs(self.data_collator([rows[row] for row in chosen or numbers[:1] or [0]]))
                found = self.loss_and_weight(self.model_wrapped, batch)
                total += found if chosen else 0
        self.model.train()
        loss, weight = self.accelerator.reduce(total, reduction="sum").tolist()
        return self._judge(loss / weight)

    def _judge(self, loss: float) -> dict[str, float]:
        if self.progress.best_loss is None or loss < self.progress.best_loss:
            self.progress = replace(self.progress, best_loss=loss, misses=0)
            if self.recipe.early_stop_after is not None:
                self.best = self.adapter_state()
        else:
            self.progress = replace(self.progress, misses=self.progress.misses + 1)
        if self.has_stopped_early:
            self.control.should_training_stop = True
        self.state.log_history.append({"eval_loss": loss, "step": self.state.global_step})
        self.watch.measured({"eval_loss": loss}, self.state.global_step)
        return {"eval_loss": loss}

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        """Ours in place of theirs: whole or not there."""
        is_first = self.accelerator.is_main_process
        (where,) = broadcast_object_list([str(self.checkpoints.partial(self.progress.step)) if is_first else None])
        partial = Path(where)
        state = self.adapter_state()
        self._save_optimizer_and_scheduler(where)
        self._save_rng_state(where)
        self.accelerator.wait_for_everyone()
        if is_first:
            write_weights(state, partial)
            if self.best is not None:
                (partial / _BEST).mkdir()
                write_weights(self.best, partial / _BEST)
            self.state.save_to_json(str(partial / "trainer_state.json"))
            self.checkpoints.commit(partial, self.progress)
        self.accelerator.wait_for_everyone()

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        """Done in `go_on_from`."""

    def _get_num_items_in_batch(self, batch_samples: list[Any], device: Any) -> Any:
        """What a step's loss is divided by, over all its micro batches and workers."""
        count = torch.tensor(sum(self.weight_of(batch) for batch in batch_samples), device=device)
        return self.accelerator.reduce(count, reduction="sum")

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """This micro batch's part of the step's loss. Gradients are averaged over workers, hence the factor."""
        loss = self.loss_and_weight(model, inputs)[0]
        return loss / num_items_in_batch * self.accelerator.num_processes


class _Flow(TrainerCallback):  # type: ignore[misc]
    """When to log, measure, save and end."""

    def __init__(self, loop: Any) -> None:
        self._loop = loop

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> Any:
        """A step is done."""
        loop, recipe, step = self._loop, self._loop.recipe, state.global_step
        loop.keep_time(step)
        is_last = step >= loop.plan.steps
        every = recipe.evaluate_every_steps
        control.should_log = True
        control.should_evaluate = every is not None and loop.eval_dataset is not None and step % every == 0
        control.should_save = step % recipe.checkpoint_every_steps == 0
        if not is_last and self._told_to_stop():
            loop.was_interrupted = control.should_save = control.should_training_stop = True
        control.should_training_stop = control.should_training_stop or is_last
        return control

    def on_epoch_end(self, args: Any, state: Any, control: Any, **_: Any) -> Any:
        """All is done after the last step already."""
        control.should_log = control.should_evaluate = control.should_save = False
        return control

    def _told_to_stop(self) -> bool:
        """Any worker that is told, stops all: after the same step."""
        told = bool(self._loop.stop())
        accelerator = self._loop.accelerator
        if accelerator.num_processes == 1:
            return told
        return bool(accelerator.reduce(torch.tensor(float(told), device=accelerator.device), reduction="sum").item())


def peak_memory_bytes() -> int:
    """Of the GPU where there is one, else of this process."""
    if torch.cuda.is_available():
        return int(torch.cuda.max_memory_allocated())
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
