"""Durations and shares as people write them: `90s`, `10m`, `1h30m`; `5,25,50`."""

from typing import Any, Final

import click

from cluster.durations import seconds_of

_DAY_S: Final = 86400.0


class Duration(click.ParamType[float]):
    """An option's value in seconds, up to a number of days."""

    name = "duration"

    def __init__(self, most_days: int = 30) -> None:
        self._most_days = most_days

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Seconds, as a float."""
        if isinstance(value, float):
            return value
        try:
            seconds = seconds_of(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)
        if seconds > self._most_days * _DAY_S:
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
