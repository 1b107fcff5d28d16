"""What the operating system says while something runs: memory that belongs to a process alone, how busy a core is."""

import statistics
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

import psutil

from loadtests.router_bench import cpu

_SAMPLES: Final = 3
_BETWEEN_SAMPLES_S: Final = 0.3
# As Linux numbers the states of a socket.
_LISTEN: Final = "0A"


@dataclass(frozen=True, slots=True)
class Footprint:
    """Memory of some processes together, bytes. What the kernel keeps for their sockets is in neither."""

    uss_bytes: int
    """Theirs alone: what ending them would give back."""
    rss_bytes: int
    """With pages that are shared, such as libraries."""

    def kb_per(self, count: int, idle: Self) -> tuple[float, float]:
        """How much above `idle` for each of so many, in KB of 1,024 bytes: USS and RSS."""
        return (
            (self.uss_bytes - idle.uss_bytes) / count / 1024,
            (self.rss_bytes - idle.rss_bytes) / count / 1024,
        )


def footprint(pids: Iterable[int]) -> Footprint:
    """Now. Raises psutil.NoSuchProcess: a process that is gone would look like memory saved."""
    all_info = [psutil.Process(pid).memory_full_info() for pid in pids]
    return Footprint(sum(info.uss for info in all_info), sum(info.rss for info in all_info))


def steady_footprint(pids: Iterable[int]) -> Footprint:
    """The median of a few moments."""
    pids = tuple(pids)
    found = [footprint(pids)]
    for _ in range(_SAMPLES - 1):
        time.sleep(_BETWEEN_SAMPLES_S)
        found.append(footprint(pids))
    return Footprint(
        int(statistics.median(one.uss_bytes for one in found)),
        int(statistics.median(one.rss_bytes for one in found)),
    )


@dataclass(frozen=True, slots=True)
class Use:
    """What was used between two moments."""

    seconds: float
    cpu_s: float
    """By the processes."""
    core_busy_ratio: float
    """Of the other core, where clients and engines are: near 1 it is they who set the limit."""

    @property
    def cpu_ratio(self) -> float:
        """Of one core."""
        return self.cpu_s / self.seconds


class Stopwatch:
    """Begins when it is made."""

    def __init__(self, pids: Iterable[int], core: int) -> None:
        self._pids = tuple(pids)
        self._core = core
        self._begin_s = time.monotonic()
        self._cpu_s = cpu.cpu_s(self._pids)
        self._busy_s, self._all_s = _core_s(core)

    def read(self) -> Use:
        """What has been used until now."""
        busy_s, all_s = _core_s(self._core)
        passed_s = all_s - self._all_s
        return Use(
            seconds=time.monotonic() - self._begin_s,
            cpu_s=cpu.cpu_s(self._pids) - self._cpu_s,
            core_busy_ratio=(busy_s - self._busy_s) / passed_s if passed_s > 0 else 0.0,
        )


def idle_ratio(pids: Iterable[int], core: int, seconds: float) -> float:
    """What the processes use of a core while nobody asks them anything: Ray's own part of a replica, mostly."""
    watch = Stopwatch(pids, core)
    time.sleep(seconds)
    return watch.read().cpu_ratio


def _core_s(core: int) -> tuple[float, float]:
    """Busy and all seconds of one core since the machine started."""
    times = psutil.cpu_times(percpu=True)[core]
    all_s = sum(times[:8])
    return all_s - times.idle - times.iowait, all_s


def listening_sockets(port: int, table: Path = Path("/proc/net/tcp")) -> frozenset[str]:
    """The sockets that listen on a port of IPv4, by inode: replicas that share it have one each."""
    found = set()
    for line in table.read_text(encoding="ascii").splitlines()[1:]:
        words = line.split()
        if words[3] == _LISTEN and int(words[1].rpartition(":")[2], 16) == port:
            found.add(words[9])
    return frozenset(found)
