"""Notices that a judge's file has changed, and hands over the judge in it.

Looks at the file's status, and reads it in a thread of its own when that has changed. A file that cannot be used is
told once in the log, and the judge before it stays.
"""

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Final

from cluster.errors import UserError
from cluster.settings import Judging
from router.estimate import Judge
from router.judge_file import DEFAULT, load
from router.judge_folder import JudgeFolder

# A look costs microseconds, and whoever adopts a judge waits for it.
LOOK_S: Final = 2.0

_log = logging.getLogger(__name__)
_Seen = tuple[Path, int, int, int] | None
Take = Callable[[Judge | None], None]


class Judges:
    """The judges that concern one replica: the one in use and the candidate."""

    def __init__(self, judging: Judging, state_dir: Path | None) -> None:
        self._named = judging.judge
        self._folder = None if state_dir is None else JudgeFolder(state_dir)
        self._begun: _Seen = None

    def begin(self) -> Judge:
        """The judge to begin with. Waits for the disk. Raises UserError if the one that is named cannot be used."""
        path = self._chosen()
        self._begun = _seen(path)
        try:
            return Judge(load(path))
        except UserError as error:
            if path in (self._named, DEFAULT):
                raise
            _log.error("%s The shipped judge is used instead.", error)
            return Judge(load(DEFAULT))

    def in_use(self, take: Take) -> "JudgeWatch":
        """Watches which judge is in use, from `begin` on."""
        return JudgeWatch(self._chosen, take, self._begun)

    def candidate(self, take: Take) -> "JudgeWatch":
        """Watches the candidate; there may be none."""
        return JudgeWatch(lambda: None if self._folder is None else self._folder.candidate, take)

    def _chosen(self) -> Path:
        if self._folder is None:
            return self._named or DEFAULT
        return self._folder.chosen(self._named)


class JudgeWatch:
    """Watches the file that `find` names, which may be another one each time."""

    def __init__(self, find: Callable[[], Path | None], take: Take, seen: _Seen = None) -> None:
        """`take` gets each new judge, on the watching loop, and None when its file is gone."""
        self._find = find
        self._take = take
        self._last = seen

    async def follow(self) -> None:
        """Look again and again, until cancelled."""
        while True:
            try:
                await self.look()
            except Exception:
                _log.exception("a judge's file cannot be watched; the judge in use stays")
            await asyncio.sleep(LOOK_S)

    async def look(self) -> None:
        """Look once."""
        path = self._find()
        seen = None if path is None else _seen(path)
        if seen == self._last:
            return
        self._last = seen
        if path is None or seen is None:
            self._take(None)
            return
        try:
            judge = await asyncio.to_thread(_loaded, path)
        except UserError as error:
            _log.error("%s The judge before it stays.", error)
            return
        _log.info("the judge %s is taken from %s", judge.card.name, path)
        self._take(judge)


def _loaded(path: Path) -> Judge:
    return Judge(load(path))


def _seen(path: Path) -> _Seen:
    try:
        status = path.stat()
    except OSError:
        return None
    # The inode, too: a replaced file may have the size and, on a coarse clock, the time of the one before it.
    return path, status.st_ino, status.st_size, status.st_mtime_ns
