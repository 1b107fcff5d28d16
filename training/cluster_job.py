"""Trains an adapter on a cluster, as a Ray Train job: the same recipe, the same steps, shared out over workers.

The cluster is the one that RAY_ADDRESS names; without it a Ray is started on this machine and stopped afterwards.
"""

import shutil
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

from cluster.errors import OurFault, Unavailable
from cluster.ray_place import Workers
from cluster.ray_train import run_together
from registry.disk import write_durably
from training.checkpoints import identity_of, put_in_place
from training.cluster_worker import fit_in_worker, prepared_json, weights_of
from training.fitting import Fitted, Interrupted, made_before
from training.prepared import Prepared
from training.recipe import Recipe
from training.run_folder import RunFolder
from training.watch import Watch


def fit_on_cluster(
    recipe: Recipe, prepared: Prepared, base: Path, run: RunFolder, watch: Watch, stop: Callable[[], bool]
) -> Fitted:
    """Train by a recipe with a `cluster` section; goes on from the newest whole checkpoint if there is one.

    Workers read rows from, and write checkpoints into, `cluster.storage` or the run's folder: all must see it.
    """
    assert recipe.cluster is not None
    if (made := made_before(run.adapter, identity_of(recipe, prepared, base))) is not None:
        return made
    shared = _shared(recipe, run)
    folder = shared.path / "cluster"
    arguments = _arguments(recipe, prepared, base, shared, folder)
    try:
        kind, said = run_together(
            fit_in_worker,
            arguments,
            Workers(
                count=recipe.cluster.workers,
                cpus_each=recipe.cluster.cpus_per_worker,
                gpus_each=recipe.cluster.gpus_per_worker,
                max_failures=recipe.cluster.max_failures,
            ),
            folder,
            _Teller(watch),
            stop,
        )
    except Unavailable as error:
        if stop():
            raise Interrupted("training was stopped before its workers had begun; --resume begins them") from error
        raise
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    match kind:
        case "interrupted":
            raise Interrupted(said)
        case "fitted":
            _fetch(shared, run)
            return Fitted(**{**said, "adapter": run.adapter})
        case _:
            raise OurFault(f"a worker has come back with {kind!r}")


def _shared(recipe: Recipe, run: RunFolder) -> RunFolder:
    """The folder that workers write to: the same for each life of a run, and its own."""
    assert recipe.cluster is not None
    home = run.path.absolute()
    if recipe.cluster.storage is None:
        return RunFolder(home)
    mark = sha256(str(home).encode()).hexdigest()[:8]
    return RunFolder(recipe.cluster.storage.absolute() / f"{home.name}-{mark}")


def _arguments(recipe: Recipe, prepared: Prepared, base: Path, shared: RunFolder, folder: Path) -> dict[str, str]:
    # The everyday questions are for evaluation, which happens where the run was begun.
    rows = prepared_json.dump_json(replace(prepared, general=())).decode()
    folder.mkdir(parents=True, exist_ok=True)
    write_durably(folder / "rows.json", rows)
    return {
        "recipe": recipe.model_dump_json(),
        "rows": str(folder / "rows.json"),
        "rows_sha256": sha256(rows.encode()).hexdigest(),
        "base": str(base.absolute()),
        "base_sha256": weights_of(base),
        "run": str(shared.path),
    }


def _fetch(shared: RunFolder, run: RunFolder) -> None:
    """Bring the adapter home, and leave nothing of the run in the shared folder."""
    if shared.path == run.path.absolute():
        return
    partial = run.adapter.with_name(f".partial-{run.adapter.name}")
    shutil.rmtree(partial, ignore_errors=True)
    shutil.copytree(shared.adapter, partial)
    put_in_place(partial, run.adapter)
    shutil.rmtree(shared.path)


class _Teller:
    """Reads what workers say, for the watch. What is done again after a worker was lost is told once."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self._steps = 0
        self._measured = 0
        self._has_begun = False

    def __call__(self, message: Any) -> None:
        match message:
            case ("began", steps, first_step) if not self._has_begun:
                self._has_begun = True
                self._watch.began(steps, first_step)
            case ("began", _, first_step):
                self._watch.note(f"new workers go on with step {first_step}")
            case ("step", step):
                if step.number > self._steps:
                    self._steps = step.number
                    self._watch.step(step)
            case ("measured", results, step):
                if step > self._measured:
                    self._measured = step
                    self._watch.measured(results, step)
            case ("note", line) | str(line):
                self._watch.note(line)
