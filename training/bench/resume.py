"""Killed at random moments and begun again: is the adapter that of a training that nobody disturbed?"""

import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Literal, Protocol

from training.bench.child import child as start_child
from training.bench.ground import Ground
from training.bench.lap import Job, Lap
from training.run_folder import RunFolder

RELATIVE: Final = 1e-5
ABSOLUTE: Final = 1e-7
"""Two equal weights differ by at most ABSOLUTE + RELATIVE times themselves."""
_EARLY_RATIO: Final = 0.2
"""So many of the kills fall while a life begins or ends."""
_LIVES_PER_RUN: Final = 6
"""So short are lives that a run has about as many."""


class Living(Protocol):
    """A training in another process: `training.bench.child.Child`."""

    lap: Lap | None

    def lines(self) -> Iterator[dict[str, Any]]:
        """What it tells, until it ends."""

    def kill(self) -> None:
        """At once."""

    def was_killed(self) -> bool:
        """Whether it ended by that."""

    def finished(self) -> Lap:
        """What it took, once it has come to its end."""


Start = Callable[[Job], AbstractContextManager[Living]]


@dataclass(frozen=True, slots=True)
class Resumed:
    """What became of the killed trainings."""

    kills: int
    kills_before_first_step: int
    runs: int
    """Killed ones that were brought to their end; each had its share of the kills."""
    steps: int
    checkpoint_every_steps: int
    largest_difference: float
    """Between any two weights, over all runs."""
    is_bitwise_equal: bool
    is_equal: bool


def measure(
    ground: Ground, kills: int, seed: int, say: Callable[[str], None], *, child: Start = start_child
) -> Resumed:
    """Train undisturbed, then with kills until there were so many, and compare the weights of each run."""
    chance = random.Random(seed)  # noqa: S311 - no secret
    began_s = time.monotonic()
    with child(_job(ground, "undisturbed")) as running:
        undisturbed = running.finished()
    loading_s = max(0.1, time.monotonic() - began_s - undisturbed.loop_s)
    say(f"  undisturbed: {undisturbed.steps} steps in {undisturbed.loop_s:.1f} s, {loading_s:.1f} s to begin and end")
    done = early = runs = 0
    differences: list[tuple[float, float]] = []
    while done < kills:
        runs += 1
        job = _job(ground, f"killed-{runs}")
        while done < kills:
            is_early = chance.random() < _EARLY_RATIO
            after_s = chance.uniform(0, loading_s if is_early else 2 * undisturbed.loop_s / _LIVES_PER_RUN)
            with child(job) as running:
                when = _killed(running, after_s, is_early=is_early)
            if when is None:
                break
            done += 1
            early += when == "loading"
            say(f"  kill {done} of {kills}: while {when}")
        with child(job) as running:
            running.finished()
        differences.append(difference(_adapter(ground, "undisturbed"), _adapter(ground, f"killed-{runs}")))
        say(f"  run {runs}: weights differ by at most {differences[-1][0]:.1e}")
    return Resumed(
        kills=done,
        kills_before_first_step=early,
        runs=runs,
        steps=undisturbed.steps,
        checkpoint_every_steps=ground.recipe.train.checkpoint_every_steps,
        largest_difference=max(largest for largest, _ in differences),
        is_bitwise_equal=all(largest == 0 for largest, _ in differences),
        is_equal=all(excess <= 0 for _, excess in differences),
    )


def _killed(running: Living, after_s: float, *, is_early: bool) -> Literal["loading", "training"] | None:
    """Kill one life, and say when; None if it came to its end before. Raises LapFailed if it failed by itself."""
    timer = threading.Timer(after_s, running.kill)
    has_begun = False
    if is_early:
        timer.start()
    try:
        for said in running.lines():
            if "began" in said:
                has_begun = True
                if not is_early:
                    timer.start()
    finally:
        timer.cancel()
    if running.lap is None and not running.was_killed():
        running.finished()
    if running.lap is not None:
        return None
    return "training" if has_begun else "loading"


def difference(one: Path, other: Path) -> tuple[float, float]:
    """The largest difference of two weights, and by how much the worst exceeds what is allowed (at most 0: none)."""
    from training.adapter import read_weights

    first, second = read_weights(one), read_weights(other)
    if first.keys() != second.keys():
        return float("inf"), float("inf")
    largest, excess = 0.0, float("-inf")
    for name, tensor in first.items():
        if tensor.shape != second[name].shape:
            return float("inf"), float("inf")
        gap = (tensor.double() - second[name].double()).abs()
        if not bool(gap.isfinite().all()):
            return float("inf"), float("inf")
        largest = max(largest, float(gap.max()))
        excess = max(excess, float((gap - ABSOLUTE - RELATIVE * tensor.double().abs()).max()))
    return largest, excess


def as_report(found: Resumed, ground: Ground) -> dict[str, Any]:
    """What stands in the report."""
    return {"resume_equal": found.is_equal, "resume": {**asdict(found), "base": ground.recipe.base}}


def as_table(found: Resumed) -> str:
    """For people."""
    verdict = "bit by bit" if found.is_bitwise_equal else f"to {found.largest_difference:.1e}"
    return (
        f"{found.kills} times kill -9 ({found.kills_before_first_step} before the first step) in {found.runs} runs of "
        f"{found.steps} steps: adapters {'equal, ' + verdict if found.is_equal else 'NOT equal, ' + verdict}"
    )


def _job(ground: Ground, name: str) -> Job:
    return Job("ours", str(ground.recipe_file), str(ground.data), str(ground.base), str(ground.folder / name))


def _adapter(ground: Ground, name: str) -> Path:
    return RunFolder(ground.folder / name).adapter
