"""A recipe: one small YAML file that says how rows become an adapter, as closed and frozen values."""

import difflib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from cluster.closed import Closed, Name
from cluster.errors import UserError
from registry.version_gates import gate_of


class DataRecipe(Closed):
    """Which rows."""

    rows: tuple[Path, ...] = Field(min_length=1, description="Files of rows, JSONL or Parquet; relative to the recipe.")
    test_rows: tuple[Path, ...] = Field(
        default=(), description="Held-out rows. Without them a part of `rows` is held out."
    )
    test_ratio: float = Field(default=0.2, gt=0, lt=0.9, description="How large a part; whole groups stay together.")
    remember_rows: tuple[Path, ...] = Field(
        default=(),
        description="Everyday rows that are learnt from beside `rows`, so that little is forgotten; never held out, "
        "never asked.",
    )
    general_rows: Path | None = Field(
        default=None,
        description="Everyday questions that show what is forgotten. [default: the set that comes with us]",
    )
    max_tokens: int = Field(default=1024, ge=16, description="A row that is longer, template included, is too long.")
    too_long: Literal["refuse", "leave_out"] = Field(default="refuse", description="What becomes of such rows.")
    duplicates: Literal["refuse", "leave_out"] = Field(
        default="leave_out", description="Rows said before, and training rows that nearly stand in the held-out part."
    )
    personal_data: Literal["refuse", "mask", "leave_out", "allow"] = Field(
        default="refuse", description="Identity numbers, phones, names that are announced, and the like."
    )
    licence: str = Field(default="not stated", max_length=200, description="Of the rows: the model card repeats it.")


class LoraRecipe(Closed):
    """The adapter's shape."""

    rank: int = Field(default=8, ge=1, le=256, description="Its pool's `max_adapter_rank` must be as large.")
    alpha: float = Field(default=16, gt=0, description="What the adapter adds is scaled by alpha / rank.")
    dropout_ratio: float = Field(default=0.0, ge=0, lt=1, description="Share of its inputs left out at random.")
    targets: Literal["all-linear"] | tuple[str, ...] = Field(
        default="all-linear", description="Names of the layers to adapt; `all-linear`: all but the output layer."
    )


class TrainRecipe(Closed):
    """How it is trained."""

    epochs: float = Field(default=3, gt=0, le=1000, description="How often each row is read; 0.5: half of them once.")
    max_steps: int | None = Field(default=None, ge=1, description="Ends earlier, whatever `epochs` says.")
    batch_size: int = Field(default=8, ge=1, description="Rows a step, over all workers.")
    micro_batch_size: int | None = Field(
        default=None, ge=1, description="Rows in memory at a time, each worker; fewer need less memory. [default: all]"
    )
    learning_rate: float = Field(
        default=2e-4, gt=0, le=1, description="At its highest. 1e-4 to 5e-4 for LoRA, 5e-6 to 5e-5 for DPO."
    )
    schedule: Literal["constant", "linear", "cosine"] = Field(
        default="cosine", description="How the learning rate falls after the warm-up; `constant`: not at all."
    )
    warmup_ratio: float = Field(
        default=0.03, ge=0, le=1, description="Share of the steps in which the learning rate rises from 0."
    )
    weight_decay: float = Field(default=0.0, ge=0, description="AdamW's; an adapter is small already.")
    max_grad_norm: float = Field(default=1.0, gt=0, description="Longer gradients are shortened to it.")
    packing: bool = Field(default=False, description="Short rows share a sequence of `data.max_tokens`.")
    gradient_checkpointing: bool = Field(default=False, description="Less memory for about a third more time.")
    dtype: Literal["auto", "bfloat16", "float32"] = Field(
        default="auto", description="`auto`: bfloat16 where the processor calculates in it."
    )
    seed: int = Field(
        default=1,
        ge=0,
        description="Of the split, the order of rows and the adapter's first weights: same seed, same run.",
    )
    checkpoint_every_steps: int = Field(default=20, ge=1, description="A killed run loses at most so many steps.")
    keep_checkpoints: int = Field(default=2, ge=1, description="The newest; older ones are removed.")
    evaluate_every_steps: int | None = Field(default=None, ge=1, description="Held-out loss on the way.")
    early_stop_after: int | None = Field(
        default=None, ge=1, description="Ends when so many held-out losses in a row were no better; the best is kept."
    )
    dpo_beta: float = Field(default=0.1, gt=0, description="DPO only: how near it stays to the base.")


