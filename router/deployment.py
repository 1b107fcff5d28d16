"""A router replica: placed, watched, updated, scaled and drained by Ray Serve, HTTP on a port of its own.

The server runs on an event loop (uvloop) in a thread of its own, because the replica's main loop belongs to Ray and
must not wait behind requests, nor requests behind it. Values cross between the loops only by `call_soon_threadsafe`.
"""

import asyncio
import contextlib
import gc
import logging
import os
import resource
import socket
import threading
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

import uvloop

from cluster.clock import MonotonicClock
from cluster.directory import Directory
from cluster.errors import OurFault, Unavailable
from cluster.feedback_settings import Feedback
from cluster.release_settings import Rollouts
from cluster.settings import Judging, Model
from cluster.settings import Router as RouterSettings
from router.estimate import Judge
from router.judge_folder import rows_dir
from router.judge_watch import Judges
from router.outcome import Findings
from router.scaling import BUSY_RATIO, IN_FLIGHT, ThreadMeter
from router.server import RouterServer
from router.shadow import Shadows
from router.side_judges import SideJudges
from router.telling import Telling
from router.watching import Watching

if TYPE_CHECKING:
    from router.feedback_desk import FeedbackDesk
    from router.keeper import Keeper
    from router.relay import Relay
    from router.second_opinion import SecondOpinions

# A long poll: the directory answers at once when something changes.
_READ_TIMEOUT_S: Final = 5.0
# A directory that cannot be reached is asked again after this long; the last table stays in force meanwhile.
_READ_RETRY_S: Final = 1.0
_START_TIMEOUT_S: Final = 30.0
# The loop answers within milliseconds. Ray Serve replaces a replica after the third failed check in a row.
_BEAT_TIMEOUT_S: Final = 5.0
_LOOPBACK: Final = "127.0.0.1"

_log = logging.getLogger(__name__)


