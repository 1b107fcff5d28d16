"""What routers and engines shall do, from what is stored: the same state always leads to the same splits."""

from collections.abc import Iterable, Mapping, Sequence

from cluster.directory import Endpoint
from cluster.traffic import AS_CONFIGURED, Adapter, Split, Traffic
from registry.demand import Demand
from registry.placement import Wanted, placed
from registry.rollout import Rollout
from registry.rollout_states import (
    Canary,
    Duty,
    Loading,
    Pending,
    Promoted,
    Promoting,
    Release,
    Reloading,
    RollingBack,
    Shadow,
)

AUTO = "auto"


def planned(
    generation: int,
    rollouts: Sequence[Rollout],
    duties: Mapping[str, Duty],
    endpoints: Sequence[Endpoint],
    demand: Demand,
    now_s: float,
) -> Traffic:
    """All splits and adapters that shall be in force."""
    running = {rollout.name: rollout for rollout in rollouts if not rollout.is_over}
    names = sorted(running.keys() | duties.keys())
    splits = (_split(name, running.get(name), duties.get(name)) for name in names)
    return Traffic(
        generation=generation,
        splits=tuple(split for split in splits if split is not None and not _says_nothing(split)),
        adapters=_adapters(running, duties, endpoints, demand, now_s),
    )


def is_ready(release: Release, endpoints: Iterable[Endpoint], adapters: Iterable[Adapter]) -> bool:
    """Whether every engine that shall carry a version has it loaded and warm."""
    match release.kind:
        case "judge":
            return True
        case "adapter":
            wanted = {each for adapter in adapters if _is(adapter, release) for each in adapter.endpoint_ids}
            # An engine that has left the table since the adapter was placed is not waited for: placing goes on.
            there = [endpoint for endpoint in endpoints if endpoint.endpoint_id in wanted]
            return bool(there) and all(_carries(endpoint, release) for endpoint in there)
        case _ if not release.side.pool:
            return True
        case _:
            return any(_carries(endpoint, release) for endpoint in endpoints)


def is_served(release: Release, endpoints: Iterable[Endpoint]) -> bool:
    """Whether at least one engine can answer for a version now."""
    return not release.side.pool or any(_carries(endpoint, release) for endpoint in endpoints)


def load_fault(releases: Iterable[Release], endpoints: Iterable[Endpoint]) -> str:
    """Why an engine could not load an adapter; empty: none has said so."""
    names = {release.side.served_name for release in releases if release.kind == "adapter"}
    for endpoint in endpoints:
        for served_name, words in endpoint.adapter_faults:
            if served_name in names:
                return f"{endpoint.endpoint_id} cannot load {served_name}: {words}"
    return ""


def _split(name: str, rollout: Rollout | None, duty: Duty | None) -> Split | None:
    match rollout.state if rollout is not None else None:
        case Shadow():
            assert rollout is not None
            return _watched(rollout, shadow_ratio=rollout.plan.shadow_ratio)
        case Canary() | Promoting() | Promoted():
            # After the promotion too: should the new version fail, callers still get the answers of the one before.
            assert rollout is not None
            return _watched(rollout)
        case RollingBack():
            assert rollout is not None
            return Split(name, rollout.stable.side)
        case _:
            return None if duty is None else Split(name, duty.stable.side)


def _watched(rollout: Rollout, *, shadow_ratio: float = 0.0) -> Split:
    return Split(
        name=rollout.name,
        stable=rollout.stable.side,
        canary=rollout.canary.side,
        canary_ratio=rollout.canary_ratio,
        shadow_ratio=shadow_ratio,
        rollout_id=rollout.rollout_id,
    )


def _says_nothing(split: Split) -> bool:
    """Whether requests go where they would go without it."""
    side = split.stable
    return split.canary is None and side.version == AS_CONFIGURED and side.pool in (split.name, "")


def _adapters(
    running: Mapping[str, Rollout],
    duties: Mapping[str, Duty],
    endpoints: Sequence[Endpoint],
    demand: Demand,
    now_s: float,
) -> tuple[Adapter, ...]:
    pinned = [release for rollout in running.values() for release in _pinned(rollout)]
    # The one before stays where there is room for it, so that even a late way back needs no load.
    asked = [release for duty in duties.values() for release in (duty.stable, duty.previous) if release is not None]
    releases = {
        release.side.served_name: release
        for release in (*asked, *pinned)
        if release.kind == "adapter" and release.is_at_hand
    }
    pinned_names = {release.side.served_name for release in pinned}
    wanted = [
        Wanted(
            served_name=served_name,
            base=release.side.pool,
            is_pinned=served_name in pinned_names,
            demand_per_s=demand.per_s(served_name, now_s),
            last_used_s=demand.last_used_s(served_name),
        )
        for served_name, release in sorted(releases.items())
    ]
    places = placed(wanted, endpoints)
    return tuple(
        Adapter(each.served_name, each.base, release.folder, release.sha256, places[each.served_name])
        for each in wanted
        for release in (releases[each.served_name],)
    )


def _pinned(rollout: Rollout) -> tuple[Release, ...]:
    match rollout.state:
        case Pending():
            return ()
        case Loading() | Shadow() | Canary() | Promoting() | Promoted() | Reloading():
            return (rollout.stable, rollout.canary)
        case _:
            return (rollout.stable,)


def _carries(endpoint: Endpoint, release: Release) -> bool:
    if endpoint.state != "ready" or endpoint.model != release.side.pool:
        return False
    return release.kind != "adapter" or release.side.served_name in endpoint.adapters


def _is(adapter: Adapter, release: Release) -> bool:
    return adapter.served_name == release.side.served_name
