"""An office day: how a hotline's rate moves over 24 hours."""

from typing import Final

import numpy as np

from loadtests.arrivals.changing import Rate

HOURLY: Final = (
    0.04, 0.03, 0.02, 0.02, 0.02, 0.04,  # 0 to 5: emergencies only
    0.08, 0.20, 0.55, 0.90, 1.00, 0.85,  # 6 to 11: offices open between 8 and 9, the day's peak at 10
    0.45, 0.50, 0.80, 0.92, 0.82, 0.55,  # 12 to 17: lunch, and the second, lower peak at 15
    0.35, 0.30, 0.26, 0.18, 0.11, 0.06,  # 18 to 23: what people ask from home
)  # fmt: skip
"""The rate at each full hour, the peak being 1. A made-up day of the shape that public service lines know: two peaks,
a dip at lunch, a quiet night. It is for rehearsing; who has a day of their own replays it as a trace."""


def day(peak_per_s: float, seconds: float) -> Rate:
    """The 24 hours from midnight squeezed into `seconds`, linear between full hours."""
    hours = np.arange(len(HOURLY) + 1)
    rates = peak_per_s * np.array([*HOURLY, HOURLY[0]])
    return lambda at_s: np.interp(at_s * (len(HOURLY) / seconds), hours, rates)
