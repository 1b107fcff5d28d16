"""What the tests of training on a cluster stand on: a tiny base, rows, a recipe, and a watch that remembers."""

import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cluster.errors import UserError
from cluster.ray_link import Link
from training.cluster_worker import fit_in_worker
from training.prepared import Prepared
from training.recipe import Recipe
from training.rows import Message, Row
from training.watch import Step


def recipe_of(base: Path, train: Mapping[str, Any], cluster: Mapping[str, Any] | None = None) -> Recipe:
    """Eight rows a step over all workers, in float32."""
    return Recipe.model_validate(
        {
            "name": "tiny",
            "base": str(base),
            "data": {"rows": ["rows.jsonl"], "max_tokens": 256},
            "train": {"batch_size": 8, "dtype": "float32", "learning_rate": 1e-3, **train},
            "cluster": cluster,
        }
    )


def long_recipe(base: Path, strategy: str | None = None) -> Recipe:
    """Long enough to be disturbed several times; without a strategy for one process."""
    return recipe_of(
        base,
        {"max_steps": 300, "epochs": 100, "checkpoint_every_steps": 10, "evaluate_every_steps": 8},
        {"workers": 2, "gpus_per_worker": 0, "max_failures": 1, "strategy": strategy} if strategy else None,
    )


def some_rows(count: int = 45) -> Prepared:
    """Rows of different lengths; their number is no multiple of a batch."""
    chance = random.Random(1)
    rows = tuple(
        Row(
            (
                Message("user", f"How much is {number} times {number}? {'x' * chance.randint(0, 30)}"),
                Message("assistant", f"It is {number * number}. {'y' * chance.randint(0, 20)}"),
            ),
            source=f"rows.jsonl:{number}",
        )
        for number in range(count)
    )
    return Prepared(train=rows, test=rows[:9], sha256={"train": "1", "test": "2"})


@dataclass
class Witness:
    """A watch that remembers, and does something at some steps."""

    acts: Mapping[int, Callable[[], None]] = field(default_factory=dict)
    first_steps: list[int] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    results: dict[int, float] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def began(self, steps: int, first_step: int) -> None:
        """Remember."""
        self.first_steps.append(first_step)

    def step(self, step: Step) -> None:
        """Remember, and act."""
        self.steps.append(step)
        self.acts.get(step.number, lambda: None)()

    def measured(self, results: Mapping[str, float], step: int) -> None:
        """Remember."""
        self.results[step] = results["eval_loss"]

    def note(self, line: str) -> None:
        """Remember."""
        self.notes.append(line)


def refuse_in_one(arguments: Mapping[str, str], link: Link) -> None:
    """One worker finds that something must be mended; the other waits for it in vain."""
    from torch import distributed

    link.tell("begun")
    if distributed.get_rank() == 1:
        raise UserError(arguments["sentence"])
    distributed.barrier()


def fit_slowly_and_weigh(arguments: Mapping[str, str], link: Link) -> tuple[str, Any]:
    """Train as a worker does, a few steps a second, and note at the first how much of the model this one holds."""
    from training.loop import Loop

    keep_time = Loop.keep_time

    def weigh(self: Any, step: int) -> None:
        keep_time(self, step)
        time.sleep(0.2)
        if step == 1:
            parameters = list(self.model.parameters())
            mine = sum(each.to_local().numel() if hasattr(each, "to_local") else each.numel() for each in parameters)
            link.tell(("note", f"holds {mine / sum(each.numel() for each in parameters):.3f}"))

    Loop.keep_time = weigh  # type: ignore[method-assign]
    return fit_in_worker(arguments, link)
