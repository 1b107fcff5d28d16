"""Keeps one engine alive, and says of it what routers need to know.

    starting --> ready --> draining (stop was asked for) --> gone
        ^          |
        +-- restarting <-- it died, fell silent, or never got ready

Whatever ends a life, everything that it started is killed before the next one begins.
"""

import asyncio
import logging
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from cluster.directory import REPORT_INTERVAL_S, Directory, Endpoint, State
from cluster.errors import FenzhenError, OurFault, TimedOut, Unavailable
from serving import backoff
from serving.adapter_api import Task
from serving.adapters import Adapters, follow
from serving.engine_args import Command
from serving.health import Limits, Sighting, complaint, ending, retry_after_s
from serving.life import Life, base_url, free_port
from serving.probe import Probe

logger = logging.getLogger(__name__)

# While it starts, requests may be waiting for it: a look costs less than a millisecond.
_LOOK_STARTING_S = 0.25
_LOOK_READY_S = 1.0
# Routers learn of `draining` by their next read; a request that is on its way by then must be counted, too.
_NOTICE_S = 1.0
# A directory that does not answer must not keep an engine from its work or from its end.
_REPORT_TIMEOUT_S = 3.0


@dataclass(frozen=True, slots=True)
class Plan:
    """All that an engine is told."""

    endpoint_id: str
    model: str
    host: str
    command: Callable[[int], Command]
    """The process to start, given a port."""
    log_path: Path
    limits: Limits
    drain_s: float
    """How long requests in flight may take to finish before a stop."""
    # vLLM ends within 1 s of SIGTERM when nothing runs.
    grace_s: float = 10.0
    max_adapters: int = 0
    """How many adapters it may have loaded; 0: it is not asked for any."""
    task: Task = "chat"


