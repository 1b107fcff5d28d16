"""One training in a process of its own, so that its peak of memory is its own: `python -m training.bench.lap JOB.json`.

Tells on its output, a JSON object a line, when training begins and each step; then what it took.
"""

import json
import re
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

from training.bench.plain_loop import IGNORED, Example, plain_fit
from training.prepared import Prepared
from training.recipe import Recipe
from training.watch import Step

Kind = Literal["ours", "plain", "plain_autocast"]
_PEAK: Final = re.compile(r"^VmHWM:\s+(\d+) kB$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Job:
    """What is to be trained."""

    kind: Kind
    recipe: str
    """A file, as `training.recipe_file.recipe_yaml` writes it."""
    data: str
    """The folder of prepared rows."""
    base: str
    """The folder of the weights."""
    output: str
    """The run's folder."""


@dataclass(frozen=True, slots=True)
class Lap:
    """What one training took."""

    kind: Kind
    steps: int
    tokens: int
    """Of all steps, padding left out."""
    loop_s: float
    """From the first step's beginning to the last one's end."""
    whole_s: float
    """With loading of the libraries and the base, and saving of the adapter."""
    peak_memory_bytes: int
    """Of the process, its libraries included; or of the GPU where there is one."""
    losses: tuple[float, ...] = field(default=())

    @property
    def tokens_per_s(self) -> float:
        """Padding left out."""
        return self.tokens / self.loop_s


class Clock:
    """A watch that takes the times."""

    def __init__(self) -> None:
        self.began_s = self.ended_s = time.monotonic()
        self.losses: list[float] = []

    def began(self, steps: int, first_step: int) -> None:
        """Training begins."""
        self.began_s = self.ended_s = time.monotonic()
        _tell({"began": first_step, "steps": steps})

    def step(self, step: Step) -> None:
        """A step is done."""
        self.stepped(step.loss)

    def stepped(self, loss: float) -> None:
        """A step is done."""
        self.ended_s = time.monotonic()
        self.losses.append(loss)
        _tell({"loss": loss})

    def measured(self, results: Mapping[str, float], step: int) -> None:
        """Nothing."""

    def note(self, line: str) -> None:
        """Nothing."""


def run(job: Job) -> Lap:
    """Train, and say what it took. The recipe has to be one for SFT without packing."""
    started_s = time.monotonic()
    # Imported late: what the libraries cost is part of the lap.
    from training.preparing import read_prepared
    from training.recipe_file import read_recipe

    recipe, base, output = read_recipe(Path(job.recipe)), Path(job.base), Path(job.output)
    prepared = read_prepared(Path(job.data))
    clock = Clock()
    batches = _batches(recipe, prepared, base)
    if job.kind == "ours":
        from training.fitting import fit
        from training.run_folder import RunFolder

        fit(recipe, prepared, base, RunFolder(output), clock, lambda: False)
    else:
        from training.base_model import resolved_dtype

        is_autocast = job.kind == "plain_autocast"
        plain_fit(
            recipe,
            batches,
            base,
            resolved_dtype(recipe.train.dtype),
            output / "adapter",
            is_autocast=is_autocast,
            began=lambda: clock.began(len(batches), 1),
            stepped=clock.stepped,
        )
    return Lap(
        kind=job.kind,
        steps=len(clock.losses),
        tokens=sum(len(row.input_ids) for batch in batches for row in batch),
        loop_s=clock.ended_s - clock.began_s,
        whole_s=time.monotonic() - started_s,
        peak_memory_bytes=_peak_memory_bytes(),
        losses=tuple(clock.losses),
    )


def _batches(recipe: Recipe, prepared: Prepared, base: Path) -> list[list[Example]]:
    """The rows of each step, as ours takes them."""
    from training.answer_tokens import tokens_of
    from training.base_model import load_tokenizer
    from training.batches import order_of, steps_of

    tokenizer = load_tokenizer(base)
    rows = []
    for row in prepared.train:
        coded = tokens_of(row, tokenizer)
        labels = [token if learnt else IGNORED for token, learnt in zip(coded.ids, coded.learnt, strict=True)]
        rows.append(Example(coded.ids, tuple(labels)))
    train = recipe.train
    steps = steps_of(len(rows), train.epochs, train.batch_size, train.max_steps)
    order = order_of([len(row.input_ids) for row in rows], train.batch_size, steps, train.seed)
    return [
        [rows[number] for number in order[begin : begin + train.batch_size]]
        for begin in range(0, len(order), train.batch_size)
    ]


def _peak_memory_bytes() -> int:
    import torch

    if torch.cuda.is_available():
        return int(torch.cuda.max_memory_allocated())
    # Not ru_maxrss: that one begins with what the parent held before the program was loaded.
    found = _PEAK.search(Path("/proc/self/status").read_text(encoding="ascii"))
    assert found is not None
    return int(found[1]) * 1024


def _tell(said: Mapping[str, Any]) -> None:
    print(json.dumps(said), flush=True)


def main(arguments: Sequence[str]) -> int:
    """Run the job of a file."""
    job = Job(**json.loads(Path(arguments[0]).read_text(encoding="utf-8")))
    _tell({"lap": asdict(run(job))})
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
