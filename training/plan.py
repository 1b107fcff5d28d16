"""What a run would take, worked out before its base is loaded: tokens, steps, memory, disk and time.

Tokens and steps are counted. Memory and time are estimates: `docs/training.md` says how far off they were where they
were compared with runs.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from cluster.errors import UserError
from cluster.machine import free_disk_bytes, gigabytes, read_gpus, read_memory
from training.base_shape import BaseShape, adapted_layers, shape_of
from training.batches import bins_of, order_of, steps_of
from training.prepared import Prepared
from training.preparing import TokenCounter
from training.recipe import Recipe
from training.rows import Message, Row
from training.run_state import BaseNote

# Bytes of one parameter as it lies in memory; with bitsandbytes' scales: one number for 64, those quantised again.
_BYTES: Final[Mapping[str, float]] = {"bfloat16": 2.0, "float32": 4.0, "nf4": 0.53, "int8": 1.02}
# Python, torch, transformers, TRL and MLflow before anything of a model is there: measured.
_PROCESS_BYTES: Final = 950_000_000
# An adapter's parameter: itself, its gradient and AdamW's two averages, all in float32; on disk without the gradient.
_ADAPTER_BYTES: Final = 16
_CHECKPOINT_BYTES: Final = 12
# What backpropagation keeps of one token in one layer, in numbers of `hidden` and of `intermediate`, and the bytes of
# one of them, of which some are float32 in any case: measured.
_KEPT_HIDDEN: Final = 16
_KEPT_INTERMEDIATE: Final = 6
_KEPT_BYTES: Final[Mapping[str, float]] = {"bfloat16": 2.0, "float32": 3.4}
# `training.answer_loss` has the logits of so many bytes at a time, and twice that while it works on them.
_LOGITS_BYTES: Final = 3 * 128 * 1024**2
# A product of matrices for each direction; weights of the base have no gradients. Recomputing is one forward more.
_PASSES: Final = 2
_PASSES_RECOMPUTED: Final = 3
# What a step takes beside its products of matrices, as a factor of them; a quantised base has to be unfolded, too:
# measured.
_OVERHEAD: Final = 1.8
_OVERHEAD_QUANTISED: Final = 2.7
_LOADING_S: Final = 15.0
# So many rows are counted one by one; of more only so many, evenly spaced.
_MOST_COUNTED: Final = 5000
_REPORT_BYTES: Final = 50_000_000
# Beyond it a product of matrices gets no faster.
_MOST_PROBED: Final = 512

Speed = Callable[[int], float]
"""Floating-point operations a second of products of matrices with so many rows."""


@dataclass(frozen=True, slots=True)
class Plan:
    """A run before it begins."""

    base: str
    rows: int
    held_out: int
    everyday: int
    tokens_per_epoch: int
    tokens: int
    """Read in all, padding left out."""
    longest: int
    """Tokens of the longest row."""
    is_sampled: bool
    """Whether tokens were counted in a part of the rows only."""
    steps: int
    parameters: int
    trainable: int
    memory_bytes: int
    least_memory_bytes: int
    """Surely needed: the weights, and the adapter with what training it keeps."""
    available_bytes: int
    on_gpu: bool
    disk_bytes: int
    train_s: float
    evaluate_s: float
    """Before and after together."""
    workers: int

    def lines(self) -> tuple[str, ...]:
        """For people."""
        count = "about " if self.is_sampled else ""
        share_ratio = self.trainable / self.parameters
        where = "GPU memory" if self.on_gpu else "memory"
        short = " - likely too little" if self.memory_bytes > self.available_bytes else ""
        each = f", on {self.workers} workers" if self.workers > 1 else ""
        return (
            f"base       {self.base}: {self.parameters:,} parameters, of which none change",
            f"adapter    {self.trainable:,} parameters are trained ({share_ratio:.2%} as many)",
            f"rows       {self.rows:,} to learn from, {self.held_out:,} held out, {self.everyday:,} of everyday",
            f"tokens     {count}{self.tokens_per_epoch:,} an epoch, {count}{self.tokens:,} in all; "
            f"the longest row has {self.longest:,}",
            f"steps      {self.steps:,}{each}",
            f"{where:<10} about {gigabytes(self.memory_bytes)} of {gigabytes(self.available_bytes)} available{short}",
            f"disk       {gigabytes(self.disk_bytes)}",
            f"time       about {time_words(self.train_s)} to train, {time_words(self.evaluate_s)} to measure before "
            "and after; each may take half or twice as long",
        )

    def document(self) -> dict[str, Any]:
        """As JSON."""
        return {name: getattr(self, name) for name in self.__slots__}

    def require_fits(self, run_folder: Path, free_bytes: Callable[[Path], int] = free_disk_bytes) -> None:
        """Refuse what surely cannot end well on this machine. Raises UserError with what to change."""
        if self.least_memory_bytes > self.available_bytes:
            raise UserError(
                f"the base and its adapter alone need {gigabytes(self.least_memory_bytes)} of "
                f"{'GPU ' if self.on_gpu else ''}memory and {gigabytes(self.available_bytes)} are available: take "
                "`quantise_base: nf4`, a smaller base, or workers with more (the section `cluster`)"
            )
        if (free := free_bytes(run_folder)) < self.disk_bytes:
            raise UserError(
                f"{run_folder} has {gigabytes(free)} free and {gigabytes(self.disk_bytes)} are needed: make room, "
                "lower train.keep_checkpoints, or name another folder with --output"
            )


def plan_of(recipe: Recipe, prepared: Prepared, base: BaseNote, tokens: TokenCounter) -> Plan:
    """Count, and measure for a moment how fast this machine is. Raises UserError if no layer is as the recipe says."""
    # Imported late: torch takes seconds, and what is wrong with rows was told before.
    from training.machine_speed import multiply_flops_per_s, number_type_of

    shape = shape_of(base.folder)
    adapted = adapted_layers(shape, recipe.lora.targets, base.folder)
    dtype = number_type_of(recipe.train.dtype)
    gpus, _ = read_gpus()

    def speed(rows: int) -> float:
        return multiply_flops_per_s(min(rows, _MOST_PROBED), shape.hidden, shape.intermediate, recipe.train.dtype)

    memory = gpus[0].memory_bytes if gpus and gpus[0].memory_bytes else read_memory(Path("/")).available_bytes
    return estimated(recipe, prepared, base, shape, adapted, tokens, speed, dtype, memory, on_gpu=bool(gpus))


def estimated(
    recipe: Recipe,
    prepared: Prepared,
    base: BaseNote,
    shape: BaseShape,
    adapted: Sequence[tuple[int, int]],
    tokens: TokenCounter,
    speed: Speed,
    dtype: str,
    available_bytes: int,
    *,
    on_gpu: bool,
) -> Plan:
    """The plan, from what was counted and measured."""
    lengths, is_sampled = _lengths(_chats(prepared), tokens)
    train, workers = recipe.train, recipe.cluster.workers if recipe.cluster else 1
    steps = steps_of(len(lengths), train.epochs, train.batch_size, train.max_steps)
    order = order_of(lengths, train.batch_size, steps, train.seed)
    micro = train.micro_batch_size or train.batch_size // workers
    widest = _widest(lengths, order, micro, recipe.data.max_tokens if train.packing else None)
    trainable = sum(recipe.lora.rank * (outer + inner) for outer, inner in adapted)
    weights_bytes = _weights_bytes(shape, recipe.quantise_base, dtype)
    least = weights_bytes + trainable * _ADAPTER_BYTES + (0 if on_gpu else _PROCESS_BYTES // 2)
    # In DPO the better and the worse answer lie side by side.
    places = widest * (2 if recipe.objective == "dpo" else 1)
    kept = _kept_bytes(shape, places, dtype, is_recomputed=train.gradient_checkpointing)
    memory = weights_bytes + trainable * _ADAPTER_BYTES + kept + _logits_bytes(shape, places)
    total = sum(lengths[row] for row in order)
    # LoRA's own products, and DPO's second model, which is the base without the adapter.
    passes = (_PASSES_RECOMPUTED if train.gradient_checkpointing else _PASSES) + (1 if recipe.objective == "dpo" else 0)
    flops_per_token = 2.0 * (_multiplied(shape) + trainable)
    overhead = _OVERHEAD if recipe.quantise_base == "none" else _OVERHEAD_QUANTISED
    train_s = total * flops_per_token * passes * overhead / speed(widest) / workers
    return Plan(
        base=recipe.base,
        rows=len(lengths),
        held_out=len(prepared.test),
        everyday=len(prepared.general),
        tokens_per_epoch=sum(lengths),
        tokens=total,
        longest=max(lengths, default=0),
        is_sampled=is_sampled,
        steps=steps,
        parameters=shape.parameters,
        trainable=trainable,
        memory_bytes=round(memory + (0 if on_gpu else _PROCESS_BYTES)),
        least_memory_bytes=round(least),
        available_bytes=available_bytes,
        on_gpu=on_gpu,
        disk_bytes=trainable * (_CHECKPOINT_BYTES * (train.keep_checkpoints + 1) + 4) + _REPORT_BYTES,
        train_s=train_s + _LOADING_S,
        evaluate_s=_evaluate_s(recipe, prepared, shape, tokens, speed),
        workers=workers,
    )


def _multiplied(shape: BaseShape) -> int:
    """Parameters that each token is multiplied with; the output layer, which only answers need, is counted half."""
    return sum(outer * inner for outer, inner in shape.linear.values()) + shape.vocabulary * shape.hidden // 2


def _weights_bytes(shape: BaseShape, quantised: str, dtype: str) -> float:
    if quantised == "none":
        return shape.parameters * _BYTES[dtype]
    linear = sum(outer * inner for outer, inner in shape.linear.values())
    return linear * _BYTES[quantised] + (shape.parameters - linear) * _BYTES[dtype]


def _kept_bytes(shape: BaseShape, places: int, dtype: str, *, is_recomputed: bool) -> float:
    layer = (_KEPT_HIDDEN * shape.hidden + _KEPT_INTERMEDIATE * shape.intermediate) * _KEPT_BYTES[dtype]
    if is_recomputed:
        return places * (shape.layers * shape.hidden * _BYTES[dtype] + layer)
    return places * shape.layers * layer


def _logits_bytes(shape: BaseShape, places: int) -> float:
    return min(_LOGITS_BYTES, 3.0 * places * shape.vocabulary * 4)


def _widest(lengths: Sequence[int], order: Sequence[int], micro: int, capacity: int | None) -> int:
    """Places, padding included, of the largest micro batch."""
    widest = 0
    for begin in range(0, len(order), micro):
        chosen = [lengths[row] for row in order[begin : begin + micro]]
        if capacity is None:
            places = len(chosen) * max(chosen)
        else:
            bins = bins_of(chosen, capacity)
            places = len(bins) * max(sum(chosen[row] for row in each) for each in bins)
        widest = max(widest, places)
    return widest


def _chats(prepared: Prepared) -> list[tuple[Message, ...]]:
    pairs = [
        (*pair.prompt, Message("assistant", max(pair.chosen, pair.rejected, key=len))) for pair in prepared.preferences
    ]
    return [row.messages for row in prepared.train] + pairs


def _lengths(chats: Sequence[tuple[Message, ...]], tokens: TokenCounter) -> tuple[list[int], bool]:
    """Tokens of each chat. Of very many, those between two that were counted get the length of the first."""
    if len(chats) <= _MOST_COUNTED:
        return [tokens(chat) for chat in chats], False
    every = math.ceil(len(chats) / _MOST_COUNTED)
    counted = [tokens(chat) for chat in chats[::every]]
    return [counted[number // every] for number in range(len(chats))], True


def _evaluate_s(recipe: Recipe, prepared: Prepared, shape: BaseShape, tokens: TokenCounter, speed: Speed) -> float:
    wanted = recipe.evaluation
    answered = min(len(prepared.test), wanted.max_rows)
    general = min(len(prepared.general), wanted.max_general_rows)
    read = _tokens_of(prepared.test, len(prepared.test), tokens) + _tokens_of(prepared.general, general, tokens)
    flops_per_token = 2.0 * _multiplied(shape)
    # A base that was not taught rarely ends its answer before the limit; an adapter ends it as its rows do.
    batches = math.ceil(answered / wanted.batch_size)
    said = batches * wanted.batch_size * wanted.max_new_tokens
    once_s = read * flops_per_token / speed(_MOST_PROBED) + said * flops_per_token / speed(wanted.batch_size)
    return 2 * (_OVERHEAD * once_s + _LOADING_S)


def _tokens_of(rows: Sequence[Row], most: int, tokens: TokenCounter) -> float:
    """Tokens of the first rows, estimated from a few."""
    if not rows or not most:
        return 0.0
    few = rows[: min(len(rows), 100)]
    return sum(tokens(row.messages) for row in few) / len(few) * most


def time_words(seconds: float) -> str:
    """A time as people say it: `40 s`, `12 min`, `3.5 h`."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
