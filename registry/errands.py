"""What rollouts want of the registry of versions: fetched files, moved aliases. Done in threads, beside the loop.

The registry may hang or be down for hours: then an errand is tried again and again, and nobody else waits for it. One
rollout has one errand at a time, so that an alias that a promotion moves late is never moved after the rollback's.
"""

import asyncio
import logging
import threading
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from cluster.errors import FenzhenError, OurFault, Unavailable
from cluster.traffic import AS_CONFIGURED, Side
from registry.rollout import Rollout
from registry.rollout_states import (
    Canary,
    Loading,
    Promoted,
    Promoting,
    Release,
    Reloading,
    RollingBack,
    Shadow,
)
from registry.version_files import JUDGE_FILE, PROMPT_FILE, read_prompt
from registry.versions import Alias, Version, VersionStore

# Long enough not to hammer a registry that comes back, short beside what people wait for a promotion.
RETRY_S: Final = 2.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Result:
    """How far an errand is."""

    fetched: tuple[Release, ...] = ()
    are_aliases_moved: bool = False
    fault: str = ""
    """It can never be done."""
    trouble: str = ""
    """It could not be done yet."""


@dataclass(slots=True)
class _Errand:
    """One at work, or its end."""

    stage: str
    is_given_up: threading.Event = field(default_factory=threading.Event)
    result: Result = Result()
    is_done: bool = False
    task: "asyncio.Future[Result] | None" = None
    again_s: float = 0.0


class Errands:
    """Belongs to one controller, for as long as that holds its lease."""

    def __init__(
        self,
        versions: Callable[[], VersionStore],
        versions_dir: Path,
        threads: Executor,
        *,
        retry_s: float = RETRY_S,
    ) -> None:
        """`versions` is called, in a thread, when the first errand needs the registry."""
        self._versions = versions
        self._versions_dir = versions_dir
        self._threads = threads
        self._retry_s = retry_s
        self._errands: dict[str, _Errand] = {}

    def look(self, rollout: Rollout, require_lease: Callable[[], None]) -> Result:
        """Begin what this state needs, unless it is under way, and say how far it is. Does not wait."""
        loop = asyncio.get_running_loop()
        errand = self._errands.get(rollout.rollout_id)
        if errand is not None and errand.task is not None:
            if not errand.task.done():
                if errand.stage != rollout.stage:
                    errand.is_given_up.set()
                    return Result(trouble="the registry has not answered yet")
                return errand.result
            errand.result, errand.task = errand.task.result(), None
            errand.is_done = not errand.result.trouble
            errand.again_s = loop.time() + self._retry_s
        if errand is None or errand.stage != rollout.stage:
            errand = self._errands[rollout.rollout_id] = _Errand(rollout.stage)
        if not errand.is_done and loop.time() >= errand.again_s and _needs_registry(rollout):
            work = _Work(rollout, self._versions, self._versions_dir, require_lease, errand.is_given_up)
            errand.task = loop.run_in_executor(self._threads, work.result)
        return errand.result

    def forget(self, *, but: frozenset[str] = frozenset()) -> None:
        """Give up all errands but those of these rollouts."""
        for rollout_id in self._errands.keys() - but:
            self._errands.pop(rollout_id).is_given_up.set()


def wanted_aliases(rollout: Rollout) -> tuple[tuple[Alias, int | None], ...]:
    """Where the registry's aliases shall point in this state, in the order in which they are moved."""
    stable, canary = _number(rollout.stable), _number(rollout.canary)
    match rollout.state:
        case Shadow() | Canary():
            return (("canary", canary),)
        case Promoting() | Promoted():
            return (("previous", stable), ("stable", canary), ("canary", None))
        case RollingBack():
            return (("stable", stable), ("previous", _number(rollout.previous)), ("canary", None))
        case _:
            return ()


def _number(release: Release | None) -> int | None:
    return None if release is None or release.side.version == AS_CONFIGURED else release.side.version


def _needs_registry(rollout: Rollout) -> bool:
    if isinstance(rollout.state, Loading | Reloading):
        return not (rollout.stable.is_at_hand and rollout.canary.is_at_hand)
    return bool(wanted_aliases(rollout))


@dataclass(frozen=True, slots=True)
class _Work:
    """One try, in a thread."""

    rollout: Rollout
    versions: Callable[[], VersionStore]
    versions_dir: Path
    require_lease: Callable[[], None]
    is_given_up: threading.Event

    def result(self) -> Result:
        """Do it; whatever happens becomes a result."""
        try:
            if isinstance(self.rollout.state, Loading | Reloading):
                return self._fetch()
            return self._move_aliases()
        except Unavailable as error:
            return Result(trouble=str(error))
        except FenzhenError as error:
            return self._failed(str(error))
        except Exception as error:
            # The edge of an errand: what is wrong with one rollout's must not end the controller.
            _log.exception("an errand of rollout %s failed", self.rollout.rollout_id)
            return self._failed(f"a fault of ours, {type(error).__name__}")

    def _failed(self, words: str) -> Result:
        match self.rollout.state:
            case Loading() | Reloading():
                return Result(fault=words)
            case RollingBack():
                # The traffic is back. A version that the registry no longer has can get no alias, however long we try.
                return Result(are_aliases_moved=True, fault=words)
            case _:
                return Result(trouble=words)

    def _fetch(self) -> Result:
        releases = (self.rollout.stable, self.rollout.canary)
        return Result(fetched=tuple(self._at_hand(release) for release in releases if not release.is_at_hand))

    def _at_hand(self, release: Release) -> Release:
        versions = self.versions()
        version = versions.version(self.rollout.name, release.side.version)
        if version.sha256 != release.sha256:
            raise OurFault(
                f"{version.name} {version.version} was {release.sha256[:8]} when the rollout began and is "
                f"{version.sha256[:8]} now: a version must never change"
            )
        return with_files(release, versions.fetch(version, self.versions_dir))

    def _move_aliases(self) -> Result:
        versions = self.versions()
        for alias, number in wanted_aliases(self.rollout):
            if self.is_given_up.is_set():
                return Result(trouble="given up")
            # As late as can be: a controller that was paused meanwhile must not move what its successor has moved.
            self.require_lease()
            versions.set_alias(self.rollout.name, alias, number)
        return Result(are_aliases_moved=True)


def release_of(version: Version) -> Release:
    """A version as it will run; its files are not there yet."""
    match version.kind:
        case "adapter":
            side = Side(version.version, version.serves, version.served_name)
        case "judge":
            side = Side(version.version, "", "")
        case _:
            side = Side(version.version, version.serves, version.serves)
    return Release(side, version.kind, version.sha256)


def with_files(release: Release, folder: Path) -> Release:
    """A release whose verified files lie in that folder. Raises UserError if they cannot be used."""
    match release.kind:
        case "prompt":
            side = replace(release.side, prompt=read_prompt(folder / PROMPT_FILE))
        case "judge":
            side = replace(release.side, judge=str(folder / JUDGE_FILE))
        case _:
            side = release.side
    return replace(release, side=side, folder=str(folder))