class RouterReplica:
    """Wrapped by Ray Serve in `fenzhen.app`."""

    # Ray Serve awaits an async constructor, which lets it begin following the directory on the right loop.
    async def __init__(  # type: ignore[misc]
        self,
        cards: tuple[Model, ...],
        settings: RouterSettings,
        directory: Directory,
        judging: Judging = Judging(),  # noqa: B008  It is frozen.
        state_dir: Path | None = None,
        full_at: Mapping[str, float] = MappingProxyType({}),
        rollouts: Rollouts = Rollouts(),  # noqa: B008  It is frozen.
        feedback: Feedback = Feedback(),  # noqa: B008  It is frozen.
    ) -> None:
        """`state_dir`: where adopted judges lie and rows are stored; None for neither. `full_at`: see `Pools`."""
        self._directory = directory
        self._has_table = asyncio.Event()
        self._loop = uvloop.new_event_loop()
        judges = Judges(judging, state_dir)
        sizes = {card.name: card.parameters_b for card in cards}
        watching = Watching(MonotonicClock(), sizes, rollouts.drift_ratio)
        self._server = RouterServer(cards, settings, self._loop, judges.begin(), full_at, watching)
        self._side_judges = SideJudges(self._have)
        self._thread = threading.Thread(target=self._run_loop, name="router-http", daemon=True)
        self._thread.start()
        assert self._thread.ident is not None
        self._meter = ThreadMeter(self._thread.ident)
        self._following = asyncio.get_running_loop().create_task(self._follow_directory())
        second_opinions = self._second_opinions(cards, judging, state_dir)
        findings = Findings(sizes)
        shadows = Shadows(self._server.pools, judging, rollouts, findings, self._loop)
        self._server.metrics.sides.copies = shadows.fates
        telling = Telling(directory, _replica_id(), watching, shadows, findings)
        self._desk: FeedbackDesk | None = None
        keeper = self._keeper(feedback, state_dir, telling)
        self._beside = asyncio.get_running_loop().create_task(
            self._work_beside(judges, second_opinions, telling, shadows, keeper)
        )
        try:
            await self._wait_for_table()
            self._relay = await self._listen(settings)
        except BaseException:
            self._following.cancel()
            self._beside.cancel()
            self._loop.call_soon_threadsafe(self._loop.stop)
            raise
        _settle()

    async def __call__(self, request: Any) -> Any:
        """Answer one request that came through Ray's own ingress. `request` and the answer: Starlette's."""
        assert self._relay is not None, "Ray's own ingress serves the router only with router.ingress: ray"
        return await self._relay.answer(request)

    async def check_health(self) -> None:
        """Called by Ray Serve every few seconds. Raises if this replica should be replaced."""
        if self._following.done():
            raise OurFault("the router no longer follows the table of endpoints")
        if self._beside.done():
            raise OurFault("the router no longer watches its judge")
        if not self._thread.is_alive() or not (self._server.is_serving or self._server.is_draining):
            raise OurFault("the router's HTTP server has stopped")
        beat = asyncio.run_coroutine_threadsafe(_beat(), self._loop)
        try:
            async with asyncio.timeout(_BEAT_TIMEOUT_S):
                await asyncio.wrap_future(beat)
        except TimeoutError:
            raise OurFault(f"the router's HTTP loop has not turned for {_BEAT_TIMEOUT_S:g} s") from None

    async def record_autoscaling_stats(self) -> dict[str, float]:
        """Called by Ray Serve every second where the number of replicas follows the load."""
        return {IN_FLIGHT: self._server.in_flight, BUSY_RATIO: self._meter.busy_ratio()}

    async def __del__(self) -> None:
        """Awaited by Ray Serve on a graceful stop."""
        self._following.cancel()
        self._beside.cancel()
        await asyncio.wait({self._beside})
        if self._relay is not None:
            # Ray Serve has waited for the requests that it passed on; what is left are idle connections of ours.
            await self._relay.close()
        draining = asyncio.run_coroutine_threadsafe(self._server.drain(), self._loop)
        await asyncio.wrap_future(draining)
        if self._desk is not None:
            self._desk.close()
        self._loop.call_soon_threadsafe(self._loop.stop)

    async def _wait_for_table(self) -> None:
        """Know the engines before the first request comes: in an update, an old replica leaves for this one."""
        knowing = asyncio.create_task(self._has_table.wait())
        # A directory out of reach is no reason not to listen: requests then hear that no engine has reported.
        await asyncio.wait({knowing, self._following}, timeout=_READ_TIMEOUT_S, return_when=asyncio.FIRST_COMPLETED)
        knowing.cancel()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_READ_TIMEOUT_S):
                await self._side_judges.settled()

    async def _listen(self, settings: RouterSettings) -> "Relay | None":
        is_behind_ray = settings.ingress == "ray"
        address = (_LOOPBACK, 0) if is_behind_ray else (settings.host, settings.port)
        starting = asyncio.run_coroutine_threadsafe(self._server.start(*address), self._loop)
        async with asyncio.timeout(_START_TIMEOUT_S):
            port = await asyncio.wrap_future(starting)
        if not is_behind_ray:
            return None
        # Imported late: Starlette and httpx are not on the way otherwise.
        from router.relay import Relay

        return Relay(f"http://{_LOOPBACK}:{port}", settings)

    def _second_opinions(
        self, cards: tuple[Model, ...], judging: Judging, state_dir: Path | None
    ) -> "SecondOpinions | None":
        """What learns while serving, if it is asked for."""
        if not judging.learn_ratio or state_dir is None:
            return None
        if sum(card.task == "chat" for card in cards) < 2:
            _log.warning("judging.learn_ratio has no effect: there is one chat model, and nothing to compare it with")
            return None
        # Imported late: who does not learn carries nothing of it.
        from router.learning.rows_store import RowsStore
        from router.overheard import Heard, Listening
        from router.second_opinion import SecondOpinions
        from router.spare_room import SpareRoom

        server, own_loop = self._server, asyncio.get_running_loop()
        room = SpareRoom(server.pools, judging.learn_below_ratio, self._loop)
        store = RowsStore(rows_dir(state_dir), judging.rows_max_bytes)
        opinions = SecondOpinions(cards, judging, store, room, server.metrics.learning)

        def tell(heard: Heard) -> None:
            # When this replica ends, Ray's loop may close first.
            with contextlib.suppress(RuntimeError):
                own_loop.call_soon_threadsafe(opinions.offer, heard)

        server.listen_in(Listening(judging, tell))
        return opinions

    def _keeper(self, feedback: Feedback, state_dir: Path | None, telling: Telling) -> "Keeper | None":
        """What keeps chats for feedback, if it is asked for."""
        if not feedback.keep_ratio or state_dir is None:
            return None
        # Imported late: who takes no feedback carries nothing of it.
        from registry.feedback_store import feedback_store
        from router.feedback_desk import FeedbackDesk
        from router.keeper import Keeper
        from router.keeping import Keeping

        server, own_loop = self._server, asyncio.get_running_loop()
        store, tally = feedback_store(feedback, state_dir), server.metrics.feedback

        def rated(model: str, version: int, rating: int) -> None:
            # When this replica ends, Ray's loop may close first.
            with contextlib.suppress(RuntimeError):
                own_loop.call_soon_threadsafe(telling.rated, model, version, rating)

        keeping = Keeping(feedback, tally)
        self._desk = FeedbackDesk(store, feedback, tally, rated)
        server.take_feedback(keeping, self._desk)
        return Keeper(keeping, store, tally)

    def _have(self, judges: Mapping[str, Judge]) -> None:
        """Judges of versions are loaded."""
        self._loop.call_soon_threadsafe(self._server.have, judges)

    async def _work_beside(
        self,
        judges: Judges,
        second_opinions: "SecondOpinions | None",
        telling: Telling,
        shadows: Shadows,
        keeper: "Keeper | None",
    ) -> None:
        """What this replica does besides serving: take over other judges, learn, and tell what became of requests."""

        def use(judge: Judge | None) -> None:
            if judge is not None:
                self._loop.call_soon_threadsafe(self._server.use, judge)

        async with asyncio.TaskGroup() as group:
            group.create_task(judges.in_use(use).follow())
            group.create_task(self._side_judges.run())
            group.create_task(telling.run())
            group.create_task(shadows.run())
            if second_opinions is not None:
                group.create_task(judges.candidate(second_opinions.try_out).follow())
                group.create_task(second_opinions.run())
            if keeper is not None:
                group.create_task(keeper.run())

    async def _follow_directory(self) -> None:
        version = -1
        while True:
            try:
                table = await self._directory.read(version, _READ_TIMEOUT_S)
            except Unavailable as error:
                self._has_table.set()
                _log.warning("the table of endpoints cannot be read, the last one stays in force: %s", error)
                await asyncio.sleep(_READ_RETRY_S)
                continue
            if table.version != version:
                version = table.version
                if table.traffic is not None:
                    self._side_judges.want(table.traffic)
                self._loop.call_soon_threadsafe(self._server.update, table)
            self._has_table.set()

    def _run_loop(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()
        self._loop.close()


def _replica_id() -> str:
    """What tells this replica from all others, also from those before it."""
    return f"{socket.gethostname()}-{os.getpid()}-{uuid4().hex[:8]}"


def _settle() -> None:
    """Make this process fit for many connections and for even latencies."""
    # What has been imported stays. A full collection walks all of it, for some 60 ms in which nobody is answered.
    gc.collect()
    gc.freeze()
    # A stream takes two, one to each side; the usual soft limit is 1,024.
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


async def _beat() -> None:
    """Nothing: that it is run shows that the loop turns."""
