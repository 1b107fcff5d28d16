"""What a run has made becomes a version: adapter, tokenizer and template with a model card and the recipe.

Publishing the same run again gives the same version: `run.json` remembers it, and where a kill came between, the
registry knows the files by their digest. So the files depend on the run alone, not on when or where it is published.
"""

import importlib.metadata
import math
from collections.abc import Mapping
from pathlib import Path

from cluster.errors import NotFound, UserError
from cluster.settings import FolderSource, Pool, Settings, Source
from registry.adapter_files import read_adapter
from registry.manifest import origin_of
from registry.version_draft import MAX_RESULTS, MAX_TEXT
from registry.versions import Draft, Gate, Kind, Lineage, Version, VersionStore
from training.evaluation import Evaluation
from training.evaluation_file import read_evaluation
from training.model_card import BaseFacts, CardFacts, model_card
from training.recipe import Recipe
from training.recipe_file import is_folder, recipe_yaml
from training.run_folder import RunFolder
from training.run_state import RunState, locked, read_state, write_state
from training.version_folder import portable, registered, staged

ADAPTER = "LoRA adapter"


def require_publishable(recipe: Recipe, settings: Settings, serves: str | None = None, *, canary: bool = False) -> str:
    """The served model that will carry the adapter. Raises UserError, before hours of training, if none could.

    With `canary` its pool must have room for an adapter as well.
    """
    carrier = serves or _carrier(recipe, settings)
    names = [model.name for model in settings.served_models]
    if carrier not in names:
        raise UserError(
            f"{carrier!r} is not served, and an adapter needs a model that is; there are {', '.join(names)}"
        )
    if settings.model(carrier).task != "chat":
        raise UserError(f"{carrier} is served as {settings.model(carrier).task}, not for chats")
    pool = next(pool for pool in settings.pools if pool.model == carrier)
    if isinstance(pool, Pool) and pool.max_adapters and recipe.lora.rank > pool.max_adapter_rank:
        raise UserError(
            f"lora.rank is {recipe.lora.rank}, and {carrier}'s engines take up to {pool.max_adapter_rank}: raise "
            "max_adapter_rank of its pool, or train with a smaller rank"
        )
    if canary and not pool.max_adapters:
        raise UserError(f"{carrier}'s pool takes no adapters, so no canary can start: set max_adapters in its pool")
    return carrier


def publish(
    recipe: Recipe, run: RunFolder, settings: Settings, versions: VersionStore, *, serves: str | None = None
) -> Version:
    """Register a finished run's adapter, or give the version as which it is registered already. Raises UserError.

    Gates that are not passed do not hinder it: the version says so, and is not let in without a reason.
    """
    with locked(run):
        state = finished(run)
        if (known := _remembered(state, run, versions)) is not None:
            return known
        carrier = require_publishable(recipe, settings, serves or carrier_of(state, settings))
        read_adapter(run.adapter)
        after = read_evaluation(run.evaluation / "after.json")
        facts = facts_of(ADAPTER, recipe, run, state, settings, carrier, after, state.gates)
        draft = draft_of(facts, "adapter", carrier, state.results, versions)
        with staged(run.adapter, run.path, model_card(facts), facts.recipe_text, carrier) as folder:
            version = registered(draft, folder, versions)
        write_state(run, state.model_copy(update={"published_version": version.version}))
        return version


def finished(run: RunFolder) -> RunState:
    """The state of a run that has come to its end. Raises UserError if it has not."""
    state = read_state(run)
    if state.phase != "done" or state.next_stage is not None:
        raise UserError(
            f"{run.path.name} has not come to its end ({state.next_stage or state.phase} is left): "
            f"`fenzhen train run --resume {run.path.name}` goes on with it"
        )
    return state


