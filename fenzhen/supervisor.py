"""The process that owns a running stack: starts Ray and the parts in order, keeps its state file, stops in reverse.

`fenzhen up` starts it as `python -m fenzhen.supervisor PLAN`; it ends on SIGTERM (or SIGINT), or when a start fails.
"""

import asyncio
import fcntl
import logging
import os
import signal
import sys
import time
from pathlib import Path
from typing import TextIO

from pydantic import BaseModel, ConfigDict

from cluster.directory import Directory, Table
from cluster.errors import FenzhenError, Unavailable, UserError
from cluster.ray_runtime import RayRuntime
from cluster.settings import Settings
from cluster.settings_file import overridden
from cluster.stack_state import Phase, StackState, own_start_s, processes_below, write_state
from fenzhen.app import ENDPOINTS, ROLLOUTS, ROUTER, build_parts, pool_part_name
from fenzhen.awaited import Awaited
from fenzhen.orders import Order
from fenzhen.updates import Updates

# Long enough to be idle, short enough that the state file is never older than this.
_READ_TIMEOUT_S = 2.0
# Once only the router is waited for, nothing in the table tells that it has come.
_ROUTER_LOOK_S = 0.3

_log = logging.getLogger("fenzhen.supervisor")


class Plan(BaseModel):
    """What `up` hands over, as a file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    settings: Settings
    settings_from: str
    folders: dict[str, Path]
    origins: dict[str, str]

    @property
    def log_dir(self) -> Path:
        """Where the supervisor and the engines write."""
        return self.settings.site.state_dir / "logs"


class Supervisor:
    """Runs one plan from start to stop."""

    def __init__(self, plan: Plan, runtime: RayRuntime) -> None:
        self._plan = plan
        self._runtime = runtime
        self._table = Table(-1, ())
        self._phase: Phase = "ray"
        self._message = ""
        self._started_s = own_start_s()

    async def run(self) -> int:
        """Start, watch until told to stop by SIGTERM or SIGINT, stop. Returns the exit status."""
        status = 0
        is_told_to_stop = asyncio.Event()
        _on_signals(is_told_to_stop)
        try:
            await self._start_and_watch(is_told_to_stop)
        except Exception as error:
            # The edge of this process: whatever it is, the parts must be stopped, and people told.
            _log.exception("the stack cannot go on")
            self._say("failed", str(error) if isinstance(error, FenzhenError) else f"{type(error).__name__}: {error}")
            status = 3 if isinstance(error, Unavailable) else 1
        await asyncio.to_thread(self._stop, keep_message=status != 0)
        return status

    async def _start_and_watch(self, is_told_to_stop: asyncio.Event) -> None:
        settings = self._plan.settings
        self._say("ray", "starting Ray")
        router = settings.router
        ingress = (router.host, router.port) if router.ingress == "ray" else None
        await asyncio.to_thread(self._runtime.start, settings.site, ingress)
        # Ray puts a handler of its own over SIGTERM, which would end this process in the middle of its stop.
        _on_signals(is_told_to_stop)
        directory = await asyncio.to_thread(self._runtime.start_directory)
        self._say("parts", "starting the router and the engines")
        parts = build_parts(settings, self._plan.folders, self._plan.log_dir, directory)
        await asyncio.to_thread(self._runtime.deploy, parts)
        self._say("engines", "waiting for the engines")
        updates = Updates(settings, self._runtime, directory, self._started_s)
        watching = asyncio.create_task(self._watch(directory))
        obeying = asyncio.create_task(updates.obey(lambda: self._phase == "ready", self._adopt))
        waiting = asyncio.create_task(is_told_to_stop.wait())
        done, _ = await asyncio.wait({watching, obeying, waiting}, return_when=asyncio.FIRST_COMPLETED)
        # A thread that waits for new replicas cannot be cancelled, only told.
        self._runtime.stop_waiting()
        for task in (watching, obeying, waiting):
            task.cancel()
        await asyncio.wait({watching, obeying})
        for task in {watching, obeying} & done:
            task.result()

    def _adopt(self, order: Order) -> None:
        """The parts run with these settings now."""
        self._plan = self._plan.model_copy(update={"settings": order.settings, "settings_from": order.settings_from})

    async def _watch(self, directory: Directory) -> None:
        """Write down each change. Raises Unavailable if a part cannot be started at all."""
        # Serve says only that a replica failed; why, its engine has said before.
        troubles: dict[str, str] = {}
        awaited = Awaited(self._plan.settings, time.monotonic())
        timeout_s = _READ_TIMEOUT_S
        while True:
            try:
                self._table = await directory.read(self._table.version, timeout_s)
            except Unavailable as error:
                _log.warning("%s", error)
                await asyncio.sleep(_READ_TIMEOUT_S)
                continue
            troubles |= {pool_part_name(e.model): e.detail for e in self._table.endpoints if e.state == "restarting"}
            problems = await asyncio.to_thread(self._runtime.problems)
            for name, message in problems.items():
                _log.error("%s: %s", name, message)
                # Without a controller of rollouts everything is served as it was decided last.
                if self._phase == "engines" and name != ROLLOUTS:
                    raise Unavailable(f"{name} could not be started: {troubles.get(name, message)}")
            if self._phase == "engines":
                awaited.check_time(self._table, time.monotonic())
            if self._phase == "ready" or awaited.is_enough(self._table):
                # Where several router replicas are wanted, all of them listen before anybody is told.
                is_ready = self._phase == "ready" or await asyncio.to_thread(self._runtime.is_running, ROUTER)
                timeout_s = _READ_TIMEOUT_S if is_ready else _ROUTER_LOOK_S
                self._say("ready" if is_ready else "engines", awaited.message(self._table))
            else:
                self._say("engines", awaited.message(self._table))

    def _stop(self, *, keep_message: bool) -> None:
        """The controller of rollouts first, so that it takes no ending engine for a bad version; then the router, so
        that it answers what is in flight while the engines still can."""
        settings = self._plan.settings
        pools = [pool_part_name(pool.model) for pool in settings.engine_pools]
        for name in (ROLLOUTS, ROUTER, *pools, *([ENDPOINTS] if settings.external_pools else [])):
            if not keep_message:
                self._say("stopping", f"stopping {name}")
            try:
                self._runtime.stop_part(name)
            except Exception:
                # A part that never came to be cannot be stopped, nor any without Ray; the others still must be.
                _log.exception("%s could not be stopped by itself", name)
        if not keep_message:
            self._say("stopping", "stopping Ray")
        self._runtime.stop()
        if not keep_message:
            self._say("stopped", "everything has stopped")

    def _say(self, phase: Phase, message: str) -> None:
        if (phase, message) != (self._phase, self._message):
            _log.info("%s: %s", phase, message)
        self._phase, self._message = phase, message
        router = self._plan.settings.router
        write_state(
            self._plan.settings.site.state_dir,
            StackState(
                pid=os.getpid(),
                pid_started_s=self._started_s,
                phase=phase,
                message=message,
                base_url=f"http://{router.host}:{router.port}",
                settings_from=self._plan.settings_from,
                models=self._plan.origins,
                endpoints=self._table.endpoints,
                processes=processes_below(os.getpid()),
                log_dir=self._plan.log_dir,
            ),
        )


def lock_stack(state_dir: Path) -> TextIO:
    """Hold the folder for one stack, until this process ends. Raises UserError if another holds it."""
    handle = (state_dir / "stack.lock").open("w", encoding="utf-8")
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        handle.close()
        raise UserError(f"another stack runs with the state folder {state_dir}: `fenzhen status` shows it") from None
    return handle


def _on_signals(stop: asyncio.Event) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    the_plan = Plan.model_validate_json(Path(sys.argv[1]).read_bytes())
    # Addresses with passwords do not stand in files; the environment, which `up` handed on, has them.
    the_plan = the_plan.model_copy(update={"settings": overridden(the_plan.settings, os.environ)})
    with lock_stack(the_plan.settings.site.state_dir):
        sys.exit(asyncio.run(Supervisor(the_plan, RayRuntime()).run()))
