"""How each fault is done and taken back. All are built before a run, which refuses at once what cannot be done."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from cluster.errors import UserError
from cluster.stack_state import StackState, read_state
from loadtests.faults import kills
from loadtests.faults.ballast import Ballast, require_fillable
from loadtests.faults.fault import Fault
from loadtests.faults.kills import Victim
from loadtests.faults.link_hands import OwnLink, RemoteHand


class Act(Protocol):
    """One fault, ready to be done."""

    @property
    def lasts(self) -> bool:
        """Whether there is something to take back."""

    def begin(self) -> str:
        """Do it and say what was done, one line. Raises FenzhenError, OSError, and then nothing is left of it."""

    def renew(self) -> None:
        """Called every second while it lasts. Raises as `begin`."""

    def end(self) -> None:
        """Take it back."""


class Kill:
    """Ends one process of the stack; whoever has started it starts another."""

    lasts = False

    def __init__(self, find: Callable[[StackState], Victim], state: StackState | None, state_dir: Path | None) -> None:
        """Raises UserError if there is nobody to kill."""
        if state is None or not state.is_alive:
            raise UserError("there is nothing to kill: no stack of this machine is under test")
        self._find = find
        self._state = state
        self._state_dir = state_dir
        find(state)

    def begin(self) -> str:
        """Kill it."""
        # Engines may have been started again since the run began, with other processes.
        fresh = read_state(self._state_dir) if self._state_dir is not None else None
        is_same = fresh is not None and fresh.pid == self._state.pid
        state = fresh if fresh is not None and is_same else self._state
        if not state.is_alive:
            raise UserError("the stack has ended")
        victim = self._find(state)
        kills.kill(victim)
        return f"killed {victim.words}"

    def renew(self) -> None:
        """Nothing lasts."""

    def end(self) -> None:
        """It comes back by itself."""


class SlowCallers:
    """Makes the way from callers to the address under test slower."""

    lasts = True

    def __init__(self, link: OwnLink, delay_s: float) -> None:
        self._link = link
        self._delay_s = delay_s

    def begin(self) -> str:
        """Slow it down."""
        self._link.order(self, self._delay_s)
        return f"{self._delay_s * 1000:g} ms more between callers and the address under test"

    def renew(self) -> None:
        """It holds by itself."""

    def end(self) -> None:
        """As fast as before."""
        self._link.order(self, 0.0)


class SlowOther:
    """Makes a line slower that `fenzhen loadtest link` runs, as before an engine."""

    lasts = True

    def __init__(self, port: int, delay_s: float) -> None:
        """Raises UserError if no such link runs."""
        self._port = port
        self._delay_s = delay_s
        self._hand: RemoteHand | None = None
        RemoteHand(port).close()

    def begin(self) -> str:
        """Slow it down."""
        hand = RemoteHand(self._port)
        try:
            hand.order(self._delay_s)
        except BaseException:
            hand.close()
            raise
        self._hand = hand
        return f"{self._delay_s * 1000:g} ms more on the link 127.0.0.1:{self._port}"

    def renew(self) -> None:
        """It holds by itself."""

    def end(self) -> None:
        """As fast as before."""
        if self._hand is not None:
            self._hand.close()
            self._hand = None


class FullDisk:
    """Leaves the stack's state folder no room."""

    lasts = True

    def __init__(
        self, state_dir: Path | None, run_folder: Path | None, stop: threading.Event, *, is_confirmed: bool
    ) -> None:
        """Raises UserError if that disk must not be filled."""
        if state_dir is None:
            raise UserError("fill-disk: no stack of this machine is under test, so there is no disk of its own")
        require_fillable(state_dir, run_folder, is_confirmed=is_confirmed)
        self._folder = state_dir
        self._ballast = Ballast(state_dir, stop)

    def begin(self) -> str:
        """Fill it."""
        try:
            self._ballast.fill()
        except BaseException:
            self._ballast.release()
            raise
        return f"filled the disk of {self._folder} with {self._ballast.size_bytes:,} bytes"

    def renew(self) -> None:
        """Fill what others have given back meanwhile."""
        self._ballast.fill()

    def end(self) -> None:
        """Give all back."""
        self._ballast.release()


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What faults can be done to."""

    state: StackState | None
    state_dir: Path | None
    run_folder: Path | None
    link: OwnLink | None
    """Between callers and the address under test, if a fault needs it."""
    stop: threading.Event
    may_fill_shared_disk: bool


def act_of(fault: Fault, at: Surroundings) -> Act:
    """The act of a fault. Raises UserError if it cannot be done here."""
    match fault.kind:
        case "kill-engine":
            return Kill(lambda state: kills.engine(state, fault.target), at.state, at.state_dir)
        case "kill-router":
            return Kill(kills.router_replica, at.state, at.state_dir)
        case "kill-registry":
            return Kill(kills.registry_replica, at.state, at.state_dir)
        case "slow-link":
            assert fault.delay_s is not None
            if fault.port is not None:
                return SlowOther(fault.port, fault.delay_s)
            assert at.link is not None
            return SlowCallers(at.link, fault.delay_s)
        case "fill-disk":
            return FullDisk(at.state_dir, at.run_folder, at.stop, is_confirmed=at.may_fill_shared_disk)
