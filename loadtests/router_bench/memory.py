"""Memory of processes, from /proc: pages shared by several are counted in equal parts, so that sums are right."""

from collections.abc import Iterable
from pathlib import Path


def memory_bytes(pids: Iterable[int]) -> int:
    """Proportional set size (PSS) of these processes together; one that is gone counts nothing."""
    total = 0
    for pid in pids:
        try:
            text = Path("/proc", str(pid), "smaps_rollup").read_text(encoding="ascii")
        except (FileNotFoundError, ProcessLookupError):
            continue
        total += pss_bytes(text)
    return total


def pss_bytes(smaps_rollup: str) -> int:
    """The proportional set size in the text of `smaps_rollup`. Raises ValueError if there is none."""
    for line in smaps_rollup.splitlines():
        if line.startswith("Pss:"):
            number, unit = line.removeprefix("Pss:").split()
            if unit != "kB":
                raise ValueError(f"smaps_rollup counts in kB, got {line!r}")
            return int(number) * 1024
    raise ValueError("smaps_rollup has no line that begins with Pss:")
