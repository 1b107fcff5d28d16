"""How far this tool's figures lie from a public tool's, as it was last measured; each report says so."""

import importlib.resources
from typing import Final

from cluster.closed import Closed

FILE: Final = "agreement.json"
WITHIN_RATIO: Final = 0.05
"""What the two may differ by."""


class Difference(Closed):
    """Ours against theirs, signed, relative to theirs: the median of the rounds, and the lowest and highest."""

    median_ratio: float
    low_ratio: float
    high_ratio: float

    def __str__(self) -> str:
        return f"{self.median_ratio:+.1%} ({self.low_ratio:+.1%} to {self.high_ratio:+.1%})"


class Agreement(Closed):
    """The same requests at the same pace, in turn: `make bench-loadtest`, part `agreement`."""

    tool: str
    """Name and version of the public tool."""
    engine: str
    machine: str
    measured_on: str
    """Year, month and day."""
    rounds: int
    ttft: Difference
    tpot: Difference
    throughput: Difference

    @property
    def is_close(self) -> bool:
        """Whether all three medians lie within 5 %."""
        medians = (one.median_ratio for one in (self.ttft, self.tpot, self.throughput))
        return all(abs(median) <= WITHIN_RATIO for median in medians)

    @property
    def sentence(self) -> str:
        """For a report."""
        close = "agree within" if self.is_close else "do NOT agree within"
        return (
            f"Beside {self.tool} this tool's figures {close} {WITHIN_RATIO:.0%}: TTFT {self.ttft}, TPOT {self.tpot}, "
            f"tokens/s {self.throughput}; medians of {self.rounds} rounds in turn, lowest and highest in brackets; "
            f"{self.engine}, {self.machine}, {self.measured_on}."
        )


def last_measured() -> Agreement | None:
    """The one that comes with this version; None where it was never measured."""
    file = importlib.resources.files("loadtests.judging") / FILE
    return Agreement.model_validate_json(file.read_bytes()) if file.is_file() else None
