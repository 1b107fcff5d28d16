"""What each worker of a cluster does: the same `fit` as on one machine, among others that torch.distributed knows."""

import platform
from collections.abc import Mapping
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from cluster.errors import UserError
from cluster.ray_link import Link
from training.fitting import Interrupted, fit
from training.prepared import Prepared
from training.recipe import Recipe
from training.run_folder import RunFolder
from training.watch import Step

prepared_json: TypeAdapter[Prepared] = TypeAdapter(Prepared)
"""Rows on their way to workers."""


class LinkWatch:
    """Tells the driver's watch, by messages that `training.cluster_job` reads."""

    def __init__(self, link: Link, checkpoint_every_steps: int) -> None:
        self._link = link
        self._checkpoint_every_steps = checkpoint_every_steps

    def began(self, steps: int, first_step: int) -> None:
        """Training begins."""
        self._link.tell(("began", steps, first_step))

    def step(self, step: Step) -> None:
        """A step is done."""
        self._tell(("step", step), step.number)

    def measured(self, results: Mapping[str, float], step: int) -> None:
        """Something was measured."""
        self._tell(("measured", dict(results), step), step)

    def note(self, line: str) -> None:
        """A line for people."""
        self._link.tell(("note", line))

    def _tell(self, message: object, step: int) -> None:
        self._link.tell(message)
        if step % self._checkpoint_every_steps == 0:
            # Who goes on from this checkpoint does not say again what came before it.
            self._link.flush()


def fit_in_worker(arguments: Mapping[str, str], link: Link) -> tuple[str, Any]:
    """Train. Gives ("fitted", what was made) or ("interrupted", the sentence)."""
    recipe = Recipe.model_validate_json(arguments["recipe"])
    prepared = prepared_json.validate_json(_read(Path(arguments["rows"]), arguments["rows_sha256"]))
    base = Path(arguments["base"])
    if weights_of(base) != arguments["base_sha256"]:
        raise UserError(
            f"{platform.node()} has not the base in {base} that the run was begun with: keep models in a folder that "
            "all machines of the cluster see under the same path"
        )
    _introduce(recipe)
    run = RunFolder(Path(arguments["run"]))
    watch = LinkWatch(link, recipe.train.checkpoint_every_steps)
    try:
        fitted = fit(recipe, prepared, base, run, watch, lambda: link.is_stopping)
    except Interrupted as error:
        # All are told at the same step, so that none is left waiting for the others.
        return "interrupted", str(error)
    return "fitted", asdict(fitted)


def _introduce(recipe: Recipe) -> None:
    """Tell accelerate what kind of worker this is; it remembers."""
    from accelerate import PartialState

    assert recipe.cluster is not None
    # On CPUs it believes to be alone unless it is told to stay there.
    PartialState(cpu=recipe.cluster.gpus_per_worker == 0)


def weights_of(base: Path) -> str:
    """A digest by which machines see that they mean the same base, without reading gigabytes. Empty: not there."""
    if not (base / "config.json").is_file():
        return ""
    said = (base / "config.json").read_bytes()
    sizes = sorted(f"{path.name} {path.stat().st_size}" for path in base.glob("*.safetensors"))
    return sha256(said + "\n".join(sizes).encode()).hexdigest()


def _read(path: Path, digest: str) -> bytes:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(
            f"{platform.node()} does not see {path}: name a folder that all machines of the cluster see under the "
            "same path as `cluster: storage:` in the recipe"
        ) from error
    if sha256(data).hexdigest() != digest:
        raise UserError(
            f"{platform.node()} sees another {path.name} in {path.parent} than was written there: its storage is not "
            "the one that the others see"
        )
    return data
