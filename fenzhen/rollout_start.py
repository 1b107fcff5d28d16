"""`fenzhen rollout start`."""

import time
from pathlib import Path
from typing import Final

import click

from cluster.errors import NotFound, UserError
from cluster.settings import Settings
from fenzhen.durations import Duration, Steps, shown
from fenzhen.options import config_options, load
from fenzhen.output import Output
from fenzhen.rollout_orders import ANSWER_S, person, require_leader
from registry.history import Note
from registry.rollout import Rollout
from registry.rollout_start import before, begun, require_gates
from registry.rollout_states import Plan
from registry.rollout_store import RolloutStore, open_rollouts
from registry.stores import open_versions
from registry.versions import Version, VersionStore

_LOOK_S: Final = 0.3


@click.command()
@config_options
@click.argument("name")
@click.argument("version")
@click.option("--shadow", type=Duration(), default="10m", show_default=True, help="First copies only, so long.")
@click.option("--shadow-ratio", type=click.FloatRange(0, 1), default=0.1, show_default=True, help="Requests copied.")
@click.option("--steps", type=Steps(), default="5,25,50", show_default=True, help="Percent of the conversations.")
@click.option("--bake", type=Duration(), default="30m", show_default=True, help="Each step lasts at least so long.")
@click.option("--loading", type=Duration(), default="15m", show_default=True, help="Given up if not loaded by then.")
@click.option("--reason", default="", metavar="TEXT", help="Kept in the history.")
@click.option("--despite-gates", metavar="REASON", help="Start though gates were not passed; the reason is kept.")
def start(
    config: Path | None,
    profile_name: str | None,
    name: str,
    version: str,
    shadow: float,
    shadow_ratio: float,
    steps: tuple[float, ...],
    bake: float,
    loading: float,
    reason: str,
    despite_gates: str | None,
) -> int:
    """Let VERSION of NAME in, step by step: a number, or an alias such as @canary.

    Each step goes on only when the judge finds the new version no worse; what harms is rolled back by itself.
    `fenzhen registry list` shows what there is.
    """
    settings, _ = load(config, profile_name)
    output = Output()
    # The registry first: if it is away, nothing is written anywhere.
    versions = open_versions(settings)
    chosen = _chosen(versions, name, version)
    why = reason
    if despite_gates:
        why = f"{reason}; despite its gates: {despite_gates}" if reason else f"despite its gates: {despite_gates}"
    else:
        require_gates(chosen)
    store = open_rollouts(settings)
    plan = Plan(
        steps=steps,
        bake_s=bake,
        shadow_s=shadow,
        shadow_ratio=shadow_ratio,
        loading_s=loading,
        started_by=person(),
        why=why,
    )
    rollout = _rollout(chosen, store, versions, plan, settings)
    said = f"version {chosen.version} over {rollout.stable.side.version or 'the model as configured'}"
    store.start(rollout, Note(name, rollout.rollout_id, "started", person(), f"{said}: {why}" if why else said))
    least = shadow + bake * (len(steps) + 1)
    output.say(f"{name}: {said}; {len(steps)} steps, at least {shown(least)} in all.")
    return _followed(store, rollout, output)


def _chosen(versions: VersionStore, name: str, version: str) -> Version:
    if version.startswith("@"):
        for each in versions.versions(name):
            if version[1:] in each.aliases:
                return each
        raise NotFound(f"{name} has no alias {version[1:]}; `fenzhen registry list {name}` shows what there is")
    if not (version.isascii() and version.isdigit()):
        raise UserError(f"{version!r} is neither a version's number nor an alias such as @canary")
    return versions.version(name, int(version))


def _rollout(chosen: Version, store: RolloutStore, versions: VersionStore, plan: Plan, settings: Settings) -> Rollout:
    duty = store.snapshot().duties.get(chosen.name)
    in_registry = [each for each in versions.versions(chosen.name) if "stable" in each.aliases] if duty is None else []
    stable = in_registry[0] if in_registry else None
    return begun(chosen, before(chosen.name, chosen.serves, duty, stable, settings), plan, settings, time.time())


def _followed(store: RolloutStore, rollout: Rollout, output: Output) -> int:
    """Wait until a controller has taken it up."""
    ends_s = time.monotonic() + ANSWER_S
    while time.monotonic() < ends_s:
        (last,) = store.latest(rollout.name)
        if last.rollout_id != rollout.rollout_id or last.stage != "pending":
            output.say(f"Taken up: {last.stage}. `fenzhen rollout status {rollout.name} --watch` follows it.")
            return 0
        time.sleep(_LOOK_S)
    require_leader(store)
    output.say("The controller of rollouts has not taken it up yet; it stays written down.")
    return 3
