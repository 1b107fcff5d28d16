"""A worker of a run: does its part of a plan when the leader says so, and reports each second."""

import gc
import logging
import os
import time
from collections.abc import Callable
from typing import Final

import gevent
from pydantic import ValidationError

from cluster.errors import FenzhenError, UserError
from loadtests.arrivals.schedule import arrivals_of, check_arrivals
from loadtests.asking.conductor import Conductor
from loadtests.asking.exchange import Asker
from loadtests.asking.messages import BEGIN, ENDED, FAILED, PLAN, READY, SECOND, STOP, Channel, Message, packed
from loadtests.keys import keys_of
from loadtests.plan import Plan
from loadtests.records.sample import Sample
from loadtests.records.tick import Tick
from loadtests.workload.crowd import Crowd

# Clocks of two machines that are further apart than this are not set by one time server.
_CLOCKS_AGREE_S: Final = 0.25
# Generations 0 and 1 stay small and cheap; the whole heap is gone through so rarely that no pause is seen.
_GC_THRESHOLDS: Final = (1_000, 20, 1_000)
_log: Final = logging.getLogger(__name__)


class Member:
    """Listens on a channel from the start; `seen` gets each sample."""

    def __init__(self, channel: Channel, seen: Callable[[Sample], None]) -> None:
        self._channel = channel
        self._seen = seen
        self._conductor: Conductor | None = None
        self._running: gevent.Greenlet | None = None
        for kind, listener in ((PLAN, self._prepare), (BEGIN, self._begin), (STOP, self._stop)):
            channel.register_message(kind, listener)

    def interrupt(self, timeout_s: float) -> None:
        """Give up what is in flight, report, and wait until that is done."""
        if self._conductor is not None and self._running is not None:
            self._conductor.stop(cut=True)
            self._running.join(timeout_s)

    def _prepare(self, msg: Message, **_: object) -> None:
        try:
            plan = Plan.model_validate_json(msg.data["plan"])
            worker, workers = msg.data["worker"], msg.data["workers"]
            check_arrivals(plan)
            self._conductor = Conductor(
                plan,
                Crowd(plan, keys_of(plan, os.environ), worker, workers),
                arrivals_of(plan, worker, workers),
                Asker(msg.data["url"], plan.limits.timeout_s, worker),
                self._report,
                self._seen,
                worker,
                workers,
            )
        except ValidationError as error:
            self._fail(UserError(f"a worker does not understand the plan; is it of the leader's version? {error}"))
        except Exception as error:
            self._fail(error)
        else:
            _log.info("Worker %d of %d sends to %s", worker + 1, workers, msg.data["url"])
            self._channel.send_message(READY, {})

    def _begin(self, msg: Message, **_: object) -> None:
        self._running = gevent.spawn(self._run, _zero_s(msg.data["unix_s"], msg.data["in_s"]))

    def _stop(self, msg: Message, **_: object) -> None:
        if self._conductor is not None:
            self._conductor.stop(cut=msg.data["cut"])

    def _run(self, zero_s: float) -> None:
        assert self._conductor is not None
        # All that is there now stays to the end: looking through it would be a pause in which nothing is sent.
        gc.collect()
        gc.freeze()
        gc.set_threshold(*_GC_THRESHOLDS)
        try:
            ending = self._conductor.run(zero_s)
        except Exception as error:
            self._fail(error)
            return
        document = {"gaps": packed(ending.gaps), "unsettled": ending.unsettled, "note": ending.note}
        self._channel.send_message(ENDED, document)

    def _report(self, lines: bytes, tick: Tick) -> None:
        self._channel.send_message(SECOND, {"lines": lines, "tick": list(tick)})

    def _fail(self, error: Exception) -> None:
        _log.error("this worker cannot do its part", exc_info=error)
        is_ours = not isinstance(error, FenzhenError)
        text = f"the generator has a bug: {type(error).__name__}: {error}" if is_ours else str(error)
        self._channel.send_message(FAILED, {"is_users": isinstance(error, UserError), "text": text})


def _zero_s(unix_s: float, in_s: float) -> float:
    """Second 0 on this process's own clock: by the time of day where that agrees with the leader's, else from now."""
    by_the_day_s = unix_s - time.time()
    return time.perf_counter() + (by_the_day_s if abs(by_the_day_s - in_s) < _CLOCKS_AGREE_S else in_s)
