"""A run from its recipe to its gates: stage after stage, each written down when it has finished.

    prepare -> [plan] -> before -> fit -> after -> gates -> page

Killed anywhere it goes on with the first stage that is not in `run.json`; the recipe and the rows are then those that
lie in the run's folder, whatever has become of the files they were read from.
"""

import dataclasses
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from cluster.errors import FenzhenError, UserError
from cluster.settings import Settings
from cluster.stack_state import router_url
from registry.disk import write_durably
from registry.versions import Gate
from training.evaluation import JUDGED, Evaluation, results_of
from training.fitting import Fitted, Interrupted
from training.gates import write_gates
from training.plan import Plan
from training.prepared import Prepared
from training.recipe import Recipe
from training.recipe_file import read_recipe, recipe_yaml
from training.run_folder import RunFolder
from training.run_log import LOGGED_FILES, LoggingWatch, RunLog
from training.run_state import BaseNote, FittedNote, RunState, Stage, locked, read_state, write_state
from training.stages import Stages, real_stages
from training.watch import Watch

Stop = Callable[[], bool]
_QUANTISED: Final = {"none": None, "nf4": "nf4", "int8": "int8"}


@dataclass(frozen=True, slots=True)
class RunResult:
    """What a run that has come to its end has found."""

    run: RunFolder
    recipe: Recipe
    before: Evaluation
    after: Evaluation
    fitted: Fitted
    gates: tuple[Gate, ...]
    state: RunState

    @property
    def is_good_enough(self) -> bool:
        """Whether all gates are passed."""
        return all(gate.is_passed for gate in self.gates)


def plan_recipe(recipe: Recipe, settings: Settings, *, stages: Stages | None = None) -> Plan:
    """What a run would take, found without loading the base. Nothing is written."""
    stages = stages or real_stages()
    base = stages.base(recipe, settings)
    tokens = stages.tokens(base.folder)
    prepared = stages.prepare(recipe, tokens, None)
    stages.require_measurable(recipe, prepared)
    return stages.plan(recipe, prepared, base, tokens)


def run_recipe(
    recipe: Recipe, settings: Settings, run: RunFolder, watch: Watch, stop: Stop, *, stages: Stages | None = None
) -> RunResult:
    """Run a recipe to its end in a folder, new or given up halfway. Raises Interrupted when it was told to stop.

    In a folder that holds a run already, `recipe` has to be the one it holds.
    """
    stages = stages or real_stages()
    with locked(run):
        if not run.state.exists():
            _begin(recipe, settings, run, watch, stages)
        elif stored_recipe(run) != recipe:
            raise UserError(f"{run.path} holds a run of another recipe; leave --output out, or name an empty folder")
        return _Pipeline(recipe, settings, run, watch, stop, stages).finished()


def stored_recipe(run: RunFolder) -> Recipe:
    """The recipe that a run was begun with, overrides included."""
    return read_recipe(run.recipe)


def _begin(recipe: Recipe, settings: Settings, run: RunFolder, watch: Watch, stages: Stages) -> None:
    """Do all that can go wrong because of the recipe or the rows; only then the folder holds a run."""
    began_s = time.monotonic()
    left = [path for path in run.path.iterdir() if path.name not in (".lock", "data")]
    if left:
        raise UserError(f"{run.path} is not empty: it has {left[0].name}; name a folder that is")
    try:
        base = stages.base(recipe, settings)
        tokens = stages.tokens(base.folder)
        watch.note(f"base: {base.origin}")
        prepared = stages.prepare(recipe, tokens, run.data)
        stages.require_measurable(recipe, prepared)
        plan = stages.plan(recipe, prepared, base, tokens)
        for line in plan.lines():
            watch.note(line)
        plan.require_fits(run.path)
    except BaseException:
        # Nothing has begun: the next try may well have the same --output.
        shutil.rmtree(run.data, ignore_errors=True)
        (run.path / ".lock").unlink(missing_ok=True)
        run.path.rmdir()
        raise
    write_durably(run.recipe, recipe_yaml(recipe))
    state = RunState(
        name=recipe.name,
        metric=recipe.evaluation.metric,
        created_s=time.time(),
        base=base,
        stages={"prepare": time.monotonic() - began_s},
        data_sha256=prepared.sha256,
        rows={
            "train": len(prepared.train) + len(prepared.preferences),
            "test": len(prepared.test),
            "general": len(prepared.general),
        },
        left_out=prepared.left_out,
        environment=stages.environment(),
    )
    write_state(run, state)


