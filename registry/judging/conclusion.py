"""From the figures to a verdict with its reasons."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cluster.release_settings import Thresholds
from registry.judging.groups import deviating, findings
from registry.judging.harm import Array
from registry.judging.intervals import Intervals
from registry.judging.metrics import MEASURED, QUALITY, QUALITY_WEIGHT, Metric
from registry.judging.pairs import Pairs
from registry.judging.spread import Spread
from registry.judging.wording import (
    deviating_words,
    hold_words,
    number_words,
    promote_words,
    quality_words,
    share_words,
    unsure_words,
    worse_words,
)
from registry.verdict import Answer, Finding, GroupFinding, Says, Verdict

SELDOM_RATIO = 0.05
"""A metric that fewer of the canary's answers have need not be shown: where one answer in a hundred is asked for JSON,
a rollout would never end. It is tested for harm all the same."""


@dataclass(frozen=True, slots=True)
class Known:
    """What the evidence holds at one look."""

    thresholds: Thresholds
    metrics: Sequence[Metric]
    log_peaks: Array
    """Of each metric's e-value."""
    log_peak: float
    """Of all together."""
    intervals: Intervals
    spreads: Sequence[Sequence[Spread]]
    """Of stable and of the canary, in the order of `MEASURED`, in this step."""
    pairs: Pairs
    groups: Mapping[str, list[int]]
    requests: tuple[int, int]
    """Of stable and of the canary, in the whole rollout."""


@dataclass(frozen=True, slots=True)
class _Judged:
    """One metric with the words for it."""

    finding: Finding
    is_needed: bool
    """Whether it must be shown to be no worse before a version goes on."""
    words: str
    may_be: str
    """How much worse it may still be."""


def conclude(known: Known, now_s: float) -> Verdict:
    """What all this says now."""
    judged = _judged(known)
    groups = findings(known.groups)
    apart = deviating(groups, known.thresholds.group_deviation_ratio)
    compared = known.intervals.counts.n[:, 0]
    answer, reason = _answer(known, judged, apart, (int(compared[0]), int(compared[1])))
    return Verdict(answer, reason, tuple(one.finding for one in judged), groups, *known.requests, now_s)


def _answer(
    known: Known, judged: Sequence[_Judged], apart: Sequence[GroupFinding], compared: tuple[int, int]
) -> tuple[Answer, str]:
    wanted = known.thresholds.min_requests
    if known.log_peak >= -math.log(known.thresholds.alpha):
        worst = min(judged, key=lambda one: one.finding.p_value)
        return "roll_back", worse_words(worst.words, math.exp(-known.log_peak), known.thresholds.alpha)
    if apart:
        return "review", deviating_words(apart[0], known.groups[apart[0].group], known.thresholds.group_deviation_ratio)
    if min(compared) < wanted:
        return "hold", hold_words(compared, wanted, known.requests)
    unsure = [one for one in judged if one.is_needed and one.finding.says != "no worse"]
    if unsure:
        return "hold", unsure_words([one.may_be for one in unsure], compared)
    left_out = [one.finding.metric for one in judged if not one.is_needed]
    return "promote", promote_words(compared, len(judged) - len(left_out), left_out, known.thresholds.confidence_ratio)


def _judged(known: Known) -> tuple[_Judged, ...]:
    low, high = known.intervals.bounds(known.thresholds.confidence_ratio)
    judged = [_of_metric(known, index, float(low[index]), float(high[index])) for index in range(len(known.metrics))]
    return (*judged, _of_quality(known))


def _of_metric(known: Known, index: int, low: float, high: float) -> _Judged:
    metric, alpha = known.metrics[index], known.thresholds.alpha
    n_stable, n_canary = (int(n) for n in known.intervals.counts.n[:, index])
    k_stable, k_canary = (int(k) for k in known.intervals.counts.k[:, index])
    p_value = min(1.0, math.exp(-float(known.log_peaks[index])) / metric.weight)
    says: Says = "worse" if p_value <= alpha else "no worse" if n_canary and high < metric.margin else "unknown"
    all_canary = float(known.intervals.counts.n[1, 0])
    is_needed = n_canary > 0 and n_canary >= SELDOM_RATIO * all_canary
    weight = float(known.intervals.weight[index])
    shares = (k_stable / n_stable, k_canary / n_canary) if weight else (None, None)
    may_be = f"{metric.words} (by up to {high:.1%} of the answers, {metric.margin:.0%} is allowed)"
    if metric.measured is None:
        difference = float(known.intervals.total[index]) / weight if weight else None
        bounds = (low, high) if weight else (None, None)
        finding = Finding(
            metric.name, shares[0], shares[1], "", difference, bounds[0], bounds[1], p_value, n_stable, n_canary, says
        )
        return _Judged(finding, is_needed, share_words(metric, (k_stable, n_stable), (k_canary, n_canary)), may_be)
    spreads = [side[MEASURED.index(metric.measured)] for side in known.spreads]
    stable, canary = (spread.quantile(metric.quantile) for spread in spreads)
    unsure = (1 - known.thresholds.confidence_ratio) / 2
    (stable_low, stable_high), (canary_low, canary_high) = (
        spread.bounds(metric.quantile, unsure) for spread in spreads
    )
    finding = Finding(
        metric.name, stable, canary, metric.unit, _minus(canary, stable), _minus(canary_low, stable_high),
        _minus(canary_high, stable_low), p_value, n_stable, n_canary, says,
    )  # fmt: skip
    return _Judged(finding, is_needed, number_words(metric, stable, canary, shares, (n_stable, n_canary)), may_be)


def _of_quality(known: Known) -> _Judged:
    pairs, thresholds = known.pairs, known.thresholds
    least = 0.5 - thresholds.quality_margin_ratio
    low, high = pairs.bounds(thresholds.confidence_ratio)
    p_value = min(1.0, math.exp(-pairs.log_peak) / QUALITY_WEIGHT)
    mean = pairs.total / pairs.n if pairs.n else None
    says: Says = "worse" if p_value <= thresholds.alpha else "no worse" if low > least else "unknown"
    is_needed = pairs.n > 0 and pairs.n >= SELDOM_RATIO * known.requests[1]
    bounds = (low - 0.5, high - 0.5) if pairs.n else (None, None)
    finding = Finding(QUALITY, 0.5, mean, "", _minus(mean, 0.5), bounds[0], bounds[1], p_value, pairs.n, pairs.n, says)
    return _Judged(
        finding,
        is_needed,
        quality_words(mean, pairs.n),
        f"quality (as good in {low:.0%} of pairs at least, {least:.0%} is wanted)",
    )


def _minus(value: float | None, other: float | None) -> float | None:
    return None if value is None or other is None else value - other
