"""Who is told how a run goes: the progress bar, MLflow, a log. Several may be."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Step:
    """One step of the optimiser."""

    number: int
    """Counted from 1 over the whole run, resumed or not."""
    loss: float
    """Mean over the answer tokens of this step, nats."""
    learning_rate: float
    grad_norm: float
    tokens: int
    """Tokens read since the run began, padding left out, resumed or not."""
    tokens_per_s: float
    """Since this process began to train."""


class Watch(Protocol):
    """Told from the training loop: must return soon, and its own failure must not end a run."""

    def began(self, steps: int, first_step: int) -> None:
        """Training begins at `first_step` (1 unless it is resumed) of `steps`."""

    def step(self, step: Step) -> None:
        """A step is done."""

    def measured(self, results: Mapping[str, float], step: int) -> None:
        """Something was measured at a step: `eval_loss`."""

    def note(self, line: str) -> None:
        """A line for people."""
