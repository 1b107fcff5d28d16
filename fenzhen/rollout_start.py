"""`fenzhen rollout start`."""

import time
from pathlib import Path
from typing import Final

import click

from cluster.errors import NotFound, UserError
from fenzhen.options import config_options, load
from fenzhen.output import Output
from fenzhen.rollout_begin import announced, begin, plan_options
from fenzhen.rollout_orders import ANSWER_S, person, require_leader
from registry.rollout import Rollout
from registry.rollout_states import Plan
from registry.rollout_store import RolloutStore, open_rollouts
from registry.stores import open_versions
from registry.versions import Version, VersionStore

_LOOK_S: Final = 0.3


@click.command()
@config_options
@click.argument("name")
@click.argument("version")
@plan_options
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
    plan = Plan(
        steps=steps,
        bake_s=bake,
        shadow_s=shadow,
        shadow_ratio=shadow_ratio,
        loading_s=loading,
        started_by=person(),
        why=reason,
    )
    store = open_rollouts(settings)
    rollout = begin(chosen, plan, settings, versions, store, despite_gates=despite_gates)
    output.say(announced(rollout))
    return followed(store, rollout, output)


def _chosen(versions: VersionStore, name: str, version: str) -> Version:
    if version.startswith("@"):
        for each in versions.versions(name):
            if version[1:] in each.aliases:
                return each
        raise NotFound(f"{name} has no alias {version[1:]}; `fenzhen registry list {name}` shows what there is")
    if not (version.isascii() and version.isdigit()):
        raise UserError(f"{version!r} is neither a version's number nor an alias such as @canary")
    return versions.version(name, int(version))


def followed(store: RolloutStore, rollout: Rollout, output: Output) -> int:
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
