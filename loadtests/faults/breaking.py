"""Breaks things by the clock of a run, takes back what can be taken back, and keeps note of both."""

import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from cluster.errors import FenzhenError
from cluster.stack_state import StackState
from loadtests.faults.acts import Act, Surroundings, act_of
from loadtests.faults.fault import Fault
from loadtests.faults.link_hands import OwnLink
from loadtests.records.run import Mark

_RENEW_S: Final = 1.0
# A kill and an answer of a link take at most 10 s each, a step of filling a disk less.
_END_TIMEOUT_S: Final = 30.0


class Breaking:
    """The faults of one run. Leaving the context takes everything back, whatever the reason for leaving is.

    Each fault has a thread of its own: one that takes long does not keep the others from their moment.
    """

    def __init__(
        self,
        faults: Sequence[Fault],
        state: StackState | None,
        state_dir: Path | None,
        url: str,
        confirm_shared_disk: bool = False,
        run_folder: Path | None = None,
    ) -> None:
        """Raises UserError if one of the faults cannot be done here. `run_folder`: where the run is kept, or will be,
        so that no fault takes the disk away from it."""
        self._stop = threading.Event()
        needs_link = any(fault.kind == "slow-link" and fault.target is None for fault in faults)
        self._link = OwnLink(url) if needs_link else None
        self._url = url
        around = Surroundings(state, state_dir, run_folder, self._link, self._stop, confirm_shared_disk)
        self._faults = tuple(faults)
        self._acts = [act_of(fault, around) for fault in faults]
        self._threads: list[threading.Thread] = []
        self._zero_s = 0.0
        self._lock = threading.Lock()
        self._marks: dict[int, Mark] = {}

    @property
    def url(self) -> str:
        """The address that callers must use, within the context."""
        return self._link.url if self._link is not None else self._url

    @property
    def marks(self) -> tuple[Mark, ...]:
        """What was done so far, in order of time; after the context also what was not."""
        with self._lock:
            return tuple(sorted(self._marks.values(), key=lambda mark: mark.at_s))

    def begin(self, unix_s: float) -> None:
        """The run has begun at this moment, seconds since the epoch: from now on its faults come."""
        # From here on by the clock that nobody sets.
        self._zero_s = time.monotonic() - (time.time() - unix_s)
        for number, (fault, act) in enumerate(zip(self._faults, self._acts, strict=True)):
            thread = threading.Thread(
                target=self._run, args=(number, fault, act), name=f"fault {fault.kind}", daemon=True
            )
            self._threads.append(thread)
            thread.start()

    def __enter__(self) -> Self:
        """Raises OurFault or TimedOut if the slow link does not start."""
        if self._link is not None:
            try:
                self._link.start()
            except BaseException:
                self._link.close()
                raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        try:
            until_s = time.monotonic() + _END_TIMEOUT_S
            for thread in self._threads:
                thread.join(max(0.0, until_s - time.monotonic()))
        finally:
            if self._link is not None:
                self._link.close()
        for number, fault in enumerate(self._faults):
            with self._lock:
                is_noted = number in self._marks
            if not is_noted:
                self._note(number, Mark(at_s=fault.at_s, kind=fault.kind, text="the run ended before", is_done=False))

    def _run(self, number: int, fault: Fault, act: Act) -> None:
        if self._stop.wait(max(0.0, self._zero_s + fault.at_s - time.monotonic())):
            return
        try:
            text = act.begin()
        except Exception as error:
            # The edge of this thread: whatever it is, the report must say that nothing was broken.
            self._note(number, Mark(at_s=self._now_s(), kind=fault.kind, text=_words(error), is_done=False))
            return
        mark = Mark(at_s=self._now_s(), kind=fault.kind, text=text)
        self._note(number, mark)
        if not act.lasts:
            return
        texts = [text]
        steps: tuple[Callable[[], None], ...] = (lambda: self._hold(act, fault), act.end)
        for step in steps:
            try:
                step()
            except Exception as error:
                # It was broken, and is taken back in any case.
                texts.append(_words(error))
        self._note(number, mark.model_copy(update={"until_s": self._now_s(), "text": "; ".join(texts)}))

    def _hold(self, act: Act, fault: Fault) -> None:
        until_s = float("inf") if fault.for_s is None else time.monotonic() + fault.for_s
        while (left_s := until_s - time.monotonic()) > 0 and not self._stop.wait(min(_RENEW_S, left_s)):
            act.renew()

    def _note(self, number: int, mark: Mark) -> None:
        with self._lock:
            self._marks[number] = mark

    def _now_s(self) -> float:
        return time.monotonic() - self._zero_s


def _words(error: Exception) -> str:
    return str(error) if isinstance(error, FenzhenError) else f"{type(error).__name__}: {error}"
