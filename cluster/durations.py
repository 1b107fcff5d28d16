"""Durations as people write them: `90s`, `10m`, `1h30m`, `2d`."""

import re
from typing import Final

_UNITS_S: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_WHOLE: Final = re.compile(r"(?:\d+(?:\.\d+)?(?:ms|[smhd]))+")
_PART: Final = re.compile(r"(\d+(?:\.\d+)?)(ms|[smhd])")


def seconds_of(value: object) -> float:
    """A duration in seconds. Raises ValueError with how to write one."""
    text = str(value).strip().lower()
    if text == "0":
        return 0.0
    if isinstance(value, bool) or not _WHOLE.fullmatch(text):
        raise ValueError(f"{value!r} is no duration; write 90s, 10m, 1h30m or 2d")
    return sum(float(number) * _UNITS_S[unit] for number, unit in _PART.findall(text))
