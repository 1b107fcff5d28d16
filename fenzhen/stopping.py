"""Stops a stack and makes sure that nothing of it is left."""

import os
import signal
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from cluster.errors import OurFault
from cluster.stack_state import ProcessNote, StackState, process_lives, processes_below, read_state
from fenzhen.output import Output

_LOOK_S: Final = 0.2
# Beyond the drain times, which are in the plan: the router's, then each pool's, then Ray's own end.
_STOP_TIMEOUT_S: Final = 180.0
# What outlives its supervisor gets this long to end by itself, and again after SIGTERM.
_LEFTOVER_S: Final = 8.0


def stop_stack(state_dir: Path, output: Output) -> int:
    """Stop the stack of this state folder. Gives how many processes have ended; raises OurFault if one would not."""
    state = read_state(state_dir)
    if state is None:
        return 0
    was_alive = state.is_alive
    known = {note.pid: note for note in (*state.processes, *processes_below(state.pid)) if note.is_alive}
    if was_alive:
        os.kill(state.pid, signal.SIGTERM)
        known |= _follow(state_dir, state, output)
    left = _end(known.values(), output)
    if left:
        names = ", ".join(f"{note.name} ({note.pid})" for note in left)
        raise OurFault(f"these processes would not end: {names}")
    return len(known) + was_alive


def _follow(state_dir: Path, state: StackState, output: Output) -> dict[int, ProcessNote]:
    """Say what the supervisor stops until it has ended; gives the processes that were seen."""
    seen: dict[int, ProcessNote] = {}
    said = ""
    deadline_s = time.monotonic() + _STOP_TIMEOUT_S
    while state.is_alive:
        now = read_state(state_dir)
        if now is not None and now.phase in ("stopping", "stopped") and now.message != said:
            said = now.message
            output.say(f"  {said}")
            seen |= {note.pid: note for note in now.processes}
        if time.monotonic() > deadline_s:
            output.say(f"  the supervisor has not ended within {_STOP_TIMEOUT_S:g} s and is killed")
            os.kill(state.pid, signal.SIGKILL)
        time.sleep(_LOOK_S)
    return seen


def _end(notes: Iterable[ProcessNote], output: Output) -> list[ProcessNote]:
    """Wait for the processes to end, then ask them to, then make them; gives those that remain."""
    left = _alive_after(notes, _LEFTOVER_S)
    for number, verb in ((signal.SIGTERM, "asked to end"), (signal.SIGKILL, "killed")):
        for note in left:
            output.say(f"  {note.name} ({note.pid}) was left over and is {verb}")
            # It may end between the look and the signal, or its id may not be ours any more.
            if process_lives(note.pid, note.started_s):
                try:
                    os.kill(note.pid, number)
                except ProcessLookupError:
                    continue
        if left:
            left = _alive_after(left, _LEFTOVER_S)
    return left


def _alive_after(notes: Iterable[ProcessNote], wait_s: float) -> list[ProcessNote]:
    deadline_s = time.monotonic() + wait_s
    left = [note for note in notes if note.is_alive]
    while left and time.monotonic() < deadline_s:
        time.sleep(_LOOK_S)
        left = [note for note in left if note.is_alive]
    return left
