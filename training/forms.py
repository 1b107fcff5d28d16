"""Other forms of what a run has made: merged into its base, and that in fewer bits. Each is measured by itself."""

from pathlib import Path
from typing import Final, Literal

from cluster.settings import Settings
from registry.versions import Version, VersionStore
from training.evaluating import evaluate
from training.evaluation import Evaluation, results_of
from training.evaluation_file import read_evaluation, write_evaluation
from training.gates import judged
from training.merging import merge
from training.model_card import model_card
from training.preparing import read_prepared
from training.publishing import carrier_of, draft_of, facts_of, finished, require_publishable
from training.quantising import METHODS, Method, quantise, require_method
from training.recipe import Recipe
from training.rows import Message
from training.run_folder import RunFolder
from training.run_state import locked
from training.version_folder import registered, staged
from training.watch import Watch

Form = Literal["merged"] | Method
FORMS: Final[tuple[Form, ...]] = ("merged", *METHODS)


def pool_of(recipe: Recipe, form: Form) -> str:
    """The model of fenzhen.yaml that has these weights, once somebody has put it there."""
    return f"{recipe.name}-{form}"


def folder_of(run: RunFolder, form: Form) -> Path:
    """Where a form lies in its run."""
    return run.path / form


def publish_form(
    form: Form,
    recipe: Recipe,
    run: RunFolder,
    settings: Settings,
    versions: VersionStore,
    watch: Watch,
    *,
    serves: str | None = None,
) -> Version:
    """Make one form, measure it as the adapter was measured, and register it as a model. Raises UserError.

    What is there of an earlier call is taken as it is.
    """
    if form != "merged":
        require_method(form)
    with locked(run):
        state = finished(run)
        carrier = require_publishable(recipe, settings, serves or carrier_of(state, settings))
        before = read_evaluation(run.evaluation / "before.json")
        folder = _made(form, run, state.base.folder, watch)
        after = _measured(form, folder, recipe, run, watch)
        gates = judged(recipe, before, after)
        facts = facts_of(_said(form), recipe, run, state, settings, carrier, after, gates)
        draft = draft_of(facts, "model", pool_of(recipe, form), results_of(before, after), versions)
        with staged(folder, run.path, model_card(facts), facts.recipe_text, carrier) as whole:
            return registered(draft, whole, versions)


def _made(form: Form, run: RunFolder, base: Path, watch: Watch) -> Path:
    merged = folder_of(run, "merged")
    if not merged.is_dir():
        watch.note("merging the adapter into its base")
        merge(base, run.adapter, merged)
    folder = folder_of(run, form)
    if form != "merged" and not folder.is_dir():
        watch.note(f"quantising the merged weights: {form}")
        quantise(merged, form, folder, _calibration(run))
    return folder


def _measured(form: Form, folder: Path, recipe: Recipe, run: RunFolder, watch: Watch) -> Evaluation:
    path = run.evaluation / f"{form}.json"
    if not path.is_file():
        watch.note(f"measuring the {_said(form)}")
        write_evaluation(evaluate(recipe, read_prepared(run.data), folder, None, watch), path)
    return read_evaluation(path)


def _calibration(run: RunFolder) -> tuple[tuple[Message, ...], ...]:
    """Chats that were learnt from: never those that it is measured on."""
    prepared = read_prepared(run.data)
    chats = [row.messages for row in prepared.train]
    chats += [(*each.prompt, Message("assistant", each.chosen)) for each in prepared.preferences]
    return tuple(chats)


def _said(form: Form) -> str:
    return "merged weights" if form == "merged" else f"merged weights in {form}"
