"""The one place where a run's stages become concrete functions: `run_recipe` takes others in tests."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from cluster.settings import Settings
from registry.versions import Gate
from training.evaluation import Evaluation
from training.fitting import Fitted
from training.plan import Plan
from training.prepared import Prepared
from training.preparing import TokenCounter
from training.recipe import Recipe
from training.run_folder import RunFolder
from training.run_log import RunLog
from training.run_state import BaseNote, RunState
from training.watch import Watch

Fit = Callable[[Recipe, Prepared, Path, RunFolder, Watch, Callable[[], bool]], Fitted]


class Evaluate(Protocol):
    """`training.evaluating.evaluate`."""

    def __call__(
        self,
        recipe: Recipe,
        prepared: Prepared,
        base: Path,
        adapter: Path | None,
        watch: Watch,
        *,
        quantise: str | None = None,
    ) -> Evaluation:
        """Measure the base, or an adapter on it."""


@dataclass(frozen=True, slots=True)
class Stages:
    """What a run is made of."""

    base: Callable[[Recipe, Settings], BaseNote]
    require_same: Callable[[BaseNote], None]
    tokens: Callable[[Path], TokenCounter]
    prepare: Callable[[Recipe, TokenCounter, Path | None], Prepared]
    read_prepared: Callable[[Path], Prepared]
    plan: Callable[[Recipe, Prepared, BaseNote, TokenCounter], Plan]
    require_measurable: Callable[[Recipe, Prepared], None]
    environment: Callable[[], Mapping[str, str]]
    log: Callable[[Settings, RunFolder, RunState, Recipe, Callable[[str], None]], RunLog]
    evaluate: Evaluate
    write_evaluation: Callable[[Evaluation, Path], None]
    read_evaluation: Callable[[Path], Evaluation]
    fit: Fit
    fit_on_cluster: Fit
    judged: Callable[[Recipe, Evaluation, Evaluation], tuple[Gate, ...]]
    write_page: Callable[[Path, Recipe, Prepared, Evaluation, Evaluation, tuple[Gate, ...]], None]


def real_stages() -> Stages:
    """Those that a run has."""
    # Imported late: some of them read a good part of the standard library, and a wrong recipe is told before.
    from training.answers_page import write_page
    from training.base_choice import base_of, lazy_token_counter, require_same
    from training.cluster_job import fit_on_cluster
    from training.environment import environment
    from training.evaluating import evaluate
    from training.evaluation_file import read_evaluation, write_evaluation
    from training.evaluation_rows import require_measurable
    from training.fitting import fit
    from training.gates import judged
    from training.plan import plan_of
    from training.preparing import prepare, read_prepared
    from training.run_log import open_log

    return Stages(
        base=base_of,
        require_same=require_same,
        tokens=lazy_token_counter,
        prepare=prepare,
        read_prepared=read_prepared,
        plan=plan_of,
        require_measurable=require_measurable,
        environment=environment,
        log=open_log,
        evaluate=evaluate,
        write_evaluation=write_evaluation,
        read_evaluation=read_evaluation,
        fit=fit,
        fit_on_cluster=fit_on_cluster,
        judged=judged,
        write_page=write_page,
    )
