"""Groups of users: whether one fares otherwise with the canary than all together."""

import math
from collections.abc import Mapping

from cluster.outcomes import Outcome
from registry.verdict import GroupFinding

MOST_GROUPS = 64
OTHERS = "(others)"
"""Groups beyond the bound, together. No caller can name a group so: see `count`."""

_ALPHA = 0.05
"""Of asking a person for nothing, in a whole rollout."""


class Groups:
    """Good answers of each side and group."""

    def __init__(self) -> None:
        self.counts: dict[str, list[int]] = {}
        """Of each group: stable's answers, good ones, the canary's, good ones. The empty name: without a group."""

    def count(self, outcome: Outcome) -> None:
        """One answer."""
        group = outcome.group
        if group == OTHERS or (group not in self.counts and len(self.counts) >= MOST_GROUPS):
            group = OTHERS
        counts = self.counts.setdefault(group, [0, 0, 0, 0])
        side = 2 * outcome.is_canary
        counts[side] += 1
        counts[side + 1] += is_good(outcome)


def is_good(outcome: Outcome) -> bool:
    """An answer one can use. Being cut off is the caller's limit more often than the version's fault."""
    return not (outcome.fault or outcome.is_empty or outcome.is_malformed or outcome.is_refused)


def findings(counts: Mapping[str, list[int]]) -> tuple[GroupFinding, ...]:
    """All named groups with the canary's answers, the one that deviates most first."""
    n = sum(each[2] for each in counts.values())
    good = sum(each[3] for each in counts.values())
    if not n or not good:
        return ()
    mean = good / n
    found = [
        GroupFinding(group, each[2], each[3] / each[2], mean, each[3] / each[2] / mean - 1)
        for group, each in counts.items()
        if group and each[2]
    ]
    return tuple(sorted(found, key=lambda one: -abs(one.deviation_ratio)))


def deviating(found: tuple[GroupFinding, ...], deviation_ratio: float) -> tuple[GroupFinding, ...]:
    """Those that surely deviate by more than this share of the mean, not by chance in a few answers."""
    return tuple(
        group
        for group in found
        if abs(group.deviation_ratio) > deviation_ratio
        and _is_beyond(group, group.mean_good_ratio * (1 + math.copysign(deviation_ratio, group.deviation_ratio)))
    )


def _is_beyond(group: GroupFinding, share: float) -> bool:
    """Whether this share of good answers lies outside the group's confidence sequence.

    The mean of p^k (1-p)^(n-k) over all p, divided by that of one share, is a martingale of mean 1 if that share is the
    true one: H. Robbins, "Statistical methods related to the law of the iterated logarithm" (1970). The mean of all
    groups is taken as it is observed.
    """
    n, k = group.requests, round(group.good_ratio * group.requests)
    if share >= 1:
        return False
    mixture = math.lgamma(k + 1) + math.lgamma(n - k + 1) - math.lgamma(n + 2)
    return mixture - (k * math.log(share) + (n - k) * math.log1p(-share)) > math.log(MOST_GROUPS / _ALPHA)
