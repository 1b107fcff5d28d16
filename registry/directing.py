"""What a controller of rollouts tells others: routers and engines the traffic, the watch over drift the counts."""

import asyncio
import logging
from collections.abc import Iterable, Sequence
from typing import Final, Protocol

from cluster.clock import Clock
from cluster.directory import Directory
from cluster.directory_holder import SETTLE_S
from cluster.errors import FenzhenError, TimedOut
from cluster.outcomes import Tally
from cluster.traffic import Traffic
from registry.leading import Lead

# A table that was just born lets readers wait until all engines have reported.
DIRECTORY_S: Final = SETTLE_S + 3.0

_log = logging.getLogger(__name__)


class Drift(Protocol):
    """Watches how inputs and outputs change over weeks."""

    def forget(self) -> None:
        """Read everything again: another controller may have counted meanwhile."""

    def take(self, tallies: Iterable[Tally], now_s: float) -> Sequence[object]:
        """Count these; returns the alerts that follow. Blocking."""


class Directing:
    """Puts traffic in force, through the table of endpoints."""

    def __init__(self, directory: Directory, clock: Clock) -> None:
        self._directory = directory
        self._clock = clock

    async def send(self, lead: Lead, traffic: Traffic) -> None:
        """Raises Unavailable if the table does not answer."""
        try:
            async with asyncio.timeout(DIRECTORY_S):
                await self._directory.direct(traffic)
        except TimeoutError:
            raise TimedOut("the table of endpoints does not answer") from None
        lead.directed_s = self._clock.now_s()

    async def again(self, lead: Lead | None) -> None:
        """While the database is away: what was decided stays in force, in a table that was born again, too."""
        if lead is None or lead.traffic is None:
            return
        try:
            await self.send(lead, lead.traffic)
        except FenzhenError as error:
            _log.debug("%s", error)
