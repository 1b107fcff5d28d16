"""Watches servers that run already and reports them, so that routers use those that answer.

    unknown --> ready <--> restarting (down: it failed two looks in a row)

One process looks at all of them, whatever their number: they are nobody's children here, and a look is cheap.
"""

import asyncio
import logging
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

from cluster.directory import REPORT_INTERVAL_S, Directory, Endpoint
from cluster.errors import FenzhenError, OurFault
from cluster.settings import ExternalPool
from cluster.traffic import Traffic
from serving.adapters import Adapters, follow
from serving.remote_probe import Target, complaint

_log = logging.getLogger(__name__)

PERIOD_S: Final = 1.0
# A look takes 0.2 ms of processor time; so all of them together take about 4 % of a core, however many servers.
MAX_LOOKS_PER_S: Final = 200.0
# One late answer is no death; two in a row are. The second look comes soon, however long the period is.
FAILED_LOOKS: Final = 2
SECOND_LOOK_S: Final = 0.5
# Servers that do not answer hold a look open until its time-out: enough of them, within the usual 1,024 open files.
_OPEN_LOOKS: Final = 256
# News are reported at once, but in batches: of a thousand servers found at a start, each would make a table of its own.
_BATCH_S: Final = 0.1
_REPORT_TIMEOUT_S: Final = 3.0
# Nobody knows when somebody else's server comes back. This is when we would know.
_RETRY_AFTER_S: Final = 5


@dataclass(slots=True)
class _Watched:
    """One server and what is known of it."""

    target: Target
    endpoint: Endpoint
    failures: int = 0
    """Looks in a row that ended badly."""
    is_known: bool = False
    """Whether it was judged yet: one that was not is not reported, so that a new watch unsettles no router."""
    adapters: Adapters | None = None
    """None: it may not be asked to load any."""
    loading: asyncio.Task[None] | None = None
    """While it answers, the task that looks after its adapters."""


