"""Beginning a rollout: the same checks and the same note in the history, whichever command asks for it."""

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final, TypeVar

import click

from cluster.settings import Settings
from fenzhen.durations import Duration, Steps, shown
from registry.history import Note
from registry.rollout import Rollout
from registry.rollout_start import before, begun, require_gates
from registry.rollout_states import Plan
from registry.rollout_store import RolloutStore
from registry.versions import Version, VersionStore

_Command = TypeVar("_Command", bound=Callable[..., Any])


_PLAN_OPTIONS: Final = (
    ("--shadow", Duration(), "10m", "First copies only, so long."),
    ("--shadow-ratio", click.FloatRange(0, 1), 0.1, "Requests copied."),
    ("--steps", Steps(), "5,25,50", "Percent of the conversations."),
    ("--bake", Duration(), "30m", "Each step lasts at least so long."),
    ("--loading", Duration(), "15m", "Given up if not loaded by then."),
)


def plan_options(command: _Command) -> _Command:
    """Add `--shadow`, `--shadow-ratio`, `--steps`, `--bake` and `--loading`: seconds and ratios, as `Plan` has them."""
    for name, kind, default, words in reversed(_PLAN_OPTIONS):
        command = click.option(name, type=kind, default=default, show_default=True, help=words)(command)
    return command


def usual_plan(started_by: str, why: str) -> Plan:
    """The plan that those options make when none is given."""
    options: Any = _PLAN_OPTIONS  # Each has a type of its own.
    values = [kind.convert(default, None, None) for _, kind, default, _ in options]
    shadow_s, shadow_ratio, steps, bake_s, loading_s = values
    return Plan(steps, bake_s, shadow_s, shadow_ratio, loading_s, started_by, why)


def begin(
    version: Version,
    plan: Plan,
    settings: Settings,
    versions: VersionStore,
    store: RolloutStore,
    *,
    despite_gates: str | None = None,
) -> Rollout:
    """Put a version's rollout before the controller. Raises UserError with what to mend if it cannot begin."""
    if despite_gates:
        said = f"despite its gates: {despite_gates}"
        plan = replace(plan, why=f"{plan.why}; {said}" if plan.why else said)
    else:
        require_gates(version)
    duty = store.snapshot().duties.get(version.name)
    in_registry = [each for each in versions.versions(version.name) if "stable" in each.aliases] if duty is None else []
    stable = in_registry[0] if in_registry else None
    now = before(version.name, version.serves, duty, stable, settings)
    rollout = begun(version, now, plan, settings, time.time())
    said = over(rollout)
    note = Note(
        version.name, rollout.rollout_id, "started", plan.started_by, f"{said}: {plan.why}" if plan.why else said
    )
    store.start(rollout, note)
    return rollout


def over(rollout: Rollout) -> str:
    """Which version is let in over which, in words."""
    return f"version {rollout.canary.side.version} over {rollout.stable.side.version or 'the model as configured'}"


def announced(rollout: Rollout) -> str:
    """What has begun and how long it takes at least: one line for people."""
    plan = rollout.plan
    least = shown(plan.shadow_s + plan.bake_s * (len(plan.steps) + 1))
    return f"{rollout.name}: {over(rollout)}; {len(plan.steps)} steps, at least {least} in all."
