"""What a judge of rollouts says, with the figures behind it."""

from dataclasses import dataclass
from typing import Literal

Answer = Literal["promote", "hold", "review", "roll_back"]
"""`hold`: too little is known; `review`: a person must look, and nothing moves on until then."""

Says = Literal["worse", "no worse", "unknown"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One metric of the canary beside the control slice of stable, all strata together."""

    metric: str
    stable: float | None
    canary: float | None
    """Shares, or medians where `unit` is not empty; None without any observation."""
    unit: str
    difference: float | None
    low: float | None
    high: float | None
    """Confidence sequence of the difference, canary minus stable: it holds at all moments together."""
    p_value: float
    """Valid at whatever moment one looks; corrected for the number of metrics."""
    stable_n: int
    canary_n: int
    says: Says


@dataclass(frozen=True, slots=True)
class GroupFinding:
    """How one group of users fares with the canary."""

    group: str
    requests: int
    good_ratio: float
    mean_good_ratio: float
    deviation_ratio: float
    """(group - mean) / mean; beyond 0.15 either way a person is asked."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """One look at the evidence."""

    answer: Answer
    reason: str
    """One sentence for a person, with the figures that decided."""
    findings: tuple[Finding, ...]
    groups: tuple[GroupFinding, ...]
    stable_requests: int
    canary_requests: int
    at_s: float
    """Seconds since the epoch."""
