"""What is different between the configuration that runs and another, and what it takes to get there."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from cluster.settings import Settings

# Callers find the router by these.
_ADDRESS: Final = frozenset(("host", "port", "ingress"))
# Of a model's card; what only a fetch or a check before a start reads is not among them.
_READ_BY_ROUTER: Final = frozenset(("languages", "max_difficulty", "ability", "tools", "task", "parameters_b"))
# Of `rollouts`; the other keys are the router's.
_READ_BY_CONTROLLER: Final = frozenset(("lease_s", "alert_port", "alert_token_file", "judge", "drift"))
_READ_BY_ENGINES: Final = frozenset(("sources",))
_READ_BY_BOTH: Final = frozenset(("context_tokens",))
_ABSENT: Final = "not there"
_MAX_SHOWN: Final = 60


@dataclass(frozen=True, slots=True)
class Changes:
    """Each change as a line for people: `router.drain_s: 30 → 10`."""

    router: tuple[str, ...]
    """The router's replicas must be replaced."""
    rollouts: tuple[str, ...]
    """The controller of rollouts must be replaced."""
    restart: tuple[str, ...]
    """Everything must be stopped and started."""


def changes(running: Settings, wanted: Settings) -> Changes:
    """What of `wanted` does not run yet. What nothing that runs has read is no change."""
    router: list[str] = []
    rollouts: list[str] = []
    restart: list[str] = []
    old, new = dict(_values(running)), dict(_values(wanted))
    engine_models = {pool.model for settings in (running, wanted) for pool in settings.engine_pools}
    for path in sorted(old.keys() | new.keys()):
        before, after = old.get(path, _ABSENT), new.get(path, _ABSENT)
        if before == after:
            continue
        line = f"{'.'.join(path)}: {_shown(before)} → {_shown(after)}"
        match path:
            case ("router", name):
                (restart if name in _ADDRESS else router).append(line)
            case ("judging" | "feedback", _):
                router.append(line)
            case ("registry", _):
                rollouts.append(line)
            case ("rollouts", name):
                (rollouts if name in _READ_BY_CONTROLLER else router).append(line)
            case ("pools", _, "busy_in_flight"):
                router.append(line)
            case ("models", name, key) if key in _READ_BY_BOTH:
                (restart if name in engine_models else router).append(line)
            case ("models", _, key) if key in _READ_BY_ROUTER:
                router.append(line)
            case ("models", name, key) if key in _READ_BY_ENGINES and name in engine_models:
                restart.append(line)
            case ("models", *_):
                continue
            case _:
                restart.append(line)
    return Changes(tuple(router), tuple(rollouts), tuple(restart))


def _values(settings: Settings) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Each setting of a served model, a pool or a section with its path, models and pools by their names."""
    for card in settings.served_models:
        yield from ((("models", card.name, key), value) for key, value in _plain(card).items())
    for pool in settings.pools:
        yield from ((("pools", pool.model, key), value) for key, value in _plain(pool).items())
    sections = {
        "router": settings.router,
        "judging": settings.judging,
        "feedback": settings.feedback,
        "registry": settings.registry,
        "rollouts": settings.rollouts,
        "site": settings.site,
    }
    for name, section in sections.items():
        yield from (((name, key), value) for key, value in _plain(section).items())


def _plain(section: Any) -> Mapping[str, Any]:
    values: Mapping[str, Any] = section.model_dump(mode="json")
    return values


def _shown(value: Any) -> str:
    if value is _ABSENT:
        return _ABSENT
    text = ", ".join(map(str, value)) if isinstance(value, list) and value else str(value)
    return text if len(text) <= _MAX_SHOWN else text[: _MAX_SHOWN - 1] + "…"