class Engine:
    """One engine. `run` keeps it alive until `stop`; both belong to the same event loop."""

    def __init__(
        self,
        plan: Plan,
        directory: Directory,
        monotonic: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._plan = plan
        self._directory = directory
        self._monotonic = monotonic
        self._chance = chance
        self._stop_asked = asyncio.Event()
        self._ended = asyncio.Event()
        self._news = asyncio.Event()
        self._running = False
        self._fault: OurFault | None = None
        self._last_start_s: float | None = None
        self.failures = 0
        """Deaths in a row; see `backoff.failures_after`."""
        self.endpoint = Endpoint(
            endpoint_id=plan.endpoint_id,
            model=plan.model,
            base_url=base_url(plan.host, 0),
            state="starting",
            detail="not started yet",
            restarts=0,
            pid=None,
            pid_started_s=None,
            retry_after_s=retry_after_s(None, 0),
            max_adapters=plan.max_adapters,
        )
        self._adapters = Adapters(plan.endpoint_id, self._note_adapters, plan.task)

    async def run(self) -> None:
        """Keep the engine alive until `stop`. Cancelled, it kills the engine at once. Raises OurFault over a bug."""
        self._running = True
        try:
            async with asyncio.TaskGroup() as tasks:
                beside = [tasks.create_task(self._report_for_ever(), name="engine reports")]
                if self._plan.max_adapters:
                    following = follow(self._directory, self._adapters.want)
                    beside.append(tasks.create_task(following, name="engine adapters wanted"))
                await self._live_until_stop()
                for task in beside:
                    task.cancel()
            await self._forget()
        except ExceptionGroup as group:
            self._fault = OurFault(f"the supervision of {self._plan.endpoint_id} failed: {group.exceptions[0]!r}")
            raise self._fault from group
        finally:
            self._running = False
            self._ended.set()
            self._news.set()

    async def wait_ready(self, failures_at_most: int) -> None:
        """Return once it is ready. Raises OurFault, with the engine's own words, after that many failed starts."""
        while self.endpoint.state != "ready":
            if self.failures >= failures_at_most:
                raise OurFault(f"{self._plan.model} does not start: {self.endpoint.detail}")
            if self._fault:
                raise self._fault
            if self._stop_asked.is_set() or self._ended.is_set():
                raise Unavailable(f"{self._plan.model} was stopped before it was ready")
            await self._news.wait()

    async def stop(self) -> None:
        """Let requests in flight finish, end the engine and confirm that nothing of it is left."""
        self._stop_asked.set()
        if not self._running:
            return
        # Drain, the guard's grace with its own margin, the kill, and telling the directory.
        longest_s = self._plan.drain_s + self._plan.grace_s + 20.0
        try:
            async with asyncio.timeout(longest_s):
                await self._ended.wait()
        except TimeoutError:
            raise TimedOut(f"{self._plan.endpoint_id} did not end within {longest_s:.0f} s") from None

    async def _live_until_stop(self) -> None:
        restarts, detail = 0, "loading the model"
        while not self._stop_asked.is_set():
            end = await self._live(restarts, detail)
            if self._stop_asked.is_set():
                return
            self.failures = backoff.failures_after(self.failures, end.held_ready_s)
            wait_s = backoff.wait_s(self.failures, self._chance())
            retry_s = retry_after_s(self._last_start_s, 0, wait_s)
            logger.warning("%s %s; it starts again in %.1f s", self._plan.endpoint_id, end.reason, wait_s)
            # What the next life has loaded is nothing.
            gone = {"pid": None, "pid_started_s": None, "adapters": ()}
            self._tell("restarting", end.reason, retry_after_s=retry_s, **gone)
            await _happens(self._stop_asked, wait_s)
            restarts, detail = restarts + 1, f"loading the model again; before, it {end.reason}"

    async def _live(self, restarts: int, detail: str) -> "_End":
        """One life, from the start of a process to the end of all that it started."""
        port = free_port(self._plan.host)
        url = base_url(self._plan.host, port)
        try:
            life = await Life.begin(self._plan.command(port), self._plan.log_path, self._plan.grace_s)
        except OurFault as error:
            return _End(str(error), 0.0)
        try:
            self._tell(
                "restarting" if restarts else "starting",
                detail,
                base_url=url,
                restarts=restarts,
                pid=life.pid,
                pid_started_s=life.started_s,
                retry_after_s=retry_after_s(self._last_start_s, 0),
            )
            async with Probe(url) as probe:
                end = await self._watch(life, probe)
                if self._stop_asked.is_set() and life.process.returncode is None:
                    await self._drain(life, probe)
                    await life.end()
            return end
        finally:
            await life.kill()

    async def _watch(self, life: Life, probe: Probe) -> "_End":
        """Look at the engine until it must be ended or has ended."""
        exited = asyncio.create_task(life.process.wait(), name="engine exit")
        stopping = asyncio.create_task(self._stop_asked.wait(), name="engine stop")
        loading: asyncio.Task[None] | None = None
        seen = Sighting(self._monotonic())
        try:
            while True:
                look_s = _LOOK_STARTING_S if seen.ready_s is None else _LOOK_READY_S
                await asyncio.wait({exited, stopping}, timeout=look_s, return_when=asyncio.FIRST_COMPLETED)
                now_s = self._monotonic()
                if stopping.done():
                    return _End("was stopped", seen.held_ready_s(now_s))
                if exited.done():
                    return _End(ending(exited.result(), life.last_words()), seen.held_ready_s(now_s))
                before, seen = seen, seen.after(await probe.health(), self._monotonic())
                now_s = self._monotonic()
                fault = complaint(seen, self._plan.limits, now_s)
                if fault:
                    return _End(f"{fault}; its last words: {life.last_words()}", seen.held_ready_s(now_s))
                self._note(before, seen, now_s)
                if self._plan.max_adapters and seen.ready_s is not None:
                    loading = loading or asyncio.create_task(
                        self._adapters.run(self.endpoint.base_url), name="adapters"
                    )
                    if loading.done():
                        loading.result()
        finally:
            exited.cancel()
            stopping.cancel()
            if loading:
                loading.cancel()
                await asyncio.wait({loading})

    def _note(self, before: Sighting, seen: Sighting, now_s: float) -> None:
        """Tell what the last look has changed."""
        if seen.ready_s is None:
            self.endpoint = replace(
                self.endpoint, retry_after_s=retry_after_s(self._last_start_s, now_s - seen.started_s)
            )
        elif before.ready_s is None:
            self._last_start_s = seen.ready_s - seen.started_s
            self._tell("ready", f"ready after {self._last_start_s:.0f} s", retry_after_s=1)
        if seen.held_ready_s(now_s) >= backoff.HELD_READY_S:
            self.failures = 0

    def _note_adapters(self) -> None:
        """Tell which adapters are loaded, and which could not be."""
        loaded, faults = self._adapters.loaded, self._adapters.faults
        if (loaded, faults) != (self.endpoint.adapters, self.endpoint.adapter_faults):
            self._tell(self.endpoint.state, self.endpoint.detail, adapters=loaded, adapter_faults=faults)

    async def _drain(self, life: Life, probe: Probe) -> None:
        """Wait until no request is in flight, at most `drain_s`."""
        was_ready = self.endpoint.state == "ready"
        self._tell("draining", "finishes its requests and ends", retry_after_s=retry_after_s(self._last_start_s, 0))
        if not was_ready:
            return
        try:
            async with asyncio.timeout(self._plan.drain_s):
                await asyncio.sleep(_NOTICE_S)
                while life.process.returncode is None:
                    if await probe.in_flight() == 0:
                        return
                    await asyncio.sleep(_LOOK_STARTING_S)
        except TimeoutError:
            logger.warning("%s still has requests in flight after %s s", self._plan.endpoint_id, self._plan.drain_s)

    def _tell(self, state: State, detail: str, **changes: object) -> None:
        self.endpoint = replace(self.endpoint, state=state, detail=detail, **changes)  # type: ignore[arg-type]
        # Whoever waits for news is woken once; the next wait is for the next news.
        news, self._news = self._news, asyncio.Event()
        news.set()

    async def _report_for_ever(self) -> None:
        """Report now, at every change, and often enough to keep the lease."""
        while True:
            news = self._news
            try:
                async with asyncio.timeout(_REPORT_TIMEOUT_S):
                    await self._directory.report(self.endpoint)
            except (FenzhenError, TimeoutError) as error:
                # The engine serves all the same, and the next report is a second away.
                logger.warning("cannot report %s: %s", self._plan.endpoint_id, error or "no answer")
            await _happens(news, REPORT_INTERVAL_S)

    async def _forget(self) -> None:
        try:
            async with asyncio.timeout(_REPORT_TIMEOUT_S):
                await self._directory.forget(self._plan.endpoint_id)
        except (FenzhenError, TimeoutError) as error:
            # Its lease ends by itself.
            logger.warning("cannot sign off %s: %s", self._plan.endpoint_id, error or "no answer")


@dataclass(frozen=True, slots=True)
class _End:
    """How a life ended."""

    reason: str
    held_ready_s: float


async def _happens(event: asyncio.Event, within_s: float) -> bool:
    """Wait for an event, at most `within_s`; say whether it came."""
    try:
        async with asyncio.timeout(within_s):
            await event.wait()
    except TimeoutError:
        return False
    return True
