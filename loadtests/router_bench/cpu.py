"""CPU time that processes have used, as the kernel counts it: to the nanosecond, threads that have ended included."""

import ctypes
import functools
import os
import time
from collections.abc import Callable, Iterable
from typing import Final

import psutil

_LISTEN: Final = "LISTEN"


def cpu_s(pids: Iterable[int]) -> float:
    """CPU seconds of these processes since each began; one that is gone counts nothing."""
    return sum(_cpu_ns(pid) for pid in pids) / 1e9


def tree(pid: int) -> tuple[int, ...]:
    """A process and all that descend from it; nothing if it is gone."""
    try:
        process = psutil.Process(pid)
        return (pid, *(child.pid for child in process.children(recursive=True)))
    except psutil.NoSuchProcess:
        return ()


def listeners(port: int) -> tuple[int, ...]:
    """The processes that listen on a TCP port."""
    found: set[int] = set()
    for connection in psutil.net_connections(kind="tcp"):
        address = connection.laddr
        if connection.status == _LISTEN and address and address.port == port and connection.pid is not None:
            found.add(connection.pid)
    return tuple(sorted(found))


def cores() -> tuple[int, ...]:
    """The cores that this process may use."""
    return tuple(sorted(os.sched_getaffinity(0)))


@functools.cache
def _clock_of() -> Callable[[int], int | None]:
    """The C library's way to a process's CPU clock: the files in /proc count in hundredths of a second only."""
    library = ctypes.CDLL(None, use_errno=True)

    def clock_of(pid: int) -> int | None:
        clock = ctypes.c_int()
        return clock.value if library.clock_getcpuclockid(pid, ctypes.byref(clock)) == 0 else None

    return clock_of


def _cpu_ns(pid: int) -> int:
    clock = _clock_of()(pid)
    if clock is None:
        return 0
    try:
        return time.clock_gettime_ns(clock)
    except OSError:
        # It ended in between.
        return 0
