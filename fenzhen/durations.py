"""Durations and shares as people write them: `90s`, `10m`, `1h30m`; `5,25,50`."""

import re
from typing import Any, Final

import click

_UNITS_S: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_WHOLE: Final = re.compile(r"(?:\d+(?:\.\d+)?(?:ms|[smhd]))+")
_PART: Final = re.compile(r"(\d+(?:\.\d+)?)(ms|[smhd])")


class Duration(click.ParamType[float]):
    """An option's value in seconds, up to a number of days."""

    name = "duration"

    def __init__(self, most_days: int = 30) -> None:
        self._most_days = most_days

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Seconds, as a float."""
        if isinstance(value, float):
            return value
        text = str(value).strip().lower()
        if text == "0":
            return 0.0
        if not _WHOLE.fullmatch(text):
            self.fail(f"{value!r} is no duration; write 90s, 10m, 1h30m or 2d", param, ctx)
        seconds = sum(float(number) * _UNITS_S[unit] for number, unit in _PART.findall(text))
        if seconds > self._most_days * _UNITS_S["d"]:
            self.fail(f"{value!r} is longer than {self._most_days} days", param, ctx)
        return seconds


class Steps(click.ParamType[tuple[float, ...]]):
    """Shares in percent, as ratios."""

    name = "steps"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[float, ...]:
        """Ratios, ascending."""
        if isinstance(value, tuple):
            return value
        try:
            percents = [float(part.strip().removesuffix("%")) for part in str(value).split(",")]
        except ValueError:
            self.fail(f"{value!r} is no list of percentages; write 5,25,50", param, ctx)
        if any(not 0 < percent < 100 for percent in percents):
            self.fail(
                f"{value!r}: each step lies above 0 and below 100 percent; all traffic follows by itself", param, ctx
            )
        if percents != sorted(set(percents)):
            self.fail(f"{value!r}: each step must be larger than the one before", param, ctx)
        return tuple(percent / 100 for percent in percents)


def shown(seconds: float) -> str:
    """A duration for people: `1h 5m`, `12s`."""
    if seconds < 60:
        return f"{seconds:.0f}s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    parts = ((hours, "h"), (minutes, "m"), (rest if not hours else 0, "s"))
    return " ".join(f"{number}{unit}" for number, unit in parts if number)
