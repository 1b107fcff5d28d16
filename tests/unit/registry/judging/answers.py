"""Outcomes for tests of the judge."""

import math
from collections.abc import Iterator
from dataclasses import replace
from random import Random

from cluster.outcomes import Outcome

PLAIN = Outcome(
    name="small", rollout_id="r1", version=2, is_canary=False, is_shadow=False, stratum="short/chat", group="",
    fault="",
    is_empty=False, is_truncated=False, is_refused=False, is_malformed=None, ttft_s=0.2, tpot_s=0.03, output_tokens=40,
    has_escalated=False, cost=12.0,
)  # fmt: skip
CANARY = replace(PLAIN, is_canary=True)
BROKEN = replace(CANARY, fault="error", ttft_s=None, tpot_s=None, output_tokens=0, cost=0.0)


def pairs(
    count: int, seed: int, canary: Outcome = CANARY, errors: float = 0.0, slow: float = 1.0
) -> Iterator[list[Outcome]]:
    """Batches of one answer of each side, with times, lengths and costs as they vary in life.

    What `canary` has otherwise than `CANARY` all its answers have; `errors` is its share of errors, `slow` how much
    longer its times are.
    """
    random = Random(seed)

    def vary(outcome: Outcome, factor: float) -> Outcome:
        if outcome.fault:
            return outcome
        return replace(
            outcome,
            ttft_s=0.2 * factor * random.lognormvariate(0, 0.5),
            tpot_s=0.03 * factor * random.lognormvariate(0, 0.25),
            output_tokens=math.ceil(outcome.output_tokens * random.lognormvariate(0, 0.8)),
            cost=outcome.cost * random.lognormvariate(0, 0.9),
        )

    for _ in range(count):
        yield [vary(PLAIN, 1.0), vary(BROKEN if random.random() < errors else canary, slow)]
