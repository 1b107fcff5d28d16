"""Loads the judges that versions of `auto` bring along, off the loop that serves.

A version whose file cannot be loaded takes no requests: it is told in the log and at /readyz, and tried again, because
a file may still be on its way.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from cluster.errors import UserError
from cluster.traffic import Traffic
from router.estimate import Judge
from router.judge_file import load

_RETRY_S: Final = 2.0

_log = logging.getLogger(__name__)


class SideJudges:
    """Keeps the judges of the versions in force loaded. Lives on one event loop."""

    def __init__(self, take: Callable[[Mapping[str, Judge]], None]) -> None:
        """`take` gets all that are loaded, by path, whenever they change; on the loop on which this is run."""
        self._take = take
        self._wanted: frozenset[str] = frozenset()
        self._loaded: dict[str, Judge] = {}
        self._told: set[str] = set()
        self._has_changed = asyncio.Event()
        self._is_settled = asyncio.Event()
        self._is_settled.set()

    def want(self, traffic: Traffic) -> None:
        """Other judges may be wanted from now on."""
        sides = [side for split in traffic.splits for side in (split.stable, split.canary) if side is not None]
        wanted = frozenset(side.judge for side in sides if side.judge)
        if wanted != self._wanted:
            self._wanted = wanted
            self._is_settled.clear()
            self._has_changed.set()

    async def settled(self) -> None:
        """Wait until each that is wanted has been tried once."""
        await self._is_settled.wait()

    async def run(self) -> None:
        """Load what is wanted, until cancelled."""
        while True:
            try:
                is_complete = await self._load()
            except Exception:
                _log.exception("the judges of versions cannot be loaded; those before stay")
                is_complete = False
            try:
                async with asyncio.timeout(None if is_complete else _RETRY_S):
                    await self._has_changed.wait()
            except TimeoutError:
                pass
            self._has_changed.clear()

    async def _load(self) -> bool:
        """Whether all that are wanted are loaded now."""
        wanted = self._wanted
        loaded = {path: judge for path, judge in self._loaded.items() if path in wanted}
        for path in sorted(wanted - loaded.keys()):
            try:
                loaded[path] = await asyncio.to_thread(_judge_in, path)
            except UserError as error:
                if path not in self._told:
                    self._told.add(path)
                    _log.error("%s The version of auto that it belongs to takes no requests.", error)
            else:
                self._told.discard(path)
                _log.info("the judge of a version of auto is loaded from %s", path)
        if loaded.keys() != self._loaded.keys():
            self._loaded = loaded
            self._take(dict(loaded))
        if wanted == self._wanted:
            self._is_settled.set()
        return loaded.keys() == wanted


def _judge_in(path: str) -> Judge:
    return Judge(load(Path(path)))
