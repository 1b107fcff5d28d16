"""What MLflow is told of a run: the recipe, where it ran, its curves and what was found. No row, no answer."""

import contextlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Literal, Protocol

from cluster.settings import Settings
from training.recipe import Recipe
from training.run_folder import RunFolder
from training.run_state import RunState
from training.watch import Step, Watch

# Neither rows nor `answers.html` nor the evaluations, which quote answers.
LOGGED_FILES: Final = ("recipe.yaml", "run.json", "data/report.json", "data/report.txt", "data/tokens.png")


class RunLog(Protocol):
    """Keeps a run's figures; nothing here fails or waits."""

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        """Figures at a step."""

    def tag(self, tags: Mapping[str, str]) -> None:
        """Words about the run."""

    def end(self, status: Literal["FINISHED", "FAILED", "KILLED"], files: Sequence[str] = ()) -> None:
        """The run ends, well or not; `files` of its folder are kept as well."""


class LoggingWatch:
    """A watch that tells another one and the log. Neither's failure ends a run."""

    def __init__(self, watch: Watch, log: RunLog) -> None:
        self._watch = watch
        self._log = log
        self._has_failed = False

    def began(self, steps: int, first_step: int) -> None:
        """Training begins."""
        self._tell(lambda: self._watch.began(steps, first_step))

    def step(self, step: Step) -> None:
        """A step is done."""
        figures = {
            "train/loss": step.loss,
            "train/learning_rate": step.learning_rate,
            "train/grad_norm": step.grad_norm,
            "train/tokens": float(step.tokens),
            "train/tokens_per_s": step.tokens_per_s,
        }
        self._tell(lambda: self._watch.step(step))
        self._tell(lambda: self._log.log(figures, step.number))

    def measured(self, results: Mapping[str, float], step: int) -> None:
        """Something was measured."""
        self._tell(lambda: self._watch.measured(results, step))
        self._tell(lambda: self._log.log({f"train/{name}": value for name, value in results.items()}, step))

    def note(self, line: str) -> None:
        """A line for people."""
        self._tell(lambda: self._watch.note(line))

    def _tell(self, tell: Callable[[], None]) -> None:
        try:
            tell()
        except Exception as error:
            # A terminal that is gone, a full disk: the run is worth more than its bar.
            if not self._has_failed:
                self._has_failed = True
                with contextlib.suppress(Exception):
                    self._watch.note(f"the display or the log of this run has failed: {type(error).__name__}")


def open_log(settings: Settings, run: RunFolder, state: RunState, recipe: Recipe, say: Callable[[str], None]) -> RunLog:
    """The run's log in the registry that the settings name."""
    from registry.stores import open_training_runs

    runs = open_training_runs(settings, run.path, say)
    digests = {f"data.{name}.sha256": digest for name, digest in state.data_sha256.items()}
    counts = {f"data.{name}.count": str(rows) for name, rows in state.rows.items()}
    base = {"base.sha256": state.base.sha256, "base.origin": state.base.origin}
    environment = {f"environment.{name}": value for name, value in state.environment.items()}
    parameters = {**parameters_of(recipe), **base, **digests, **counts, **environment}
    runs.begin(run.path.name, parameters, {"fenzhen.adapter": recipe.name})
    return runs


def parameters_of(recipe: Recipe) -> dict[str, str]:
    """The recipe as flat names: `train.epochs`."""
    return dict(_flat(recipe.model_dump(mode="json"), ""))


def _flat(value: Any, name: str) -> list[tuple[str, str]]:
    if isinstance(value, dict):
        return [pair for key, part in value.items() for pair in _flat(part, f"{name}.{key}" if name else str(key))]
    if isinstance(value, list):
        return [(name, ", ".join(map(str, value)))]
    return [(name, "" if value is None else str(value))]
