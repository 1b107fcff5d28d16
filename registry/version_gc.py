"""Which versions nobody needs any more: a plain decision."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from registry.versions import Version


class Needs(Protocol):
    """Whoever else needs versions: the rollouts."""

    def needed_versions(self) -> frozenset[tuple[str, int]]:
        """Names with numbers. Raises Unavailable where that cannot be said."""


@dataclass(frozen=True, slots=True)
class Rule:
    """What is kept although nothing points to it."""

    keep_last: int
    """So many versions of each name, the newest."""
    min_age_s: float
    """Younger ones, whatever their number: somebody may be about to use them."""


class Kept(NamedTuple):
    """One version that stays, and why."""

    version: Version
    reason: str


class Plan(NamedTuple):
    """What may go and what stays."""

    remove: tuple[Version, ...]
    keep: tuple[Kept, ...]


def plan_of(versions: Iterable[Version], needed: frozenset[tuple[str, int]], now_s: float, rule: Rule) -> Plan:
    """Decide for each version. What an alias points to or a rollout needs always stays."""
    by_name: dict[str, list[Version]] = defaultdict(list)
    for version in versions:
        by_name[version.name].append(version)
    remove: list[Version] = []
    keep: list[Kept] = []
    for _, named in sorted(by_name.items()):
        newest_first = sorted(named, key=lambda version: -version.version)
        for place, version in enumerate(newest_first):
            if reason := _reason(version, place, needed, now_s, rule):
                keep.append(Kept(version, reason))
            else:
                remove.append(version)
    return Plan(tuple(remove), tuple(keep))


def digests_in_use(versions: Iterable[Version], needed: frozenset[tuple[str, int]]) -> frozenset[str]:
    """The digests whose files this machine has a use for; others can be fetched again."""
    return frozenset(
        version.sha256 for version in versions if version.aliases or (version.name, version.version) in needed
    )


def _reason(version: Version, place: int, needed: frozenset[tuple[str, int]], now_s: float, rule: Rule) -> str:
    if version.aliases:
        return f"is {', '.join(version.aliases)}"
    if (version.name, version.version) in needed:
        return "a rollout needs it"
    if place < rule.keep_last:
        return f"one of the last {rule.keep_last}"
    if now_s - version.created_s < rule.min_age_s:
        return "too young"
    return ""
