"""Trains an adapter: from prepared rows to a folder that an engine loads."""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cluster.errors import FenzhenError, UserError
from training.adapter import FACTS_FILE, write_adapter
from training.base_model import hush_bitsandbytes
from training.checkpoints import Checkpoints, Identity, identity_of
from training.prepared import Prepared
from training.recipe import Recipe
from training.run_folder import RunFolder
from training.watch import Step, Watch


@dataclass(frozen=True, slots=True)
class Fitted:
    """What training has made."""

    adapter: Path
    steps: int
    tokens: int
    """Read over the whole run, padding left out."""
    seconds: float
    """In the training loop, all lives of the run together."""
    tokens_per_s: float
    peak_memory_bytes: int
    """Of the process, or of the GPU where there is one; the largest of all lives."""
    final_loss: float
    """Of the last step: mean over the answer tokens, or the pairs, nats."""
    stopped_early: bool


class Interrupted(FenzhenError):
    """Training was told to stop: a checkpoint was saved, and the same run goes on from there."""


def fit(
    recipe: Recipe, prepared: Prepared, base: Path, run: RunFolder, watch: Watch, stop: Callable[[], bool]
) -> Fitted:
    """Train by a recipe, in this process, and go on from the newest whole checkpoint if there is one.

    Among workers that torch.distributed knows, each calls this with the same arguments and the same folder: they train
    together, and the first alone writes and tells `watch`.
    """
    identity = identity_of(recipe, prepared, base)
    if (made := made_before(run.adapter, identity)) is not None:
        return made
    with _plain_failures():
        hush_bitsandbytes()
        # torch and TRL take ten seconds and more to import: only now.
        from training.lesson import Lesson

        lesson = Lesson(recipe, prepared, base, run.checkpoints)
        watch = watch if lesson.is_first else _Nobody()
        checkpoints = Checkpoints(run.checkpoints, identity, recipe.train.keep_checkpoints)
        trainer, config = lesson.trainer(checkpoints, watch, stop)
        found = checkpoints.newest(watch.note)
        if found is not None:
            trainer.go_on_from(*found)
        if not trainer.is_over:
            watch.began(trainer.plan.steps, trainer.progress.step + 1)
            trainer.train(resume_from_checkpoint=str(found[0]) if found is not None else None)
        if trainer.was_interrupted:
            raise Interrupted(
                f"training was stopped after step {trainer.progress.step} of {trainer.plan.steps}; "
                "a checkpoint of it was saved, and --resume goes on from there"
            )
        fitted = Fitted(
            adapter=run.adapter,
            steps=trainer.progress.step,
            tokens=trainer.tokens,
            seconds=trainer.progress.seconds,
            tokens_per_s=trainer.tokens / max(trainer.progress.seconds, 1e-9),
            peak_memory_bytes=trainer.progress.peak_memory_bytes,
            final_loss=trainer.progress.loss,
            stopped_early=trainer.has_stopped_early and trainer.progress.step < trainer.plan.steps,
        )
        state = trainer.finished_state()
        if lesson.is_first:
            facts = {**asdict(fitted), **asdict(identity)}
            del facts["adapter"]
            write_adapter(state, config, lesson.tokenizer, _name_of(recipe), facts, run.adapter)
        trainer.accelerator.wait_for_everyone()
    return fitted


def made_before(adapter: Path, identity: Identity) -> Fitted | None:
    """What an earlier life finished. Folders come to this name only as a whole."""
    if not adapter.is_dir():
        return None
    try:
        facts: dict[str, Any] = json.loads((adapter / FACTS_FILE).read_bytes())
        known = Identity(facts.pop("recipe_sha256"), facts.pop("data_sha256"))
        made = Fitted(adapter=adapter, **facts)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{adapter} was not made by this run, or it was changed: move it away") from error
    if known != identity:
        raise UserError(f"{adapter} was made by another recipe or of other rows: begin a run of its own")
    return made


def _name_of(recipe: Recipe) -> str:
    """What the adapter calls its base: a name, which holds on other machines as well."""
    return Path(recipe.base).name


@contextmanager
def _plain_failures() -> Iterator[None]:
    """Memory that ran out is told with what to change."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        # torch.OutOfMemoryError is a RuntimeError; on the CPU its allocator says so in words.
        if not isinstance(error, MemoryError) and not any(
            sign in str(error) for sign in ("out of memory", "can't allocate memory", "not enough memory")
        ):
            raise
        raise UserError(
            "memory ran out: take a smaller train.micro_batch_size, `train.gradient_checkpointing: true`, "
            "`quantise_base: nf4`, or a smaller data.max_tokens; the run goes on from its last checkpoint with --resume"
        ) from error


class _Nobody:
    """The watch of workers that are not the first."""

    def began(self, steps: int, first_step: int) -> None: ...

    def step(self, step: Step) -> None: ...

    def measured(self, results: Mapping[str, float], step: int) -> None: ...

    def note(self, line: str) -> None: ...
