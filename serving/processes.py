"""Processes of one session, read from /proc: whatever an engine has started is found and ended here.

A guard opens a session of its own (setsid), and every process that it or its engine starts stays in it. So the
session's id, which is the guard's pid, finds them all, even after the guard itself was killed.
"""

import os
import signal
import sys
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36


def session_members(session_id: int) -> tuple[int, ...]:
    """The pids in a session that still run (a zombie does not)."""
    found: list[int] = []
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            stat = Path("/proc", entry, "stat").read_bytes()
        except OSError:
            # It ended between the listing and the look.
            continue
        # After the command's name, which may hold spaces and brackets: state, parent, group, session.
        fields = stat[stat.rindex(b")") + 2 :].split()
        if int(fields[3]) == session_id and fields[0] not in (b"Z", b"X"):
            found.append(int(entry))
    return tuple(found)


def kill_session(session_id: int, spared: int | None = None) -> tuple[int, ...]:
    """Send SIGKILL to every process of a session but `spared`, and return whom it was sent to."""
    struck = tuple(pid for pid in session_members(session_id) if pid != spared)
    for pid in struck:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            # It ended by itself in between.
            continue
    return struck


def die_with_parent(parent_pid: int) -> None:
    """Ask the kernel to kill this process when the thread that started it ends. Linux only; elsewhere nothing.

    Call it in the child. `parent_pid`: the parent as it was before the fork, in case it is gone already.
    """
    if sys.platform != "linux":
        return
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent_pid:
        os.kill(os.getpid(), signal.SIGKILL)


def adopt_orphans() -> None:
    """Become the parent of descendants whose own parent dies, so that they can be waited for here."""
    if sys.platform == "linux":
        _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def _prctl(option: int, value: int) -> None:
    import ctypes

    if ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl failed")