class ClusterRecipe(Closed):
    """Workers of a Ray Train job. Without this section training happens in this process."""

    workers: int = Field(ge=1, le=1024, description="Processes that share out each step's rows.")
    gpus_per_worker: float = Field(default=1, ge=0, description="0: on CPUs.")
    cpus_per_worker: int = Field(default=1, ge=1, description="Cores that Ray sets aside for each.")
    strategy: Literal["data_parallel", "fsdp"] = Field(
        default="data_parallel", description="`fsdp`: the base is split over the workers, where a GPU is too small."
    )
    storage: Path | None = Field(default=None, description="A folder that all workers see. [default: the run folder]")
    max_failures: int = Field(default=2, ge=0, description="So often a lost worker is replaced.")


class EvaluationRecipe(Closed):
    """How it is measured, before and after."""

    metric: str = Field(
        default="exact_match",
        description="The one that counts most: loss, exact_match, f1, rouge_l, field_accuracy, ...",
    )
    format: Literal["text", "json"] = Field(default="text", description="`json`: answers must be a JSON object.")
    json_keys: tuple[str, ...] = Field(default=(), description="Keys that it must have.")
    max_rows: int = Field(default=200, ge=1, description="Held-out rows that are answered; losses take all.")
    max_general_rows: int = Field(
        default=50, ge=0, description="Everyday questions whose loss is taken; 0: what is forgotten is not looked at."
    )
    max_new_tokens: int = Field(default=128, ge=1, description="An answer that is longer is cut off.")
    batch_size: int = Field(default=8, ge=1, description="Rows at a time.")
    judge_model: Name | None = Field(
        default=None, description="A model of the running stack that says which of two answers is better."
    )
    confidence_ratio: float = Field(default=0.95, ge=0.5, lt=1, description="Of the bootstrap intervals.")


