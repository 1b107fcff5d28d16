"""What a search has found: search.json, and what its page shows."""

from typing import Literal

from cluster.closed import Closed
from loadtests.plan import Slo
from loadtests.search.seeker import Reason

ProbeWhy = Literal["start", "up", "down", "between", "again", "confirm", "curve"]
Ending = Literal[Reason, "interrupted", "failed"]


class ProbeReport(Closed):
    """One rate that was tried once."""

    name: str
    """Of its folder below the search's."""
    why: ProbeWhy
    """curve: not to find the rate, but to have points below it."""
    rate_per_s: float
    """Asked for."""
    seconds: float
    """Measured: less than was asked for if the queue only grew."""
    took_s: float
    """Warm-up and drain included."""
    requests: int
    offered_rps: float
    completed_rps: float
    goodput_rps: float
    met_ratio: float
    low_ratio: float
    high_ratio: float
    """Wilson, 95 %, of this probe."""
    was_met: bool | None
    """The promise, by this probe alone; None: too few requests to tell."""
    is_met: bool | None
    """By all probes of this rate up to this one."""
    first_p50_s: float | None
    """Due to first token, or to the whole answer where it is not streamed."""
    first_p90_s: float | None
    first_p99_s: float | None
    tpot_p50_s: float | None
    tpot_p99_s: float | None
    lag_p99_s: float | None
    """The generator's own."""
    errors: dict[str, int]
    saturated_at_s: float | None
    """When it was clear that the queue only grows, since the probe's begin; the probe ended there."""
    is_generator: bool
    """The promise would have been kept but for the generator's own lag."""
    sentence: str
    """For a person."""


class Beyond(Closed):
    """What happened at a multiple of the safe rate, and afterwards."""

    times: float
    rate_per_s: float
    stage: int
    """Of the run `beyond`; the recovery is the stage after it."""
    seconds: float
    requests: int
    completed_rps: float
    goodput_rps: float
    met_ratio: float
    first_p50_s: float | None
    first_p99_s: float | None
    errors: dict[str, int]
    after_per_s: float
    """The rate afterwards."""
    watched_s: float
    """How long it was looked at."""
    recovery_s: float | None
    """Until the promise is kept again; None: not within `watched_s`."""


class Found(Closed):
    """A rate, or None, and why."""

    rate_per_s: float | None
    reason: str


class SearchReport(Closed):
    """All of a search. Rates are requests a second."""

    plan: str
    """Its name."""
    shape: str
    """Of the arrivals: poisson, gamma, constant."""
    slo: Slo
    precision_ratio: float
    started_unix_s: float
    took_s: float
    """Of all probes and of what came after."""
    target_url: str
    tested: str
    ending: Ending
    message: str = ""
    """What was wrong, if something was."""
    probes: tuple[ProbeReport, ...]
    """In the order in which they were made."""
    safe_per_s: float | None
    """The highest rate that keeps the promise; None: none did."""
    failed_per_s: float | None
    """The lowest rate above it that does not: the border lies between the two. None: none was found."""
    is_confirmed: bool
    """It held in two probes or more."""
    is_sure: bool
    """Enough requests were seen to say that it held; otherwise it only looked so."""
    is_at_least: bool
    """The border was not reached: the server may take more."""
    goodput_rps: float | None
    """At the safe rate."""
    knee: Found
    collapse: Found
    beyond: tuple[Beyond, ...]
    beyond_run: str | None
    """Name of its folder; None: it was not made."""
    sentences: tuple[str, ...]
    """What it all means, for a person; the first says which load is safe."""
