"""`fenzhen train run`: from a recipe to an adapter with proof that it is better, and to its canary."""

import dataclasses
from pathlib import Path
from typing import Any

import click
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from cluster.settings import Settings
from fenzhen.options import config_options, json_option, load
from fenzhen.output import Output
from fenzhen.progress import reporter
from fenzhen.rollout_begin import announced, begin, usual_plan
from fenzhen.rollout_orders import person
from fenzhen.rollout_start import followed
from fenzhen.train_needs import require_packages
from fenzhen.train_progress import run_reporter
from fenzhen.train_stop import StopRequest
from registry.rollout_store import open_rollouts
from registry.stores import open_versions
from registry.versions import Version
from training.pipeline import RunResult, plan_recipe, run_recipe, stored_recipe
from training.plan import time_words
from training.publishing import require_publishable
from training.recipe import Recipe
from training.recipe_file import read_recipe
from training.run_folder import RunFolder
from training.run_state import find_run, new_run
from training.stages import real_stages


@click.command()
@config_options
@json_option
@click.argument("recipe_file", metavar="[RECIPE]", type=click.Path(path_type=Path), required=False)
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Say otherwise: --set train.epochs=5")
@click.option("--dry-run", is_flag=True, help="Say what it would take: tokens, steps, memory, time. Nothing is loaded.")
@click.option("--resume", metavar="RUN", help="Go on with a run that was stopped: its name or folder.")
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Folder of the run. [default: STATE_DIR/training/NAME-TIME]",
)
@click.option("--publish", is_flag=True, help="Register what it has made as a new version.")
@click.option("--canary", is_flag=True, help="The same, and start its rollout if its gates are passed.")
def run(
    config: Path | None,
    profile_name: str | None,
    as_json: bool,
    recipe_file: Path | None,
    overrides: tuple[str, ...],
    dry_run: bool,
    resume: str | None,
    output: Path | None,
    publish: bool,
    canary: bool,
) -> int:
    """Train an adapter by RECIPE, a YAML file, and measure the base and the adapter on rows that were held out.

    `fenzhen train recipe > recipe.yaml` makes a recipe. Killed at any moment, a run goes on with --resume. Ctrl-C saves
    a checkpoint first. The exit code is 1 if a gate is not passed.
    """
    if (recipe_file is None) == (resume is None):
        raise click.UsageError("give either RECIPE or --resume RUN", click.get_current_context())
    if resume is not None and (overrides or dry_run or output is not None):
        raise click.UsageError(
            "a run goes on as it was begun: --set, --dry-run and --output do not go with --resume",
            click.get_current_context(),
        )
    printed = Output(as_json)
    given = read_recipe(recipe_file, overrides) if recipe_file is not None else None
    settings, _ = load(config, profile_name)
    if resume is not None:
        folder = find_run(settings.site.state_dir, resume)
        recipe = stored_recipe(folder)
    else:
        assert given is not None
        recipe = given
        folder = RunFolder(output.expanduser().absolute()) if output else new_run(settings.site.state_dir, recipe.name)
    require_packages(recipe)
    if publish or canary:
        # At once, and not after hours of training.
        require_publishable(recipe, settings, canary=canary)
    if dry_run:
        plan = plan_recipe(recipe, settings)
        printed.result(plan.document(), "\n".join(plan.lines()))
        plan.require_fits(folder.path)
        return 0
    result = _run(recipe, settings, folder, printed)
    version = _published(result, settings, printed) if publish or canary else None
    printed.result(document_of(result, version), view_of(result, version))
    printed.say(f"answers side by side: {folder.evaluation / 'answers.html'}")
    if version is None:
        printed.say(f"To publish it: fenzhen train publish {folder.path.name if output is None else folder.path}")
    if not result.is_good_enough:
        printed.say("Not all gates are passed, so there is no canary." if canary else "Not all gates are passed.")
        return 1
    return _canary(result, version, settings, printed) if canary and version is not None else 0


def _run(recipe: Recipe, settings: Settings, folder: RunFolder, printed: Output) -> RunResult:
    from training.fitting import Interrupted

    stop = StopRequest(printed.say)
    stages = real_stages()
    stages = dataclasses.replace(stages, fit=stop.polled(stages.fit), fit_on_cluster=stop.polled(stages.fit_on_cluster))
    printed.say(f"run: {folder.path}")
    try:
        with stop.listening(), run_reporter(printed.progress) as watch:
            return run_recipe(recipe, settings, folder, watch, stop, stages=stages)
    except (Interrupted, KeyboardInterrupt) as error:
        if str(error):
            printed.say(str(error))
        if folder.state.exists():
            printed.say(f"To go on: fenzhen train run --resume {folder.path}")
        raise KeyboardInterrupt from None


def _published(result: RunResult, settings: Settings, printed: Output) -> Version:
    from training.publishing import publish

    with reporter(printed.progress) as progress:
        return publish(result.recipe, result.run, settings, open_versions(settings, progress))


def _canary(result: RunResult, version: Version, settings: Settings, printed: Output) -> int:
    store = open_rollouts(settings)
    plan = usual_plan(person(), f"trained by {result.run.path.name}")
    rollout = begin(version, plan, settings, open_versions(settings), store)
    printed.say(announced(rollout))
    return followed(store, rollout, printed)


def document_of(result: RunResult, version: Version | None) -> dict[str, Any]:
    """As JSON."""
    state = result.state
    return {
        "run": str(result.run.path),
        "name": result.recipe.name,
        "adapter": str(result.run.adapter),
        "page": str(result.run.evaluation / "answers.html"),
        "results": dict(state.results),
        "gates": [dataclasses.asdict(gate) for gate in result.gates],
        "is_good_enough": result.is_good_enough,
        "fitted": state.fitted.model_dump() if state.fitted else None,
        "seconds": dict(state.stages),
        "version": version.version if version else None,
    }


def view_of(result: RunResult, version: Version | None) -> RenderableType:
    """For a person."""
    fitted = result.fitted
    table = Table(box=None, pad_edge=False)
    for title in ("metric", "before", "after", "interval"):
        table.add_column(title, justify="left" if title == "metric" else "right")
    for name, after in result.after.figures.items():
        before = result.before.figures.get(name)
        table.add_row(
            name, f"{before.value:.3f}" if before else "", f"{after.value:.3f}",
            f"{after.ci_low:.3f} to {after.ci_high:.3f}",
        )  # fmt: skip
    stopped = ", ended early" if fitted.stopped_early else ""
    lines = [
        f"{fitted.steps:,} steps{stopped}, {fitted.tokens:,} tokens at {fitted.tokens_per_s:,.0f} a second, "
        f"{time_words(fitted.seconds)}, at most {fitted.peak_memory_bytes / 1e9:.1f} GB",
    ]
    gates = [
        f"gate {gate.metric} {gate.required}: {'passed' if gate.is_passed else 'NOT passed'}"
        + ("" if gate.value is None else f" ({gate.value:.3g})")
        for gate in result.gates
    ]
    kept = [f"registered as {version.name} {version.version}"] if version else []
    return Group(table, Text("\n".join([*lines, *gates, *kept])))
