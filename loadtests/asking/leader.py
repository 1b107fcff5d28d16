"""The leader of a run: hands the plan to the workers, begins them together, and gathers what they report.

A run on one process has its leader and its only worker in that process; they speak to each other in the same way.
"""

import logging
import time
from collections.abc import Callable, Sequence
from typing import Final, Protocol

from gevent.event import Event

from loadtests.asking.gathering import Gathering, Total
from loadtests.asking.messages import BEGIN, ENDED, FAILED, PLAN, READY, SECOND, STOP, Channel, Message, unpacked
from loadtests.plan import Plan
from loadtests.records.tick import Tick

_PREPARE_TIMEOUT_S: Final = 60.0
# Long enough for the message to reach every worker, on other machines too.
_BEGIN_IN_S: Final = 1.0
_BEGIN_IN_LOCAL_S: Final = 0.1
_LOOK_EVERY_S: Final = 0.1
# A worker that is said to be missing and has not reported for so long is gone; one that is not said to be, later.
_MISSING_S: Final = 5.0
_SILENT_S: Final = 15.0
_OWN_PAUSE_S: Final = 2.0
_log: Final = logging.getLogger(__name__)


class Listener(Protocol):
    """Who is told how a run goes."""

    def began(self, unix_s: float, workers: int) -> None:
        """All is prepared: second 0 is then."""
        ...

    def samples(self, lines: bytes) -> None:
        """Lines of samples.jsonl."""
        ...

    def ticks(self, ticks: Sequence[Tick]) -> None:
        """Seconds of all workers together."""
        ...

    def over(self, total: Total) -> None:
        """The end."""
        ...

    def failed(self, text: str, *, is_users: bool) -> None:
        """The end, before anything could be sent or as a worker has a bug."""
        ...


