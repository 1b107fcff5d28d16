"""The benchmark's JSON file: parts of it are written by different runs, and it is never half written."""

import datetime
import json
import os
import platform
from pathlib import Path
from typing import Any

import psutil

from cluster.errors import UserError


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    return {
        "processor": _processor(),
        "cores": psutil.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "load_average_1min": round(os.getloadavg()[0], 2),
    }


def now() -> str:
    """The date and time, for people and for sorting."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def merge(path: Path, news: dict[str, Any]) -> None:
    """Replace these keys of the file and keep its others. Raises UserError if the file is no JSON object."""
    old: dict[str, Any] = {}
    if path.exists():
        try:
            old = json.loads(path.read_bytes())
        except ValueError as error:
            raise UserError(f"{path} is not JSON ({error}): move it away") from error
        if not isinstance(old, dict):
            raise UserError(f"{path} is not a JSON object: move it away")
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f"{path.name}.new")
    fresh.write_text(json.dumps({**old, **news}, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    fresh.replace(path)


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()
