"""What tests of the trainer stand on: rows, a recipe, a watch that remembers, and a life of a run that can be ended."""

import itertools
import json
import os
import random
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from training.fitting import Fitted, Interrupted, fit
from training.prepared import Prepared
from training.recipe import Recipe
from training.rows import Message, Preference, Row
from training.run_folder import RunFolder
from training.watch import Step

INTERRUPTED = 75
"""Exit code of a life that was told to stop, and has saved."""


def recipe_of(train: Mapping[str, Any] | None = None, **more: Any) -> Recipe:
    """Four rows a step, in float32 unless told otherwise."""
    return Recipe.model_validate(
        {
            "name": "tiny",
            "base": "models/tiny",
            "data": {"rows": ["rows.jsonl"], "max_tokens": 128},
            "train": {"batch_size": 4, "dtype": "float32", "learning_rate": 5e-3, **(train or {})},
            **more,
        }
    )


def rows_of(count: int, seed: int = 1) -> tuple[Row, ...]:
    """Sums, with words around them so that no two rows are of one length."""
    chance = random.Random(seed)
    return tuple(
        Row(
            (
                Message("user", f"{number} + {number}{' please' * chance.randint(0, 3)}"),
                Message("assistant", f"It is {number * 2}{'.' * chance.randint(1, 12)}"),
            ),
            source=f"rows.jsonl:{number}",
        )
        for number in range(count)
    )


def prepared_of(count: int = 14) -> Prepared:
    """Rows whose number is no multiple of a batch."""
    return Prepared(train=rows_of(count), test=rows_of(6, seed=2), sha256={"train": "1", "test": "2"})


def pairs_of(count: int) -> tuple[Preference, ...]:
    """Short answers are better."""
    return tuple(
        Preference((Message("user", f"{n} + {n}"),), f"{n * 2}", f"It is {n * 2}, I think", f"pairs.jsonl:{n}")
        for n in range(count)
    )


@dataclass
class Witness:
    """A watch that remembers; it may stop the run at a step."""

    stop_at: int | None = None
    first_steps: list[int] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    results: list[tuple[int, float]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def losses(self) -> dict[int, float]:
        """By step; a step that was done again counts as it was done last."""
        return {step.number: step.loss for step in self.steps}

    def began(self, steps: int, first_step: int) -> None:
        self.first_steps.append(first_step)

    def step(self, step: Step) -> None:
        self.steps.append(step)

    def measured(self, results: Mapping[str, float], step: int) -> None:
        self.results.append((step, results["eval_loss"]))

    def note(self, line: str) -> None:
        self.notes.append(line)

    def stop(self) -> bool:
        # Asked before the step is told.
        return self.stop_at is not None and len(self.steps) + 1 >= self.stop_at

    def fit(self, recipe: Recipe, prepared: Prepared, base: Path, run: Path) -> Fitted:
        """Train under this watch."""
        return fit(recipe, prepared, base, RunFolder(run), self, self.stop)


class Diary(Witness):
    """Writes each step to a file at once, for the process that ends this one."""

    def __init__(self, path: Path, is_told: Callable[[], bool]) -> None:
        super().__init__()
        self._file, self._is_told = path.open("a", encoding="utf-8"), is_told

    def step(self, step: Step) -> None:
        print(json.dumps([step.number, step.loss]), file=self._file, flush=True)

    def stop(self) -> bool:
        return self._is_told()


def _die_at(name: str, number: int) -> None:
    owner: Any = os if name == "fsync" else Path
    call, calls = getattr(owner, name), itertools.count(1)

    def dying(*given: Any, **named: Any) -> Any:
        if next(calls) == number:
            os.kill(os.getpid(), signal.SIGKILL)
        return call(*given, **named)

    setattr(owner, name, dying)


def live(recipe: str, base: str, run: str, diary: str, dies_at: tuple[str, int] | None) -> None:
    """One life of a run, in a process of its own. SIGTERM stops it after the step it is in.

    `dies_at` ("fsync", 5): it kills itself instead of calling this the fifth time.
    """
    import torch

    if dies_at is not None:
        _die_at(*dies_at)

    torch.set_num_threads(1)
    told: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: told.append(number))
    witness = Diary(Path(diary), lambda: bool(told))
    try:
        witness.fit(Recipe.model_validate_json(recipe), prepared_of(), Path(base), Path(run))
    except Interrupted:
        raise SystemExit(INTERRUPTED) from None