class Recipe(Closed):
    """All of a recipe."""

    name: Name = Field(description="What the adapter is published under, and callers ask for.")
    base: str = Field(min_length=1, description="A model of fenzhen.yaml, or a folder with weights.")
    objective: Literal["sft", "dpo"] = Field(
        default="sft", description="`sft`: answers are learnt. `dpo`: the better of two answers becomes likelier."
    )
    quantise_base: Literal["none", "nf4", "int8"] = Field(
        default="none", description="QLoRA: the base in 4 or 8 bit while it is trained on."
    )
    data: DataRecipe = Field(description="Which rows: the section below.")
    lora: LoraRecipe = Field(default=LoraRecipe(), description="The adapter's shape.")
    train: TrainRecipe = Field(default=TrainRecipe(), description="How it is trained.")
    cluster: ClusterRecipe | None = Field(default=None, description="With it a Ray Train job does the work.")
    evaluation: EvaluationRecipe = Field(default=EvaluationRecipe(), description="How it is measured.")
    gates: Annotated[
        tuple[str, ...],
        Field(
            description="Conditions for a canary: `exact_match >= 0.5`, `general_loss_rise_ratio <= 0.1`. Without any: "
            "surely better by `metric`, and little forgotten."
        ),
    ] = ()

    @property
    def figures(self) -> tuple[str, ...]:
        """What its evaluation measures, by name."""
        wanted = self.evaluation
        return (
            "loss",
            "exact_match",
            "f1",
            "rouge_l",
            "truncated_ratio",
            *(("format_valid_ratio", "field_accuracy") if wanted.format == "json" else ()),
            *(f"field_accuracy.{key}" for key in wanted.json_keys),
            *(("general_loss",) if wanted.max_general_rows else ()),
            *(("preference_accuracy",) if self.objective == "dpo" else ()),
            *(("judge_win_ratio",) if wanted.judge_model else ()),
        )

    @model_validator(mode="after")
    def _fits_together(self) -> "Recipe":
        # All at once, each with the key that it is about: the reader turns that into a line of the file.
        if problems := [*self._about_training(), *self._about_rows(), *self._about_figures()]:
            raise ValueError("\n".join(problems))
        return self

    def _about_training(self) -> Iterator[str]:
        train, cluster = self.train, self.cluster
        if self.name == "auto":
            yield "name: 'auto' is the router's own word, choose another name"
        workers = cluster.workers if cluster else 1
        if train.batch_size % workers:
            yield f"train.batch_size: {train.batch_size} rows a step cannot be shared out evenly by {workers} workers"
        elif train.micro_batch_size is not None and train.batch_size % (workers * train.micro_batch_size):
            by = f" times {workers} workers" if workers > 1 else ""
            yield f"train.batch_size: must be a multiple of micro_batch_size ({train.micro_batch_size}){by}"
        if train.early_stop_after is not None and train.evaluate_every_steps is None:
            yield "train.early_stop_after: needs evaluate_every_steps, which says when the held-out loss is measured"
        if self.objective == "dpo" and train.packing:
            yield "train.packing: is for sft; pairs lie side by side as they are"
        if cluster is not None and cluster.strategy == "fsdp" and self.quantise_base != "none":
            yield "cluster.strategy: fsdp splits a base in 16 or 32 bit; take data_parallel, or quantise_base: none"
        if cluster is not None:
            yield from _about_workers(cluster)

    def _about_rows(self) -> Iterator[str]:
        seen: set[Path] = set()
        for key, paths in (("rows", self.data.rows), ("test_rows", self.data.test_rows)):
            for number, path in enumerate(paths):
                if path in seen:
                    yield f"data.{key}[{number}]: {path.name} stands there twice: what is learnt cannot be held out"
                seen.add(path)
        for number, path in enumerate(self.data.remember_rows):
            if path in seen:
                yield f"data.remember_rows[{number}]: {path.name} stands there twice: name it once"
            seen.add(path)
        if self.objective == "dpo" and self.data.remember_rows:
            yield "data.remember_rows: is for sft; an everyday row has one answer, and dpo learns from pairs"

    def _about_figures(self) -> Iterator[str]:
        wanted = self.evaluation
        if wanted.json_keys and wanted.format != "json":
            yield "evaluation.json_keys: need `format: json`"
        if wanted.metric not in self.figures:
            near = _nearest(wanted.metric, self.figures)
            yield f"evaluation.metric: {wanted.metric!r} is not measured; {near}"
        results = _results_of(self.figures)
        for number, text in enumerate(self.gates):
            try:
                name = gate_of(text, {}).metric
            except UserError as error:
                yield f"gates[{number}]: {error}"
                continue
            if name not in results:
                yield f"gates[{number}]: {name} is not measured by this recipe; {_nearest(name, results)}"


def _about_workers(cluster: ClusterRecipe) -> Iterator[str]:
    if cluster.gpus_per_worker > 1:
        yield "cluster.gpus_per_worker: a worker calculates on one GPU; take more workers of one GPU each"
    if cluster.strategy == "fsdp" and cluster.workers == 1:
        yield "cluster.workers: fsdp splits the base over workers, so there must be 2 or more"
    if cluster.strategy == "fsdp" and 0 < cluster.gpus_per_worker < 1:
        yield "cluster.gpus_per_worker: fsdp needs a whole GPU for each worker"


def _results_of(figures: Sequence[str]) -> list[str]:
    """The names that gates know: `training.evaluation.results_of` makes them."""
    ends = ("", "_before", "_gain", "_gain_ci_low", "_gain_ci_high")
    rise = ["general_loss_rise_ratio"] if "general_loss" in figures else []
    return [*(figure + end for figure in figures for end in ends), *rise, "test_rows"]


def _nearest(name: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    plain = [one for one in known if not one.endswith(("_before", "_gain", "_gain_ci_low", "_gain_ci_high"))]
    return f"did you mean {near[0]}?" if near else f"there are {', '.join(plain)}"
