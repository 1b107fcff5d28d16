"""Whether a version may be rolled out, and what it is compared with."""

import uuid
from dataclasses import dataclass

from cluster.errors import UserError
from cluster.settings import Settings
from registry.errands import release_of
from registry.rollout import Rollout
from registry.rollout_states import Duty, Pending, Plan, Release, Reloading, as_configured
from registry.traffic_plan import AUTO
from registry.versions import Version


@dataclass(frozen=True, slots=True)
class Before:
    """What answers for a name now."""

    stable: Release
    previous: Release | None


def begun(version: Version, before: Before, plan: Plan, settings: Settings, now_s: float) -> Rollout:
    """A rollout of that version. Raises UserError with what to mend if it cannot be."""
    _require_carried(version, before.stable, settings)
    if version.version == before.stable.side.version:
        raise UserError(f"{version.name} {version.version} is stable already: all requests go to it")
    return Rollout(
        rollout_id=uuid.uuid4().hex[:12],
        name=version.name,
        plan=plan,
        stable=before.stable,
        canary=release_of(version),
        state=Pending(now_s),
        started_s=now_s,
        previous=before.previous,
    )


def before(name: str, serves: str, duty: Duty | None, stable: Version | None, settings: Settings) -> Before:
    """What the version is compared with. `stable`: the version of that alias, if there is one."""
    if duty is not None:
        return Before(duty.stable, duty.previous)
    if stable is not None:
        # The registry remembers a duty that this database has never known, or no longer knows.
        return Before(release_of(stable), None)
    served = {card.name for card in settings.served_models}
    return Before(as_configured(name if name in served else serves, name=name), None)


def taken_back(duty: Duty, name: str, plan: Plan, *, by: str, reason: str, now_s: float) -> Rollout:
    """The way back after a rollout is over. Raises UserError if there is nothing to go back to."""
    if duty.previous is None:
        raise UserError(f"{name} has no version before: there is nothing to go back to")
    return Rollout(
        rollout_id=uuid.uuid4().hex[:12],
        name=name,
        plan=plan,
        stable=duty.previous,
        canary=duty.stable,
        state=Reloading(now_s, reason, by),
        started_s=now_s,
    )


def require_gates(version: Version) -> None:
    """Raises UserError naming the gates that were not passed."""
    failed = [gate for gate in version.gates if not gate.is_passed]
    if failed:
        lines = "; ".join(
            f"{gate.metric} must be {gate.required}, "
            + ("not measured" if gate.value is None else f"is {gate.value:g}")
            for gate in failed
        )
        raise UserError(
            f"{version.name} {version.version} has not passed its gates: {lines}. "
            "--despite-gates REASON starts it all the same, and the reason is kept"
        )


def _require_carried(version: Version, stable: Release, settings: Settings) -> None:
    name, serves = version.name, version.serves
    if (name == AUTO) != (version.kind == "judge"):
        raise UserError(f"{name} {version.version} is a {version.kind}: `{AUTO}` takes judges, and nothing else does")
    if version.kind == "judge":
        return
    pools = {pool.model: pool for pool in settings.pools}
    if serves not in pools:
        raise UserError(
            f"{name} {version.version} needs the model {serves!r} to be served; there are {', '.join(sorted(pools))}"
        )
    pool = pools[serves]
    if settings.model(serves).task != "chat":
        raise UserError(f"{name} {version.version}: {serves} is served as {settings.model(serves).task}, not for chats")
    if version.kind == "adapter" and pool.max_adapters == 0:
        raise UserError(
            f"{name} {version.version} is an adapter of {serves}, whose pool takes none: set max_adapters in its pool"
        )
    needed = sum(kind == "adapter" for kind in (version.kind, stable.kind))
    if version.kind == "adapter" and pool.max_adapters < needed:
        raise UserError(
            f"pool {serves} has room for {pool.max_adapters} adapter (max_adapters); a rollout of {name} needs "
            f"room for {needed}: the one in use and the new one"
        )
