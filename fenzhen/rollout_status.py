"""`fenzhen rollout status`: how far each rollout is, what the judge sees, and what it waits for."""

import json
import time
from pathlib import Path
from typing import Any, Final

import click
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from cluster.errors import FenzhenError, NotFound
from fenzhen.durations import shown
from fenzhen.options import config_options, json_option, load
from fenzhen.output import Output
from registry.rollout import Rollout
from registry.rollout_store import RolloutStore, Watch, open_rollouts

_WATCH_S: Final = 1.0
_LONGEST_UNIT: Final = 6
_STYLES: Final = {"no worse": "green", "worse": "bold red", "unknown": "dim"}


@click.command()
@config_options
@json_option
@click.argument("name", required=False)
@click.option("--watch", is_flag=True, help="Go on showing it until the rollout is over, or Ctrl-C.")
def status(config: Path | None, profile_name: str | None, as_json: bool, name: str | None, watch: bool) -> int:
    """Show the rollout of NAME, or the last one of every name.

    Works without the registry of versions. Exit code 0; 3 if no controller runs while a rollout is not over.
    """
    if watch and as_json:
        raise click.UsageError("--watch and --json exclude each other", click.get_current_context())
    settings, _ = load(config, profile_name)
    store, output = open_rollouts(settings), Output(as_json)
    document = _document(store, name)
    if watch:
        return _watched(store, name, document)
    output.result(document, _view(document))
    return _exit_code(document)


def _watched(store: RolloutStore, name: str | None, document: dict[str, Any]) -> int:
    with Live(_view(document), console=Console(markup=False, highlight=False), auto_refresh=False) as live:
        while any(not rollout["is_over"] for rollout in document["rollouts"]):
            time.sleep(_WATCH_S)
            try:
                document = _document(store, name)
            except FenzhenError as error:
                live.update(Group(_view(document), Text(f"\n{error}", style="bold red")), refresh=True)
            else:
                live.update(_view(document), refresh=True)
    return _exit_code(document)


def _exit_code(document: dict[str, Any]) -> int:
    is_running = any(not rollout["is_over"] for rollout in document["rollouts"])
    return 3 if is_running and not document["controller"] else 0


def _document(store: RolloutStore, name: str | None) -> dict[str, Any]:
    now = store.snapshot()
    last = store.latest(name)
    if name is not None and not last:
        known = ", ".join(rollout.name for rollout in store.latest())
        raise NotFound(f"there was no rollout of {name}; {f'there were of {known}' if known else 'nor of any name'}")
    return {
        "controller": now.leader,
        "rollouts": [_rollout(rollout, store.watch(rollout.rollout_id), now.now_s) for rollout in last],
    }


def _rollout(rollout: Rollout, watch: Watch | None, now_s: float) -> dict[str, Any]:
    # What was stored of the stage before says nothing of this one.
    is_of_stage = watch is not None and watch.stage == rollout.stage and not rollout.is_over
    seen: dict[str, Any] = json.loads(watch.document) if watch is not None and is_of_stage else {}
    return {
        "name": rollout.name,
        "rollout_id": rollout.rollout_id,
        "version": rollout.canary.side.version,
        "over": rollout.stable.side.version,
        "kind": rollout.canary.kind,
        "stage": rollout.stage,
        "is_over": rollout.is_over,
        "canary_ratio": rollout.canary_ratio,
        "in_stage_s": max(0.0, now_s - rollout.state.since_s),
        "held_by": rollout.hold.by if rollout.hold is not None else None,
        "reason": getattr(rollout.state, "reason", ""),
        "waits_for": "" if rollout.is_over else seen.get("waits_for") or "a controller must take it up",
        "verdict": seen.get("verdict"),
        "routers": seen.get("routers", {}),
        "started_by": rollout.plan.started_by,
        "why": rollout.plan.why,
    }


def _view(document: dict[str, Any]) -> Group:
    if not document["rollouts"]:
        return Group(Text("Nothing was rolled out yet; `fenzhen rollout start` begins."))
    table = Table(box=None, pad_edge=False)
    for title in ("name", "version", "over", "stage", "share", "since", ""):
        right = title in ("version", "over", "share", "since")
        table.add_column(title, justify="right" if right else "left", overflow="fold")
    parts: list[Any] = [table]
    for rollout in document["rollouts"]:
        stage = rollout["stage"] + (", held" if rollout["held_by"] else "")
        table.add_row(
            rollout["name"],
            str(rollout["version"]),
            str(rollout["over"] or "as configured"),
            Text(stage, style=_style(rollout)),
            f"{rollout['canary_ratio']:.0%}",
            shown(rollout["in_stage_s"]) or "0s",
            rollout["waits_for"] or rollout["reason"],
        )
        if rollout["verdict"] is not None:
            parts += _verdict(rollout["name"], rollout["verdict"])
    if not document["controller"] and any(not rollout["is_over"] for rollout in document["rollouts"]):
        parts.append(Text("\nNo controller runs: nothing moves until the stack does.", style="bold red"))
    return Group(*parts)


def _style(rollout: dict[str, Any]) -> str:
    if rollout["stage"] in ("rolling back", "rolled back"):
        return "bold red"
    return "yellow" if rollout["held_by"] else "green"


def _verdict(name: str, verdict: dict[str, Any]) -> list[Any]:
    """The judge's figures: each metric of both sides, and what it makes of them."""
    head = Text(
        f"\n{name}: {verdict['answer'].replace('_', ' ')}: {verdict['reason']}\n"
        f"  stable {verdict['stable_requests']} requests, new version {verdict['canary_requests']}"
    )
    findings = Table(box=None, pad_edge=False)
    for title in ("  metric", "stable", "new", "difference", "between", "says"):
        findings.add_column(title, justify="left" if title in ("  metric", "says") else "right")
    for finding in verdict["findings"]:
        # A long unit is said once.
        is_long = len(finding["unit"]) > _LONGEST_UNIT
        unit = " " if is_long else finding["unit"]
        findings.add_row(
            f"  {finding['metric']}" + (f", {finding['unit']}" if is_long else ""),
            _figure(finding["stable"], unit),
            _figure(finding["canary"], unit),
            _figure(finding["difference"], unit, sign="+"),
            f"{_figure(finding['low'], unit, sign='+')} to {_figure(finding['high'], unit, sign='+')}",
            Text(finding["says"], style=_STYLES.get(finding["says"], "")),
        )
    return [head, findings] if verdict["findings"] else [head]


def _figure(value: float | None, unit: str, sign: str = "") -> str:
    if value is None:
        return "-"
    return f"{value:{sign}.3g} {unit}".rstrip() if unit else f"{value:{sign}.2%}"