class Watch:
    """Looks at the servers of some pools. `run` goes on until it is cancelled."""

    def __init__(self, pools: Sequence[ExternalPool], directory: Directory) -> None:
        self._directory = directory
        self._watched = [_watched(pool, base_url) for pool in pools for base_url in pool.endpoints]
        for watched in self._watched:
            if watched.endpoint.max_adapters:
                watched.adapters = Adapters(watched.endpoint.endpoint_id, partial(self._note_adapters, watched))
        self._news: dict[str, Endpoint] = {}
        self._has_news = asyncio.Event()
        self._open_looks = asyncio.Semaphore(_OPEN_LOOKS)

    @property
    def period_s(self) -> float:
        """How often one server is looked at."""
        return max(PERIOD_S, len(self._watched) / MAX_LOOKS_PER_S)

    async def run(self) -> None:
        """Look and report until cancelled; then sign all servers off."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._report_for_ever(), name="endpoint reports")
                if any(watched.adapters for watched in self._watched):
                    tasks.create_task(follow(self._directory, self._want), name="adapters wanted")
                for number, watched in enumerate(self._watched):
                    # Spread over the first second, and so over every period from then on.
                    first_s = number / len(self._watched) * PERIOD_S
                    tasks.create_task(self._look_for_ever(watched, first_s), name=f"watch {watched.target.base_url}")
        finally:
            await _told(self._directory.forget(*(each.endpoint.endpoint_id for each in self._watched)))

    async def _look_for_ever(self, watched: _Watched, first_s: float) -> None:
        await asyncio.sleep(first_s)
        try:
            while True:
                async with self._open_looks:
                    words = await complaint(watched.target, is_new=watched.endpoint.state != "ready")
                self._note(watched, words)
                await self._look_after_adapters(watched)
                is_doubted = 0 < watched.failures < FAILED_LOOKS
                await asyncio.sleep(SECOND_LOOK_S if is_doubted else self.period_s)
        finally:
            await _ended(watched.loading)

    async def _look_after_adapters(self, watched: _Watched) -> None:
        """Load while the server answers; what it has when it comes back is found out anew."""
        if watched.adapters and watched.loading is None and watched.endpoint.state == "ready":
            watched.loading = asyncio.create_task(watched.adapters.run(watched.endpoint.base_url), name="adapters")
        elif watched.loading and watched.endpoint.state != "ready":
            await _ended(watched.loading)
            watched.loading = None
            self._note_adapters(watched)
        elif watched.loading and watched.loading.done():
            # Only a bug ends it; whoever watches is told, and Ray Serve starts the watch again.
            watched.loading.result()

    def _want(self, traffic: Traffic) -> None:
        for watched in self._watched:
            if watched.adapters:
                watched.adapters.want(traffic)

    def _note_adapters(self, watched: _Watched) -> None:
        """Tell which adapters are loaded, and which could not be."""
        assert watched.adapters
        before = watched.endpoint
        watched.endpoint = replace(before, adapters=watched.adapters.loaded, adapter_faults=watched.adapters.faults)
        if watched.is_known and watched.endpoint != before:
            self._news[before.endpoint_id] = watched.endpoint
            self._has_news.set()

    def _note(self, watched: _Watched, words: str | None) -> None:
        """Take over what one look has found."""
        before = watched.endpoint
        watched.failures = 0 if words is None else watched.failures + 1
        if words is None and (before.state != "ready" or not watched.is_known):
            # A comeback counts as a restart: it tells routers that what they have seen of it is over.
            restarts = before.restarts + watched.is_known
            watched.endpoint = replace(before, state="ready", detail="answers", restarts=restarts, retry_after_s=1)
        elif words is not None and watched.failures >= FAILED_LOOKS:
            watched.endpoint = replace(before, state="restarting", detail=words, retry_after_s=_RETRY_AFTER_S)
        else:
            return
        watched.is_known = True
        if watched.endpoint != before:
            level = logging.INFO if words is None else logging.WARNING
            _log.log(level, "%s %s", before.endpoint_id, words or "answers")
            self._news[before.endpoint_id] = watched.endpoint
            self._has_news.set()

    async def _report_for_ever(self) -> None:
        """Report news soon, and everything often enough to keep the leases."""
        loop = asyncio.get_running_loop()
        all_due_s = loop.time()
        while True:
            self._has_news.clear()
            news, self._news = list(self._news.values()), {}
            if loop.time() >= all_due_s:
                news = [watched.endpoint for watched in self._watched if watched.is_known]
                all_due_s = loop.time() + REPORT_INTERVAL_S
            if news:
                await _told(self._directory.report(*news))
            await asyncio.sleep(_BATCH_S)
            try:
                async with asyncio.timeout_at(all_due_s):
                    await self._has_news.wait()
            except TimeoutError:
                continue


async def _ended(task: asyncio.Task[None] | None) -> None:
    if task:
        task.cancel()
        await asyncio.wait({task})


async def _told(call: Coroutine[None, None, None]) -> None:
    """Await a call to the directory; a failed one is only written down."""
    try:
        async with asyncio.timeout(_REPORT_TIMEOUT_S):
            await call
    except (FenzhenError, TimeoutError) as error:
        # The next full report is a second away; what is not signed off is forgotten with its lease.
        _log.warning("the table of endpoints does not hear of servers: %s", error or "no answer")


def _watched(pool: ExternalPool, base_url: str) -> _Watched:
    endpoint = Endpoint(
        endpoint_id=f"{pool.model}@{base_url.removeprefix('http://')}",
        model=pool.model,
        base_url=base_url,
        state="starting",
        detail="not looked at yet",
        restarts=0,
        pid=None,
        pid_started_s=None,
        retry_after_s=1,
        max_adapters=pool.max_adapters,
    )
    return _Watched(Target(base_url, pool.model, pool.health_path, pool.health_timeout_s), endpoint)


async def look_once(pools: Sequence[ExternalPool]) -> dict[str, str]:
    """What is wrong with each server of these pools, by endpoint id; those that are well are left out."""
    open_looks = asyncio.Semaphore(_OPEN_LOOKS)

    async def look(watched: _Watched) -> str | None:
        async with open_looks:
            return await complaint(watched.target, is_new=True)

    all_watched = [_watched(pool, base_url) for pool in pools for base_url in pool.endpoints]
    found = await asyncio.gather(*(look(watched) for watched in all_watched))
    return {watched.endpoint.endpoint_id: words for watched, words in zip(all_watched, found, strict=True) if words}


class RemoteReplica:
    """Holds the one watch of a stack; what Ray Serve wraps. Ray itself is not known here."""

    # Ray Serve awaits an async constructor, which lets it begin the watch on the right loop. It does not wait for the
    # servers: those that do not answer are no reason to start this replica again.
    async def __init__(  # type: ignore[misc]
        self, pools: tuple[ExternalPool, ...], directory: Directory
    ) -> None:
        self._watching = asyncio.create_task(Watch(pools, directory).run(), name="watch of servers")

    async def check_health(self) -> None:
        """Called by Ray Serve every few seconds. Raises OurFault if nobody watches any more."""
        if not self._watching.done():
            return
        reason = "it was cancelled" if self._watching.cancelled() else repr(self._watching.exception())
        raise OurFault(f"the watch of servers that run already has ended: {reason}")

    async def __del__(self) -> None:
        """Sign the servers off. Ray Serve awaits this on a graceful stop."""
        self._watching.cancel()
        await asyncio.wait({self._watching})
