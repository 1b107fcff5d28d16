"""`fenzhen train publish`: what a run has made becomes a version, and its canary begins."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import get_args

import click

from cluster.errors import UserError
from cluster.settings import Settings
from fenzhen.options import config_options, json_option, load
from fenzhen.output import Output
from fenzhen.progress import reporter
from fenzhen.registry_versions import document_of, lines_of
from fenzhen.rollout_begin import announced, begin, plan_options
from fenzhen.rollout_orders import person
from fenzhen.rollout_start import followed
from registry.digests import folder_sha256
from registry.rollout_states import Plan
from registry.rollout_store import open_rollouts
from registry.stores import open_versions
from training.forms import Form, folder_of, pool_of, publish_form
from training.pipeline import stored_recipe
from training.publishing import carrier_of, require_publishable
from training.publishing import publish as publish_run
from training.quantising import Method, require_method
from training.recipe import Recipe
from training.run_folder import RunFolder
from training.run_state import find_run, read_state
from training.watch import Step


@click.command()
@config_options
@json_option
@click.argument("run")
@click.option("--serves", metavar="MODEL", help="The served model below it. [default: the recipe's base]")
@click.option("--merge", is_flag=True, help="Register it merged into its base, as a model of its own.")
@click.option("--quantise", type=click.Choice(get_args(Method)), help="Merged, and then in fewer bits.")
@click.option("--canary", is_flag=True, help="Start its rollout.")
@plan_options
@click.option("--despite-gates", metavar="REASON", help="Start though gates were not passed; the reason is kept.")
def publish(
    config: Path | None,
    profile_name: str | None,
    as_json: bool,
    run: str,
    serves: str | None,
    merge: bool,
    quantise: Method | None,
    canary: bool,
    shadow: float,
    shadow_ratio: float,
    steps: tuple[float, ...],
    bake: float,
    loading: float,
    despite_gates: str | None,
) -> int:
    """Register what RUN has made: a folder, a run's name, or the beginning of one.

    Adapter, tokenizer and template with digests, a model card, the recipe, results and gates. Asked again it gives the
    same version. The exit code is 1 if a gate is not passed: the version is kept, and a canary is refused.
    """
    settings, _ = load(config, profile_name)
    output = Output(as_json)
    folder = find_run(settings.site.state_dir, run)
    recipe = stored_recipe(folder)
    form: Form | None = quantise or ("merged" if merge else None)
    if despite_gates and not canary:
        raise click.UsageError("--despite-gates goes with --canary", click.get_current_context())
    _require_possible(recipe, folder, settings, serves, form, canary=canary)
    plan = Plan(steps, bake, shadow, shadow_ratio, loading, person(), f"trained by {folder.path.name}")
    with reporter(output.progress) as progress:
        versions = open_versions(settings, progress)
        if form is not None:
            version = publish_form(form, recipe, folder, settings, versions, _Notes(progress.note), serves=serves)
        else:
            version = publish_run(recipe, folder, settings, versions, serves=serves)
    output.result(document_of(version), lines_of(version))
    if canary:
        store = open_rollouts(settings)
        rollout = begin(version, plan, settings, versions, store, despite_gates=despite_gates)
        output.say(announced(rollout))
        return followed(store, rollout, output)
    if form is not None:
        output.say(_how_to_serve(recipe, folder, form))
    failed = sum(not gate.is_passed for gate in version.gates)
    if failed:
        output.say(f"{failed} of {len(version.gates)} gates are not passed.")
    return 1 if failed else 0


def _require_possible(
    recipe: Recipe, run: RunFolder, settings: Settings, serves: str | None, form: Form | None, *, canary: bool
) -> None:
    """Say at once what would only be found after minutes. Raises UserError."""
    known = serves or carrier_of(read_state(run), settings)
    require_publishable(recipe, settings, known, canary=canary and form is None)
    if form is None:
        return
    if form != "merged":
        require_method(form)
    pool = pool_of(recipe, form)
    if canary and pool not in {each.name for each in settings.served_models}:
        raise UserError(
            f"a canary of the {form} weights needs a pool that has them, {pool}: publish without --canary first, which "
            "says what to put into the configuration"
        )


def _how_to_serve(recipe: Recipe, run: RunFolder, form: Form) -> str:
    """What to put into the configuration for a pool that has these weights."""
    weights = folder_of(run, form)
    return (
        f"To serve it, put a model {pool_of(recipe, form)} and its pool into the configuration, with the source "
        f"{{kind: folder, path: {weights}, sha256: {folder_sha256(weights)}}}."
    )


class _Notes:
    """A watch that hands on the lines for people: measuring needs no more."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say

    def began(self, steps: int, first_step: int) -> None:
        """Nothing is trained."""

    def step(self, step: Step) -> None:
        """Nothing is trained."""

    def measured(self, results: Mapping[str, float], step: int) -> None:
        """It is in the version."""

    def note(self, line: str) -> None:
        """Say it."""
        self._say(line)
