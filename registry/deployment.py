"""The controller of rollouts as Ray Serve runs it: one replica, started again when it fails. Light while nothing is
rolled out: MLflow and the judge are imported when a rollout needs them."""

import asyncio
import logging
import os
import socket
import threading
from typing import Final

from cluster.clock import MonotonicClock
from cluster.directory import Directory
from cluster.errors import OurFault, UserError
from cluster.release_settings import Thresholds
from cluster.settings import Settings
from registry.controller import Controller
from registry.drift_store import open_drift
from registry.drift_watch import DriftWatch
from registry.leading import Pace
from registry.rollout_store import open_rollouts
from registry.stage_watch import Judge
from registry.stores import open_versions, versions_dir
from registry.versions import VersionStore
from registry.webhook import alert_token, serve, webhook

# Longer than any call's time-outs together: then something of ours hangs.
_SILENT_S: Final = 60.0

_log = logging.getLogger(__name__)


class EvidenceJudges:
    """Makes judges with the thresholds of the settings."""

    def __init__(self, thresholds: Thresholds) -> None:
        self._thresholds = thresholds

    def fresh(self) -> Judge:
        """One that knows nothing yet."""
        from registry.judging.evidence import Evidence

        return Evidence(self._thresholds)

    def load(self, data: bytes) -> Judge:
        """One that goes on with what another has dumped."""
        from registry.judging.evidence import Evidence

        return Evidence.load(data, self._thresholds)


class LazyVersions:
    """Opens the registry of versions at the first call, and once."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._versions: VersionStore | None = None

    def __call__(self) -> VersionStore:
        """The registry."""
        with self._lock:
            if self._versions is None:
                self._versions = open_versions(self._settings)
            return self._versions


class RolloutReplica:
    """Holds one controller; what Ray Serve wraps. Ray itself is not known here."""

    # Ray Serve awaits an async constructor, which lets it begin on the right loop. Nothing is asked of the database
    # yet: one that is away is no reason to start this replica again.
    async def __init__(self, settings: Settings, directory: Directory) -> None:  # type: ignore[misc]
        self._clock = MonotonicClock()
        store = open_rollouts(settings)
        self._controller = Controller(
            store,
            directory,
            LazyVersions(settings),
            versions_dir(settings),
            EvidenceJudges(settings.rollouts.judge),
            drift=DriftWatch(open_drift(settings), settings.rollouts.drift),
            owner=f"{socket.gethostname()}:{os.getpid()}",
            pace=Pace(lease_s=settings.rollouts.lease_s),
            clock=self._clock,
        )
        loop = asyncio.get_running_loop()
        self._running = loop.create_task(self._controller.run(), name="controller of rollouts")
        self._serving: asyncio.Task[None] | None = None
        if settings.rollouts.alert_port is not None:
            try:
                token = alert_token(settings.rollouts, os.environ)
            except UserError as error:
                # Rollouts, and their rollback by the judge and by hand, must not end with a file's mode.
                _log.error("no webhook for alerts: %s", error)
            else:
                application = webhook(store, token, self._controller.metrics.page)
                self._serving = loop.create_task(serve(application, settings.rollouts.alert_port), name="webhook")

    async def check_health(self) -> None:
        """Called by Ray Serve every few seconds. Raises OurFault if this replica should be replaced."""
        if self._running.done():
            reason = "it was cancelled" if self._running.cancelled() else repr(self._running.exception())
            raise OurFault(f"the controller of rollouts has ended: {reason}")
        if self._clock.now_s() - self._controller.turned_s > _SILENT_S:
            raise OurFault(f"the controller of rollouts has not come round for {_SILENT_S:g} s")
        if self._serving is not None and self._serving.done():
            raise OurFault("the webhook for alerts has ended")

    async def __del__(self) -> None:
        """Release the lease. Ray Serve awaits this on a graceful stop."""
        tasks = {task for task in (self._running, self._serving) if task is not None}
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks, timeout=10)
