"""How many requests the judge itself needs, answer by answer: to see that a version is broken, or that it is not."""

import math
from collections.abc import Callable
from dataclasses import replace
from random import Random
from statistics import median

from cluster.outcomes import Outcome
from cluster.release_settings import Thresholds
from registry.judging.evidence import Evidence

MOST_PAIRS = 4000

_GOOD = Outcome(
    name="small",
    rollout_id="bench",
    version=1,
    is_canary=False,
    is_shadow=False,
    stratum="short/chat",
    group="",
    fault="",
    is_empty=False,
    is_truncated=False,
    is_refused=False,
    is_malformed=False,
    ttft_s=0.2,
    tpot_s=0.03,
    output_tokens=90,
    has_escalated=False,
    cost=40.0,
)

Break = Callable[[Outcome, Random], Outcome]


def _faulty(ratio: float) -> Break:
    return lambda outcome, random: replace(outcome, fault="error") if random.random() < ratio else outcome


def _slower(factor: float) -> Break:
    return lambda outcome, random: replace(
        outcome, ttft_s=(outcome.ttft_s or 0) * factor, tpot_s=(outcome.tpot_s or 0) * factor
    )


BREAKS: dict[str, Break] = {
    "every answer an error": _faulty(1.0),
    "every answer a time-out": lambda outcome, random: replace(outcome, fault="timeout"),
    "every answer empty": lambda outcome, random: replace(outcome, is_empty=True, output_tokens=0),
    "every answer in the wrong format": lambda outcome, random: replace(outcome, is_malformed=True),
    "every answer cut off": lambda outcome, random: replace(outcome, is_truncated=True, output_tokens=1024),
    "worse in 95 % of pairs": lambda outcome, random: replace(outcome, quality=float(random.random() >= 0.95)),
    "five times slower": _slower(5.0),
    "twice as slow": _slower(2.0),
    "half of all answers errors": _faulty(0.5),
    "one error in ten": _faulty(0.1),
}
"""In place of a version whose answers else are stable's; stable has one error in 200."""


def measure_single(runs: int, seed: int, thresholds: Thresholds) -> dict[str, object]:
    """Medians of the canary's requests; as many of stable come with them."""
    broken = [
        {"kind": kind, **_until("roll_back", runs, seed, thresholds, break_it)} for kind, break_it in BREAKS.items()
    ]
    good = [
        {"error_ratio": errors, **_until("promote", runs, seed, thresholds, _faulty(errors), errors)}
        for errors in (0.0, 0.005, 0.02, 0.05)
    ]
    return {"broken": broken, "promoted": good, "runs": runs}


def _until(
    answer: str, runs: int, seed: int, thresholds: Thresholds, break_it: Break, stable_errors: float = 0.005
) -> dict[str, object]:
    randoms = [Random(seed * 100_003 + run) for run in range(runs)]  # noqa: S311 - a simulation
    counts = [_count(answer, random, thresholds, break_it, stable_errors) for random in randoms]
    found = sorted(count for count in counts if count is not None)
    return {
        "ratio": len(found) / runs,
        "median_canary_requests": median(found) if found else None,
        "p95_canary_requests": found[math.ceil(0.95 * len(found)) - 1] if found else None,
    }


def _count(answer: str, random: Random, thresholds: Thresholds, break_it: Break, stable_errors: float) -> int | None:
    """The canary's requests until the verdict; None: another verdict came first, or none."""
    evidence = Evidence(thresholds)
    fail = _faulty(stable_errors)
    for pair in range(1, MOST_PAIRS + 1):
        canary = break_it(replace(_varied(random), is_canary=True), random)
        evidence.take([fail(_varied(random), random), canary])
        # People and rollouts look every second; near the beginning every request counts.
        if pair <= 100 or pair % 10 == 0:
            found = evidence.verdict(0.0).answer
            if found == answer:
                return pair
            if found == "roll_back":
                return None
    return None


def _varied(random: Random) -> Outcome:
    return replace(
        _GOOD,
        ttft_s=0.2 * random.lognormvariate(0, 0.5),
        tpot_s=0.03 * random.lognormvariate(0, 0.25),
        output_tokens=math.ceil(90 * random.lognormvariate(0, 0.8)),
        cost=40 * random.lognormvariate(0, 0.9),
    )
