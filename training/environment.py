"""Where a run runs: versions, machine, threads, the commit of the code. For comparing runs, and for doing one again."""

import importlib.metadata
import os
import platform
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from cluster.machine import gigabytes, read_machine

_PACKAGES: Final = ("torch", "transformers", "peft", "trl", "bitsandbytes", "datasets", "tokenizers", "accelerate")
_GIT_S: Final = 5.0


def environment() -> Mapping[str, str]:
    """Names and values, all text. No import of what is listed."""
    machine = read_machine()
    found = {
        "python": platform.python_version(),
        "cores": f"{machine.cores:g}",
        "simd": machine.simd,
        "memory": gigabytes(machine.memory.total_bytes),
        "gpus": ", ".join(gpu.name for gpu in machine.gpus) or "none",
        "threads": os.environ.get("OMP_NUM_THREADS", "all cores"),
        "commit": _commit(Path(__file__).resolve().parent),
    }
    for name in _PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def _commit(folder: Path) -> str:
    """The commit of this copy of the code, and whether files differ from it; "not known" outside of git."""
    try:
        head = _git(folder, "rev-parse", "HEAD")
        return f"{head}{' with changes' if _git(folder, 'status', '--porcelain', '--untracked-files=no') else ''}"
    except (OSError, subprocess.SubprocessError):
        return "not known"


def _git(folder: Path, *words: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(folder), *words],  # noqa: S607
        capture_output=True,
        text=True,
        timeout=_GIT_S,
        check=True,
    )
    return done.stdout.strip()