class _Pipeline:
    """The stages after the first, of one run in its locked folder."""

    def __init__(
        self, recipe: Recipe, settings: Settings, run: RunFolder, watch: Watch, stop: Stop, stages: Stages
    ) -> None:
        self._recipe = recipe
        self._settings = settings
        self._run = run
        self._stop = stop
        self._stages = stages
        self._state = read_state(run)
        self._log: RunLog = stages.log(settings, run, self._state, recipe, watch.note)
        self._watch = LoggingWatch(watch, self._log)

    def finished(self) -> RunResult:
        """Do what is left to do."""
        self._note(phase="running", problem="")
        try:
            result = self._all()
        except (Interrupted, KeyboardInterrupt):
            self._note(phase="interrupted")
            self._log.end("KILLED")
            raise
        except BaseException as error:
            # What is no error of ours may quote a row.
            problem = str(error) if isinstance(error, FenzhenError) else f"a fault of ours, {type(error).__name__}"
            self._note(phase="failed", problem=problem)
            self._log.end("FAILED", LOGGED_FILES)
            raise
        self._log.end("FINISHED", LOGGED_FILES)
        return result

    def _all(self) -> RunResult:
        recipe, run, stages, watch = self._recipe, self._run, self._stages, self._watch
        prepared = stages.read_prepared(run.data)
        if dict(prepared.sha256) != dict(self._state.data_sha256):
            raise UserError(f"{run.data} holds other rows than the run was begun with; begin a new run")
        base = self._same_base()
        before = self._evaluated("before", prepared, base, None)
        fitted = self._fitted(prepared, base)
        after = self._evaluated("after", prepared, base, fitted)
        after = self._compared(prepared, before, after)
        gates = self._judged(before, after)
        if "page" not in self._state.stages:
            with self._stage("page"):
                stages.write_page(run.evaluation / "answers.html", recipe, prepared, before, after, gates)
        watch.note(f"done: {run.path}")
        self._note(phase="done")
        return RunResult(run, recipe, before, after, fitted, gates, self._state)

    def _same_base(self) -> BaseNote:
        base = self._state.base
        if self._state.next_stage in ("before", "fit", "after"):
            self._stages.require_same(base)
        return base

    def _evaluated(self, stage: Stage, prepared: Prepared, base: BaseNote, fitted: Fitted | None) -> Evaluation:
        path = self._run.evaluation / f"{stage}.json"
        if stage in self._state.stages:
            return self._stages.read_evaluation(path)
        with self._stage(stage):
            whose = "the base" if fitted is None else "the adapter"
            self._watch.note(f"measuring {whose} on {len(prepared.test):,} held-out rows")
            evaluation = self._stages.evaluate(
                self._recipe,
                prepared,
                base.folder,
                fitted.adapter if fitted else None,
                self._watch,
                quantise=_QUANTISED[self._recipe.quantise_base],
            )
            path.parent.mkdir(exist_ok=True)
            self._stages.write_evaluation(evaluation, path)
        steps = fitted.steps if fitted else 0
        self._log.log({f"evaluation/{name}": figure.value for name, figure in evaluation.figures.items()}, steps)
        return evaluation

    def _fitted(self, prepared: Prepared, base: BaseNote) -> Fitted:
        # What was fitted is recognised by `fit` itself, at once: the adapter is whole.
        if self._state.fitted is not None:
            return Fitted(adapter=self._run.adapter, **self._state.fitted.model_dump())
        fit = self._stages.fit if self._recipe.cluster is None else self._stages.fit_on_cluster
        with self._stage("fit"):
            fitted = fit(self._recipe, prepared, base.folder, self._run, self._watch, self._stop)
            note = {name: value for name, value in dataclasses.asdict(fitted).items() if name != "adapter"}
            self._state = self._state.model_copy(update={"fitted": FittedNote(**note)})
        return fitted

    def _compared(self, prepared: Prepared, before: Evaluation, after: Evaluation) -> Evaluation:
        """With a judge model's figure, where the recipe asks for one and it was not asked yet."""
        if self._recipe.evaluation.judge_model is None or "gates" in self._state.stages or JUDGED in after.figures:
            return after
        # Imported late: nearly no run has a judge.
        from training.judge_pairs import with_judge

        after = with_judge(self._recipe, prepared, before, after, router_url(self._settings), self._watch)
        self._stages.write_evaluation(after, self._run.evaluation / "after.json")
        return after

    def _judged(self, before: Evaluation, after: Evaluation) -> tuple[Gate, ...]:
        if "gates" in self._state.stages:
            return self._state.gates
        with self._stage("gates"):
            gates = self._stages.judged(self._recipe, before, after)
            write_gates(gates, self._run.evaluation / "gates.json")
            results = results_of(before, after)
            self._state = self._state.model_copy(update={"gates": gates, "results": results})
            passed = sum(gate.is_passed for gate in gates)
            self._log.tag({"fenzhen.gates": f"{passed} of {len(gates)} passed"})
        return gates

    def _stage(self, stage: Stage) -> "_Timed":
        if self._stop():
            raise Interrupted(f"stopped before anything of `{stage}` was done")
        return _Timed(stage, self._finish)

    def _finish(self, stage: Stage, seconds: float) -> None:
        self._note(stages={**self._state.stages, stage: round(seconds, 3)})

    def _note(self, **changes: object) -> None:
        self._state = self._state.model_copy(update=changes)
        write_state(self._run, self._state)


class _Timed:
    """A stage: finished when it is left without an error."""

    def __init__(self, stage: Stage, finish: Callable[[Stage, float], None]) -> None:
        self._stage = stage
        self._finish = finish
        self._began_s = 0.0

    def __enter__(self) -> None:
        self._began_s = time.monotonic()

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self._finish(self._stage, time.monotonic() - self._began_s)
