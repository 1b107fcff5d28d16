"""Evenly spaced moments."""

from collections.abc import Iterator


def moments(rate_per_s: float, seconds: float) -> Iterator[float]:
    """The moments of `seconds`, the first at once."""
    number = 0
    # Not added up: an error of rounding would grow with the hours.
    while (at_s := number / rate_per_s) < seconds:
        yield at_s
        number += 1