def facts_of(
    form: str,
    recipe: Recipe,
    run: RunFolder,
    state: RunState,
    settings: Settings,
    carrier: str,
    after: Evaluation,
    gates: tuple[Gate, ...],
) -> CardFacts:
    """What the card of one form of a run's result says."""
    fitted = state.fitted
    trained = {} if fitted is None else {
        "steps": f"{fitted.steps:,}" + (", stopped early" if fitted.stopped_early else ""),
        "tokens": f"{fitted.tokens:,}, {fitted.tokens_per_s:,.0f} a second",
        "peak memory": f"{fitted.peak_memory_bytes / 1e9:.1f} GB",
        "loss of the last step": f"{fitted.final_loss:.4g}",
    }  # fmt: skip
    model = settings.model(carrier)
    source = next((each for each in model.sources if _is_source(each, state)), None)
    return CardFacts(
        form=form,
        base=BaseFacts(
            name=carrier,
            sha256=state.base.sha256,
            licence=source.licence if source is not None else "not stated",
            # A folder's is a path of this machine.
            origin=origin_of(source) if source is not None and not isinstance(source, FolderSource) else "",
            parameters=state.base.parameters,
        ),
        recipe=recipe,
        recipe_text=recipe_yaml(portable(recipe, carrier)),
        run=run.path.name,
        languages=model.languages,
        data_sha256=state.data_sha256,
        rows=state.rows,
        left_out=state.left_out,
        before=read_evaluation(run.evaluation / "before.json"),
        after=after,
        gates=gates,
        trained=trained,
        environment=state.environment,
    )


def draft_of(facts: CardFacts, kind: Kind, serves: str, results: Mapping[str, float], versions: VersionStore) -> Draft:
    """The version that is to be, with its lineage."""
    name = facts.recipe.name
    stable = next((each.version for each in versions.versions(name) if "stable" in each.aliases), None)
    digests = ", ".join(f"{part} sha256 {facts.data_sha256[part]}" for part in sorted(facts.data_sha256))
    return Draft(
        name=name,
        kind=kind,
        serves=serves,
        lineage=Lineage(
            data=f"{facts.data[: MAX_TEXT - len(digests) - 2]}; {digests}",
            code_commit=_code(facts.environment),
            base_model=f"{facts.base.name} sha256 {facts.base.sha256}",
            parent=stable,
        ),
        results=_telling(results, facts.recipe, facts.gates),
        gates=facts.gates,
        note=_note(facts.run, facts.form),
    )


def carrier_of(state: RunState, settings: Settings) -> str | None:
    """The served model that has the very weights that a run was trained on; None if they are not to be found so."""
    for model in settings.served_models:
        if any(isinstance(each, FolderSource) and each.sha256 == state.base.sha256 for each in model.sources):
            return model.name
    return None


def _carrier(recipe: Recipe, settings: Settings) -> str:
    """The served model whose weights a recipe's base is."""
    if not is_folder(recipe.base):
        return recipe.base
    folder = Path(recipe.base).expanduser().resolve()
    for model in settings.served_models:
        if any(isinstance(each, FolderSource) and each.path.resolve() == folder for each in model.sources):
            return model.name
    raise UserError(
        "base is a folder that no served model has as its source: say with --serves which of "
        f"{', '.join(model.name for model in settings.served_models)} has these weights"
    )


def _is_source(source: Source, state: RunState) -> bool:
    if isinstance(source, FolderSource):
        return source.sha256 == state.base.sha256
    return state.base.origin.endswith(origin_of(source))


def _remembered(state: RunState, run: RunFolder, versions: VersionStore) -> Version | None:
    if state.published_version is None:
        return None
    try:
        version = versions.version(state.name, state.published_version)
    except NotFound:
        return None
    # Of another registry, or one that was begun anew, the number is another's.
    return version if version.note == _note(run.path.name, ADAPTER) else None


def _note(run: str, form: str) -> str:
    return f"{form} of the run {run}"


def _code(environment: Mapping[str, str]) -> str:
    """The code that trained: its commit where the run has found one, else the release."""
    commit = environment.get("commit", "not known")
    return commit if commit != "not known" else f"fenzhen {importlib.metadata.version('fenzhen')}"


def _telling(results: Mapping[str, float], recipe: Recipe, gates: tuple[Gate, ...]) -> dict[str, float]:
    """The results that a version keeps: those that gates ask for first, then the metric that counts most."""
    asked = {gate.metric for gate in gates}
    metric = recipe.evaluation.metric
    names = sorted(results, key=lambda name: (name not in asked, not name.startswith(metric)))
    return {name: results[name] for name in [name for name in names if math.isfinite(results[name])][:MAX_RESULTS]}
