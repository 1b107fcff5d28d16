"""Tells the directory, about once a second, what became of requests here.

    Watching, Shadows -> a look into each -> outcomes; a share of them -> tallies -> one batch

It runs beside the loop that serves. Each step takes well under a millisecond and lets others go on in between.
"""

import asyncio
import logging
from random import sample
from typing import Final

from cluster.directory import Directory
from cluster.errors import Unavailable
from cluster.outcomes import Batch, Outcome, Tally
from router.outcome import Finding, Findings
from router.outcome_record import Record
from router.shadow import Shadows
from router.tallying import Tallies
from router.watching import Watching

TELL_INTERVAL_S: Final = 1.0
TALLY_INTERVAL_S: Final = 10.0
# Of one batch. Of more, a sample is looked into: what is dropped is dropped of both sides alike.
MAX_OUTCOMES: Final = 500
# Of one batch's requests, looked into for their tally.
MAX_TALLIED: Final = 100
# While the directory is away: the last seconds, and two minutes of tallies of some names.
MAX_KEPT_OUTCOMES: Final = 3 * MAX_OUTCOMES
MAX_KEPT_TALLIES: Final = 120
# The directory answers within milliseconds. One that hangs must not hold up the next look.
_TELL_TIMEOUT_S: Final = 2.0

_log = logging.getLogger(__name__)


class Telling:
    """Takes what was seen and tells it. For one loop, another than the one that serves."""

    def __init__(
        self,
        directory: Directory,
        replica: str,
        watching: Watching,
        shadows: Shadows,
        findings: Findings,
    ) -> None:
        """`replica`: a name of this replica that no other has."""
        self._directory = directory
        self._replica = replica
        self._watching = watching
        self._shadows = shadows
        self._findings = findings
        self._tallies = Tallies()
        self._outcomes: list[Outcome] = []
        """Not told yet, oldest first."""
        self._counted: list[Tally] = []
        """Not told yet."""
        self._wanted: dict[str, int] = {}
        """Counts that have been told."""
        self._dropped = 0
        self._dropped_by_watching = 0
        self._generation = -1
        """That has been told."""
        self._told_s = self._flushed_s = 0.0

    async def run(self) -> None:
        """Work until cancelled."""
        clock = asyncio.get_running_loop()
        self._told_s = self._flushed_s = clock.time()
        while True:
            await asyncio.sleep(TELL_INTERVAL_S)
            try:
                await self.look()
                await self.tell(clock.time())
            except Exception as error:  # Requests are answered whether or not anything can be told of them.
                _log.error("nothing could be told of requests, by a fault of ours: %s", type(error).__name__)

    def rated(self, name: str, version: int, rating: int) -> None:
        """Somebody has judged an answer. On the loop that this is run on."""
        self._tallies.rated(name, version, rating)

    async def look(self) -> None:
        """Look into all that has been seen since the last time."""
        records = self._watching.take()
        counted, drift = [], []
        for record in records:
            if record.drawn is not None and _is_counted(record, self._is_copied(record)):
                counted.append(record)
            elif record.is_drift:
                drift.append(record)
        if len(counted) > MAX_OUTCOMES:
            self._dropped += len(counted) - MAX_OUTCOMES
            # Each with the same chance, whichever side it went to.
            counted = sample(counted, MAX_OUTCOMES)
        tallied = 0
        for record in counted:
            finding = self._finding(record)
            if finding is not None:
                self._outcomes.append(finding.outcome)
                if record.is_drift:
                    self._tallies.add(finding)
                    tallied += 1
            # The loop that serves may take its turn.
            await asyncio.sleep(0)
        for record in sample(drift, min(len(drift), max(0, MAX_TALLIED - tallied))):
            finding = self._finding(record)
            if finding is not None:
                self._tallies.add(finding)
            await asyncio.sleep(0)
        for record in records:
            self._watching.free(record)

    async def tell(self, now_s: float) -> None:
        """Tell what is there to be told."""
        self._outcomes += self._shadows.take()
        if now_s - self._flushed_s >= TALLY_INTERVAL_S:
            self._flushed_s = now_s
            self._counted += self._tallies.flush()
        self._bound()
        is_first = True
        while is_first or self._outcomes:
            is_first = False
            if not await self._tell_once(now_s):
                break

    async def _tell_once(self, now_s: float) -> bool:
        """Tell one batch; whether it has arrived."""
        wanted, generation = self._watching.wanted_so_far(), self._watching.generation
        demand = tuple(
            (name, count - self._wanted.get(name, 0))
            for name, count in sorted(wanted.items())
            if count > self._wanted.get(name, 0)
        )
        dropped = self._dropped + self._watching.dropped - self._dropped_by_watching
        batch = Batch(
            self._replica, tuple(self._outcomes[:MAX_OUTCOMES]), tuple(self._counted), demand, dropped, generation
        )
        has_news = batch.outcomes or batch.tallies or demand or dropped or generation != self._generation
        # Now and then in any case: a directory that was born again knows nothing of us.
        if not has_news and (generation < 0 or now_s - self._told_s < TALLY_INTERVAL_S):
            return True
        try:
            async with asyncio.timeout(_TELL_TIMEOUT_S):
                await self._directory.tell(batch)
        except Unavailable as error:
            _log.warning("what became of requests could not be told: %s", error)
            return False
        except TimeoutError:
            # It may have arrived. To be counted twice is worse than not to be counted.
            _log.warning("what became of requests was not taken within %g s", _TELL_TIMEOUT_S)
            self._dropped += len(batch.outcomes)
            del self._outcomes[: len(batch.outcomes)]
            self._counted.clear()
            return False
        self._wanted = wanted
        self._generation = generation
        self._dropped_by_watching += dropped - self._dropped
        self._dropped = 0
        self._told_s = now_s
        del self._outcomes[: len(batch.outcomes)]
        self._counted.clear()
        return True

    def _bound(self) -> None:
        """Keep the newest."""
        too_many = len(self._outcomes) - MAX_KEPT_OUTCOMES
        if too_many > 0:
            del self._outcomes[:too_many]
            self._dropped += too_many
        del self._counted[: max(0, len(self._counted) - MAX_KEPT_TALLIES)]

    def _is_copied(self, record: Record) -> bool:
        return record.drawn is not None and record.drawn.is_shadowed and self._shadows.offer(record)

    def _finding(self, record: Record) -> Finding | None:
        try:
            return self._findings.of(record)
        except Exception as error:  # One that nobody can read must not hide the others.
            # Its words may be a caller's: the kind is all that is told.
            _log.error("an outcome could not be read, by a fault of ours: %s", type(error).__name__)
            return None


def _is_counted(record: Record, is_copied: bool) -> bool:
    """Whether it is told by itself. Where all is copied, it counts beside its copy or not at all."""
    drawn = record.drawn
    if drawn is None or not drawn.is_recorded:
        return False
    if not drawn.is_shadowed:
        return True
    return not is_copied and drawn.split.canary_ratio > 0
