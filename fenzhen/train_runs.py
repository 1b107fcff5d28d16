"""`fenzhen train runs`: what was trained, how far it came, and whether it was good enough."""

import time
from pathlib import Path
from typing import Any

import click
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from cluster.errors import FenzhenError, UserError
from cluster.settings import Settings
from fenzhen.options import config_options, json_option, load
from fenzhen.output import Output
from registry.run_spool import RunSpool
from registry.stores import open_training_runs
from training.run_folder import RunFolder
from training.run_state import RunState, find_run, is_locked, locked, read_state, run_folders


@click.command()
@config_options
@json_option
@click.argument("run", required=False)
def runs(config: Path | None, profile_name: str | None, as_json: bool, run: str | None) -> None:
    """List the runs, the last one at the end; or show RUN: a name, the beginning of one, or a folder.

    Figures that MLflow has not taken yet are sent to it now.
    """
    settings, _ = load(config, profile_name)
    output = Output(as_json)
    if run is not None:
        folder = find_run(settings.site.state_dir, run)
        state = read_state(folder)
        output.result(_document(folder, state), _one(folder, state))
        _send_left_over((folder,), settings, output)
        return
    folders = run_folders(settings.site.state_dir)
    states = [read_state(folder) for folder in folders]
    document = [_document(folder, state) for folder, state in zip(folders, states, strict=True)]
    if not folders:
        output.say("There are no runs yet; `fenzhen train recipe > recipe.yaml` begins one.")
    output.result(document, _table(folders, states) if folders else "")
    _send_left_over(folders, settings, output)


def phase_of(run: RunFolder, state: RunState) -> str:
    """How a run is, in a word or two: one that was killed could not write that down."""
    if state.phase == "running":
        return f"in {state.next_stage}" if is_locked(run) else f"killed in {state.next_stage}"
    return state.phase


def _document(run: RunFolder, state: RunState) -> dict[str, Any]:
    return {
        "run": run.path.name,
        "folder": str(run.path),
        "state": phase_of(run, state),
        **state.model_dump(mode="json", exclude={"format", "phase"}),
        "is_good_enough": state.is_good_enough,
    }


def _table(folders: tuple[RunFolder, ...], states: list[RunState]) -> Table:
    table = Table(box=None, pad_edge=False)
    for title in ("run", "state", "measured by", *_NUMBERS, "gates", "version"):
        table.add_column(title, no_wrap=title in ("run", *_NUMBERS), justify="right" if title in _NUMBERS else "left")
    for folder, state in zip(folders, states, strict=True):
        results, metric = state.results, state.metric
        version = "" if state.published_version is None else str(state.published_version)
        table.add_row(
            folder.path.name, phase_of(folder, state), metric,
            _number(results.get(f"{metric}_before")), _number(results.get(metric)), _gates(state), version,
        )  # fmt: skip
    return table


_NUMBERS = ("before", "after")


def _one(run: RunFolder, state: RunState) -> RenderableType:
    lines = [
        f"{run.path.name}: {phase_of(run, state)}" + (f": {state.problem}" if state.problem else ""),
        f"began {_when(state.created_s)}, base {state.base.origin}, {state.base.parameters:,} parameters",
        ", ".join(f"{count:,} rows {name}" for name, count in state.rows.items()),
    ]
    if fitted := state.fitted:
        lines.append(
            f"{fitted.steps:,} steps{' (ended early)' if fitted.stopped_early else ''}, {fitted.tokens:,} tokens at "
            f"{fitted.tokens_per_s:,.0f} a second, at most {fitted.peak_memory_bytes / 1e9:.1f} GB"
        )
    table = Table(box=None, pad_edge=False)
    for title in ("result", "before", "after"):
        table.add_column(title, justify="left" if title == "result" else "right")
    for name, value in state.results.items():
        if (before := state.results.get(f"{name}_before")) is not None:
            table.add_row(name, _number(before), _number(value))
    gates = [
        f"gate {gate.metric} {gate.required}: {'passed' if gate.is_passed else 'NOT passed'} ({_number(gate.value)})"
        for gate in state.gates
    ]
    if state.next_stage is not None and not is_locked(run):
        gates.append(f"To go on: fenzhen train run --resume {run.path}")
    return Group(Text("\n".join(lines)), table, Text("\n".join(gates)))


def _send_left_over(folders: tuple[RunFolder, ...], settings: Settings, output: Output) -> None:
    """Send what MLflow could not take while a run went on; one complaint is enough."""
    for folder in folders:
        try:
            with locked(folder):
                if RunSpool(folder.path).unsent(1) and not open_training_runs(settings, folder.path, output.say).send():
                    return
        except UserError:
            # It runs: its own process sends.
            continue
        except FenzhenError as error:
            output.say(str(error))
            return


def _when(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))


def _gates(state: RunState) -> str:
    if not state.gates:
        return ""
    passed = sum(gate.is_passed for gate in state.gates)
    return "passed" if passed == len(state.gates) else f"{passed} of {len(state.gates)}"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"
