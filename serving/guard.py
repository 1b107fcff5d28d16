"""The engine's parent: a tiny single-threaded process that leaves nothing behind, whatever is killed with -9.

    python -m serving.guard --log FILE --grace-s 10 --parent-pid PID -- COMMAND...

- SIGTERM here: SIGTERM to the engine; after the grace SIGKILL to all that it started.
- The engine ends: whatever it left is killed, and the guard ends with the same status (128 + n for signal n).
- Our parent dies: the guard sees it within a second and kills everything. The kernel's parent-death signal would not
  do: it is bound to the thread that forked, and an event loop's thread may end before its process.
- The guard itself is killed: the engine has the parent-death signal (this process has one thread, so here it holds).
"""

import argparse
import contextlib
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from serving.log import BoundedLog
from serving.processes import adopt_orphans, die_with_parent, kill_session

# How often the guard looks whether its parent is still there.
LOOK_S = 1.0
# The kernel takes a few milliseconds for a kill; one stuck in the disk for longer cannot be helped from here.
SWEEP_S = 5.0


def _wake_on_signals() -> tuple[int, set[int]]:
    """Return a descriptor that becomes readable on SIGTERM, SIGINT and SIGCHLD, and the set of those seen."""
    seen: set[int] = set()

    def note(number: int, _frame: FrameType | None) -> None:
        seen.add(number)

    read_fd, write_fd = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(write_fd)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD):
        signal.signal(number, note)
    return read_fd, seen


def _start(command: Sequence[str]) -> subprocess.Popen[bytes]:
    guard_pid = os.getpid()
    return subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        process_group=0,
        # Safe here and only here: this process has no other thread that could hold a lock at the fork.
        preexec_fn=lambda: die_with_parent(guard_pid),
    )


def _sweep(engine: subprocess.Popen[bytes]) -> None:
    """Kill and wait for everything in our session but ourselves."""
    session_id, deadline_s = os.getsid(0), time.monotonic() + SWEEP_S
    while kill_session(session_id, spared=os.getpid()) and time.monotonic() < deadline_s:
        time.sleep(0.01)
    # Before the others are waited for: its status is ours.
    engine.poll()
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _pump(source_fd: int, log: BoundedLog) -> bool:
    """Copy what the engine has written; False at its end."""
    try:
        piece = os.read(source_fd, 65536)
    except BlockingIOError:
        return True
    log.write(piece)
    return bool(piece)


def watch(command: Sequence[str], log: BoundedLog, grace_s: float, parent_pid: int) -> int:
    """Run one engine to its end and return its status, 0 to 255."""
    wake_fd, signals = _wake_on_signals()
    adopt_orphans()
    try:
        engine = _start(command)
    except OSError as error:
        log.write(f"cannot start {command[0]}: {error}\n".encode())
        return 127
    assert engine.stdout is not None
    output_fd = engine.stdout.fileno()
    os.set_blocking(output_fd, False)
    sources, kill_at_s = [wake_fd, output_fd], None
    while engine.poll() is None:
        now_s = time.monotonic()
        if os.getppid() != parent_pid or (kill_at_s is not None and now_s >= kill_at_s):
            _sweep(engine)
        elif kill_at_s is None and signals & {signal.SIGTERM, signal.SIGINT}:
            engine.terminate()
            kill_at_s = now_s + grace_s
        readable, _, _ = select.select(sources, [], [], LOOK_S)
        if wake_fd in readable:
            os.read(wake_fd, 4096)
        if output_fd in readable and not _pump(output_fd, log):
            sources.remove(output_fd)
    _sweep(engine)
    while output_fd in sources and select.select([output_fd], [], [], 0)[0] and _pump(output_fd, log):
        pass
    return engine.returncode if engine.returncode >= 0 else 128 - engine.returncode


def main(arguments: Sequence[str]) -> int:
    """Read the command line and watch."""
    parser = argparse.ArgumentParser(prog="python -m serving.guard", description=__doc__.splitlines()[0])
    parser.add_argument("--log", type=Path, required=True)
    parser.add_argument("--grace-s", type=float, required=True)
    parser.add_argument("--parent-pid", type=int, required=True)
    parser.add_argument("command", nargs="+")
    options = parser.parse_args(arguments)
    with BoundedLog(options.log) as log:
        return watch(options.command, log, options.grace_s, options.parent_pid)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
