"""`fenzhen train evaluate`: measure what a run has made once more, or another adapter or base on the same rows."""

import dataclasses
from pathlib import Path
from typing import Any

import click
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from cluster.errors import NotFound
from cluster.settings import Settings
from cluster.stack_state import router_url
from fenzhen.options import config_options, json_option, load
from fenzhen.output import Output
from fenzhen.train_needs import require_packages
from fenzhen.train_progress import run_reporter
from registry.versions import Gate
from training.evaluation import LOWER_IS_BETTER, Evaluation, gain_of, results_of
from training.evaluation_groups import group_findings
from training.gates import judged, write_gates
from training.judge_pairs import with_judge
from training.pipeline import stored_recipe
from training.recipe import Recipe
from training.run_folder import RunFolder
from training.run_state import find_run, locked, read_state, write_state
from training.watch import Watch


@dataclasses.dataclass(frozen=True, slots=True)
class Measured:
    """What was found."""

    before: Evaluation
    after: Evaluation
    gates: tuple[Gate, ...]
    page: Path


@click.command()
@config_options
@json_option
@click.argument("run")
@click.option("--adapter", type=click.Path(path_type=Path), metavar="FOLDER", help="Another adapter of the same base.")
@click.option("--base", type=click.Path(path_type=Path), metavar="FOLDER", help="Another base below it.")
def evaluate(
    config: Path | None, profile_name: str | None, as_json: bool, run: str, adapter: Path | None, base: Path | None
) -> int:
    """Measure the adapter of RUN again on the rows that were held out: a folder, a run's name, or its beginning.

    The run then has these figures, gates and page. With --adapter or --base it keeps its own, and what was found lies
    beside them in `evaluation/other`. The exit code is 1 if a gate is not passed.
    """
    settings, _ = load(config, profile_name)
    output = Output(as_json)
    folder = find_run(settings.site.state_dir, run)
    recipe = stored_recipe(folder)
    require_packages(recipe)
    for given, file in ((adapter or folder.adapter, "adapter_config.json"), (base, "config.json")):
        if given is not None and not (given / file).is_file():
            raise NotFound(
                f"{given} has no {file}; " + ("was the run stopped before?" if not adapter else "mend the path")
            )
    with locked(folder), run_reporter(output.progress) as watch:
        found = _measured(recipe, folder, settings, adapter, base, watch)
    output.result(document_of(recipe, found), view_of(recipe, found))
    output.say(f"answers side by side: {found.page}")
    return 0 if all(gate.is_passed for gate in found.gates) else 1


def _measured(
    recipe: Recipe, run: RunFolder, settings: Settings, adapter: Path | None, base: Path | None, watch: Watch
) -> Measured:
    # Imported late: they load much, and a wrong name is told before.
    from training.answers_page import write_page
    from training.evaluating import evaluate as measure
    from training.evaluation_file import read_evaluation, write_evaluation
    from training.preparing import read_prepared

    state = read_state(run)
    prepared = read_prepared(run.data)
    quantise = None if recipe.quantise_base == "none" else recipe.quantise_base
    is_own = adapter is None and base is None
    place = run.evaluation if is_own else run.evaluation / "other"
    if base is None:
        before = read_evaluation(run.evaluation / "before.json")
    else:
        before = measure(recipe, prepared, base, None, watch, quantise=quantise)
        write_evaluation(before, place / "before.json")
    after = measure(recipe, prepared, base or state.base.folder, adapter or run.adapter, watch, quantise=quantise)
    after = with_judge(recipe, prepared, before, after, router_url(settings), watch)
    write_evaluation(after, place / "after.json")
    gates = judged(recipe, before, after)
    write_gates(gates, place / "gates.json")
    write_page(place / "answers.html", recipe, prepared, before, after, gates)
    if is_own:
        write_state(run, state.model_copy(update={"gates": gates, "results": results_of(before, after)}))
    return Measured(before, after, gates, place / "answers.html")


def document_of(recipe: Recipe, found: Measured) -> dict[str, Any]:
    """As JSON."""
    before, after = found.before, found.after
    gains = {name: gain for name in after.figures if (gain := gain_of(name, before, after))}
    return {
        "name": recipe.name,
        "before": {name: dataclasses.asdict(figure) for name, figure in before.figures.items()},
        "after": {name: dataclasses.asdict(figure) for name, figure in after.figures.items()},
        "gain": {name: dataclasses.asdict(figure) for name, figure in gains.items()},
        "groups": {
            group: {name: dataclasses.asdict(figure) for name, figure in figures.items()}
            for group, figures in after.groups.items()
        },
        "look_at": [dataclasses.asdict(each) for each in group_findings(before, after, recipe.evaluation.metric)],
        "results": results_of(before, after),
        "gates": [dataclasses.asdict(gate) for gate in found.gates],
        "is_good_enough": all(gate.is_passed for gate in found.gates),
        "page": str(found.page),
    }


def view_of(recipe: Recipe, found: Measured) -> RenderableType:
    """For a person."""
    table = Table(box=None, pad_edge=False)
    for title in ("metric", "before", "after", "interval", "gain", "interval"):
        table.add_column(title, justify="left" if title == "metric" else "right")
    for name, after in found.after.figures.items():
        before, gain = found.before.figures.get(name), gain_of(name, found.before, found.after)
        table.add_row(
            name + (", less is better" if name in LOWER_IS_BETTER else ""),
            f"{before.value:.3f}" if before else "",
            f"{after.value:.3f}",
            f"{after.ci_low:.3f} to {after.ci_high:.3f}",
            f"{gain.value:+.3f}" if gain else "",
            f"{gain.ci_low:+.3f} to {gain.ci_high:+.3f}" if gain else "",
        )
    lines = [
        f"gate {gate.metric} {gate.required}: {'passed' if gate.is_passed else 'NOT passed'}"
        + (" (not measured)" if gate.value is None else f" ({gate.value:.3g})")
        for gate in found.gates
    ]
    findings = group_findings(found.before, found.after, recipe.evaluation.metric)
    lines += [f"look at group {finding.sentence}" for finding in findings]
    return Group(table, Text("\n".join(lines)))
