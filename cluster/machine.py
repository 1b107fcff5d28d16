"""What this machine has: cores, memory, disk, GPUs, Python. Reads files and one tool, changes nothing.

Inside a container the limits of its control group count, not what the whole machine has.
"""

import csv
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

# nvidia-smi hangs for minutes where a driver is half dead.
NVIDIA_SMI_TIMEOUT_S = 10.0
# Version 1 writes "no limit" as the largest number of whole pages below 2^63.
_NO_LIMIT_BYTES = 2**60

Simd = Literal["avx512", "avx2", "none", "unknown"]


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU as nvidia-smi names it."""

    name: str
    memory_bytes: int | None
    """None where the driver does not say."""
    driver: str


@dataclass(frozen=True, slots=True)
class Memory:
    """Main memory that processes started here may use."""

    total_bytes: int
    available_bytes: int
    """What is free now, file cache that the kernel would give back included."""


@dataclass(frozen=True, slots=True)
class Machine:
    """The facts that a start depends on."""

    python: tuple[int, int, int]
    cores: float
    """CPU cores this process may use; a quota may leave a fraction."""
    memory: Memory
    simd: Simd
    """The widest vector instructions; "unknown" on processors other than x86."""
    gpus: tuple[Gpu, ...]
    gpu_problem: str | None
    """Why nvidia-smi, which is there, gave no list."""


def read_machine(root: Path = Path("/"), search_path: str | None = None) -> Machine:
    """The facts now. `root` holds `proc` and `sys`; nvidia-smi is looked for on `search_path`, by default PATH."""
    gpus, gpu_problem = read_gpus(search_path)
    return Machine(
        python=sys.version_info[:3],
        cores=read_cores(root, len(os.sched_getaffinity(0))),
        memory=read_memory(root),
        simd=read_simd(root),
        gpus=gpus,
        gpu_problem=gpu_problem,
    )


def read_cores(root: Path, allowed: int) -> float:
    """The cores this process may use: those it is `allowed` to run on, less where its control group has a quota."""
    quotas: list[float] = []
    for group in _groups(root, "cpu"):
        # Version 2 has one file "QUOTA PERIOD" with "max" for none, version 1 two files with -1 for none.
        match _words(group / "cpu.max"):
            case [quota, period] if quota.isdigit():
                quotas.append(int(quota) / int(period))
        quota_us, period_us = _number(group / "cpu.cfs_quota_us"), _number(group / "cpu.cfs_period_us")
        if quota_us and period_us:
            quotas.append(quota_us / period_us)
    return min([float(allowed), *quotas])


def read_memory(root: Path) -> Memory:
    """Total and available memory: the machine's, or a control group's where that is less."""
    meminfo = dict(_fields(root / "proc/meminfo"))
    totals = [_kib(meminfo.get("MemTotal"))]
    available = [_kib(meminfo.get("MemAvailable"))]
    for group in _groups(root, "memory"):
        for limit_name, used_name, cache_names in (
            ("memory.max", "memory.current", ("inactive_file", "active_file")),
            ("memory.limit_in_bytes", "memory.usage_in_bytes", ("total_inactive_file", "total_active_file")),
        ):
            limit = _number(group / limit_name)
            if limit is None or limit >= _NO_LIMIT_BYTES:
                continue
            stat = dict(line.split(maxsplit=1) for line in _lines(group / "memory.stat") if " " in line)
            # The pages of model files count as used, but the kernel drops them as soon as somebody needs room.
            cache = sum(int(stat.get(name, "0")) for name in cache_names)
            used = max(0, (_number(group / used_name) or 0) - cache)
            totals.append(limit)
            available.append(max(0, limit - used))
    return Memory(total_bytes=min(totals), available_bytes=min(available))


def read_simd(root: Path) -> Simd:
    """The widest vector instructions that vLLM has a build for."""
    for name, text in _fields(root / "proc/cpuinfo"):
        if name == "flags":
            flags = text.split()
            return "avx512" if "avx512f" in flags else "avx2" if "avx2" in flags else "none"
    return "unknown"


def read_gpus(search_path: str | None = None) -> tuple[tuple[Gpu, ...], str | None]:
    """The GPUs, and why there is no list although nvidia-smi is there."""
    tool = shutil.which("nvidia-smi", path=search_path)
    if tool is None:
        return (), None
    command = [tool, "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=NVIDIA_SMI_TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired:
        return (), f"nvidia-smi gave no answer within {NVIDIA_SMI_TIMEOUT_S:.0f} s"
    except OSError as error:
        return (), f"nvidia-smi cannot be started: {error.strerror}"
    if done.returncode != 0:
        said = (done.stdout + done.stderr).strip().splitlines()
        return (), f"nvidia-smi failed: {said[0] if said else f'exit code {done.returncode}'}"
    rows = csv.reader(done.stdout.splitlines(), skipinitialspace=True)
    return tuple(Gpu(row[0], _mib(row[1]), row[2]) for row in rows if len(row) == 3), None


def free_disk_bytes(path: Path) -> int:
    """Free bytes for this user on the file system where `path` lies or will lie."""
    nearest = path.expanduser().absolute()
    while not nearest.exists():
        nearest = nearest.parent
    return shutil.disk_usage(nearest).free


def gigabytes(amount_bytes: int) -> str:
    """An amount as people compare it, in 10^9 bytes: `13.4 GB`."""
    return f"{amount_bytes / 1e9:.1f} GB"


def _groups(root: Path, controller: str) -> Iterator[Path]:
    """This process's control group of a controller and those around it, as folders that exist.

    A container often sees its own group mounted at the top while /proc still names the path outside: walking up to the
    mount finds it either way.
    """
    mount = root / "sys/fs/cgroup"
    for line in _lines(root / "proc/self/cgroup"):
        _, _, controllers_and_path = line.partition(":")
        controllers, _, path = controllers_and_path.partition(":")
        if controllers == "":
            top = mount
        elif controller in controllers.split(","):
            # Version 1 mounts `cpu,cpuacct` in a folder of that name, with a link `cpu` beside it on most systems.
            top = mount / controller if (mount / controller).exists() else mount / controllers
        else:
            continue
        inner = Path(path.lstrip("/"))
        # "/../.." is a group outside what this container may see: only the mount itself is left.
        inner = Path() if ".." in inner.parts else inner
        yield from (folder for part in (inner, *inner.parents) if (folder := top / part).is_dir())


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(errors="replace").splitlines()
    except OSError:
        return []


def _words(path: Path) -> list[str]:
    return " ".join(_lines(path)).split()


def _number(path: Path) -> int | None:
    """The one number in a file; None if there is none, or a word or a negative one, which all mean no limit."""
    words = _words(path)
    return int(words[0]) if words and words[0].isdigit() else None


def _fields(path: Path) -> Iterable[tuple[str, str]]:
    for line in _lines(path):
        name, colon, text = line.partition(":")
        if colon:
            yield name.strip(), text.strip()


def _kib(text: str | None) -> int:
    return int(text.split()[0]) * 1024 if text else 0


def _mib(text: str) -> int | None:
    number = text.split()[0] if text else ""
    return int(number) * 1024 * 1024 if number.isdigit() else None
