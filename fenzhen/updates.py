"""The supervisor's side of `fenzhen update`: takes orders, one at a time, and replaces what reads the changed keys."""

import asyncio
import logging
import os
from collections.abc import Callable, Sequence
from typing import Final

from cluster.directory import Directory
from cluster.errors import Unavailable
from cluster.ray_runtime import Part, RayRuntime, replacement_timeout_s
from cluster.settings import Settings
from fenzhen.app import ROLLOUTS, ROUTER, rollouts_part, router_part
from fenzhen.changes import Changes, changes
from fenzhen.orders import Order, Outcome, Phase, read_order, write_outcome

# A small file that is mostly not there: a look costs nothing.
_LOOK_S: Final = 0.5
# For Serve's own answers.
_MARGIN_S: Final = 30.0
_WORDS: Final = {ROUTER: "the router", ROLLOUTS: "the controller of rollouts"}

_log = logging.getLogger(__name__)


class Updates:
    """Obeys orders to run with other settings."""

    def __init__(self, settings: Settings, runtime: RayRuntime, directory: Directory, started_s: float) -> None:
        self._settings = settings
        self._runtime = runtime
        self._directory = directory
        self._started_s = started_s
        self._state_dir = settings.site.state_dir
        self._last_id = ""

    async def obey(self, is_ready: Callable[[], bool], adopt: Callable[[Order], None]) -> None:
        """Obey until cancelled. `adopt` is called with each order that has been carried out."""
        while True:
            order = read_order(self._state_dir)
            if order is not None and order.order_id != self._last_id and self._is_ours(order):
                self._last_id = order.order_id
                try:
                    await self._carry_out(order, is_ready(), adopt)
                except Exception as error:
                    # The edge of one order: the stack runs on, whatever was wrong with it.
                    _log.exception("the update failed, by a fault of ours")
                    self._say(order, "failed", f"a fault of ours, {type(error).__name__}: {error}")
            await asyncio.sleep(_LOOK_S)

    def _is_ours(self, order: Order) -> bool:
        return order.pid == os.getpid() and order.pid_started_s == self._started_s

    async def _carry_out(self, order: Order, is_ready: bool, adopt: Callable[[Order], None]) -> None:
        found = changes(self._settings, order.settings)
        if not is_ready:
            self._say(order, "refused", "the stack is not ready yet")
        elif found.restart:
            lines = "\n".join(f"  {line}" for line in found.restart)
            self._say(
                order, "refused", f"nothing was changed, because this needs `fenzhen down` and `fenzhen up`:\n{lines}"
            )
        elif not found.router and not found.rollouts and not order.is_forced:
            self._say(order, "unchanged", "what runs is what the configuration says")
        else:
            await self._replace(order, found, adopt)

    async def _replace(self, order: Order, found: Changes, adopt: Callable[[Order], None]) -> None:
        makers = [router_part] if found.router or order.is_forced else []
        makers += [rollouts_part] if found.rollouts else []
        new = [make(order.settings, self._directory) for make in makers]
        old = [make(self._settings, self._directory) for make in makers]
        why = "\n".join((*found.router, *found.rollouts)) or "nothing has changed; replaced all the same"
        self._say(order, "replacing", why, sum(replacement_timeout_s(part) for part in (*new, *old)) + _MARGIN_S)
        for number, part in enumerate(new):
            try:
                await asyncio.to_thread(self._runtime.replace, part)
            except Unavailable as error:
                _log.warning("the update failed and is taken back: %s", error)
                which = "" if part.name == ROUTER else f"{_WORDS[part.name]}: "
                self._say(order, "failed", f"{which}{error}; {await self._take_back(old[: number + 1])}")
                return
        self._settings = order.settings
        adopt(order)
        names = " and ".join(_WORDS[part.name] for part in new)
        self._say(order, "done", f"{names} run{'' if len(new) > 1 else 's'} with the new configuration")

    async def _take_back(self, old: Sequence[Part]) -> str:
        """Serve has the new settings as its aim still, and would not replace an old replica that dies."""
        for part in reversed(old):
            try:
                await asyncio.to_thread(self._runtime.replace, part)
            except Unavailable as error:
                mend = "`fenzhen down` and `fenzhen up`"
                return f"the old replicas serve on, but none can be started anew ({error}): {mend}"
        return "the router runs on with the old configuration"

    def _say(self, order: Order, phase: Phase, message: str, ends_within_s: float = 0) -> None:
        _log.info("update %s: %s: %s", order.order_id, phase, message)
        outcome = Outcome(
            order_id=order.order_id,
            pid=order.pid,
            pid_started_s=order.pid_started_s,
            phase=phase,
            message=message,
            ends_within_s=ends_within_s,
        )
        write_outcome(self._state_dir, outcome)