class Leader:
    """Leads one run after another; `run` blocks until the end."""

    def __init__(self, channel: Channel, plan: Plan, listener: Listener, *, is_local: bool) -> None:
        self._channel = channel
        self._plan = plan
        self._listener = listener
        self._is_local = is_local
        self._changed = Event()
        self._forget()
        for kind, method in (
            (READY, self._take_ready), (SECOND, self._take_second),
            (ENDED, self._take_end), (FAILED, self._take_failure),
        ):  # fmt: skip
            channel.register_message(kind, method)

    @property
    def is_running(self) -> bool:
        """Whether a run is being prepared or goes on."""
        return bool(self._names)

    def interrupt(self) -> None:
        """End the run that goes on, or the next one before it begins."""
        self._is_interrupted = True
        self._stop_workers(cut=True)
        self._changed.set()

    def run(self, url: str, names: Sequence[str], missing: Callable[[], Sequence[str]]) -> None:
        """One run with these workers; `missing` names those that are gone by what the channel knows."""
        self._begin(url, names)
        try:
            if self._prepared(names, missing):
                self._conduct(missing)
        finally:
            self._forget()

    def _forget(self) -> None:
        self._names: Sequence[str] = ()
        self._gathering = Gathering((), self._listener.ticks)
        self._ready: set[str] = set()
        self._last_word_s: dict[str, float] = {}
        self._looked_s = 0.0
        self._failure: tuple[str, bool] | None = None
        self._saturated: tuple[float, str] | None = None
        self._is_interrupted = False

    def _begin(self, url: str, names: Sequence[str]) -> None:
        is_interrupted = self._is_interrupted
        self._forget()
        self._is_interrupted = is_interrupted
        self._names = names
        self._gathering = Gathering(names, self._listener.ticks)
        plan = self._plan.model_dump_json()
        for number, name in enumerate(names):
            document = {"plan": plan, "url": url, "worker": number, "workers": len(names)}
            self._channel.send_message(PLAN, document, name)

    def _prepared(self, names: Sequence[str], missing: Callable[[], Sequence[str]]) -> bool:
        """Wait until all workers could begin; False if there will be no run, which is told."""
        end_s = time.monotonic() + _PREPARE_TIMEOUT_S
        while self._ready != set(names) and self._failure is None and not self._is_interrupted:
            gone = [name for name in missing() if name in names]
            if gone:
                self._failure = (f"{len(gone)} of {len(names)} workers went away before the load began", False)
            elif time.monotonic() > end_s:
                slow = len(names) - len(self._ready)
                self._failure = (
                    f"{slow} of {len(names)} workers were not ready within {_PREPARE_TIMEOUT_S:.0f} s", False
                )  # fmt: skip
            self._wait()
        if self._failure is not None:
            text, is_users = self._failure
            self._listener.failed(text, is_users=is_users)
        elif self._is_interrupted:
            self._listener.over(Total("interrupted", "It had not begun yet.", None, {}, len(names)))
        return self._failure is None and not self._is_interrupted

    def _conduct(self, missing: Callable[[], Sequence[str]]) -> None:
        in_s = _BEGIN_IN_LOCAL_S if self._is_local else _BEGIN_IN_S
        unix_s = time.time() + in_s
        self._looked_s = time.monotonic()
        self._last_word_s = dict.fromkeys(self._names, self._looked_s + in_s)
        for name in self._names:
            self._channel.send_message(BEGIN, {"unix_s": unix_s, "in_s": in_s}, name)
        self._listener.began(unix_s, len(self._names))
        while not self._gathering.is_over and self._failure is None:
            self._wait()
            self._look_for_lost(missing)
        if self._failure is not None:
            text, is_users = self._failure
            self._stop_workers(cut=True)
            self._listener.failed(text, is_users=is_users)
            return
        total = self._gathering.total(is_interrupted=self._is_interrupted, saturated=self._saturated)
        self._listener.over(total)

    def _wait(self) -> None:
        self._changed.wait(_LOOK_EVERY_S)
        self._changed.clear()

    def _look_for_lost(self, missing: Callable[[], Sequence[str]]) -> None:
        now_s = time.monotonic()
        own_pause_s = now_s - self._looked_s
        self._looked_s = now_s
        if own_pause_s > _OWN_PAUSE_S:
            # It is this process that has stood still: what the workers said meanwhile is still to be read.
            self._last_word_s = {name: at_s + own_pause_s for name, at_s in self._last_word_s.items()}
        gone = missing()
        for name in self._gathering.running:
            silent_s = now_s - self._last_word_s[name]
            if silent_s > _SILENT_S or (name in gone and silent_s > _MISSING_S):
                _log.warning("worker %s has gone away", name)
                self._gathering.lost(name)

    def _stop_workers(self, *, cut: bool) -> None:
        for name in self._gathering.running:
            self._channel.send_message(STOP, {"cut": cut}, name)

    def _take_ready(self, msg: Message, **_: object) -> None:
        self._ready.add(msg.node_id)
        self._changed.set()

    def _take_second(self, msg: Message, **_: object) -> None:
        if msg.node_id not in self._names:
            return
        self._last_word_s[msg.node_id] = time.monotonic()
        self._listener.samples(msg.data["lines"])
        before = len(self._gathering.ticks)
        self._gathering.second(msg.node_id, Tick(*msg.data["tick"]))
        if len(self._gathering.ticks) > before:
            self._look_for_saturation()

    def _take_end(self, msg: Message, **_: object) -> None:
        data = msg.data
        self._gathering.ended(msg.node_id, unpacked(data["gaps"]), data["unsettled"], data["note"])
        self._changed.set()

    def _take_failure(self, msg: Message, **_: object) -> None:
        if msg.node_id in self._names and self._failure is None:
            self._failure = (msg.data["text"], msg.data["is_users"])
            self._changed.set()

    def _look_for_saturation(self) -> None:
        if not self._plan.limits.stop_when_saturated or self._saturated is not None or self._is_interrupted:
            return
        if not self._is_open_loop(self._gathering.ticks[-1].at_s):
            # With people in a closed loop the queue is as long as there are people; in the drain it only shrinks.
            return
        # Only where it is asked for: it brings numpy along.
        from loadtests.judging.saturation import saturation

        found = saturation([tick for tick in self._gathering.ticks if self._is_open_loop(tick.at_s)])
        if found is not None:
            self._saturated = (found.at_s, found.sentence)
            self._stop_workers(cut=False)

    def _is_open_loop(self, at_s: int) -> bool:
        end_s = 0.0
        for stage in self._plan.stages:
            end_s += stage.seconds
            if at_s < end_s:
                return stage.arrivals is not None
        return False
