"""How often judges of rollouts err, and how many requests they need."""

from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from cluster.release_settings import Thresholds
from loadtests.rollout_bench.many import Many, log_threshold
from loadtests.rollout_bench.rivals import FixedHorizon, MannWhitney, fixed_size
from loadtests.rollout_bench.streams import KINDS, MINUTES, Pairs, day
from registry.judging.harm import Array

STABLE_ERRORS = (0.001, 0.005, 0.01, 0.03, 0.1)
POWER = 0.95
JUDGES = ("ours", "fixed_horizon", "fixed_horizon_every_minute", "mann_whitney")

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Experiment:
    """When each judge condemned the canary of each rollout."""

    minutes: dict[str, NDArray[np.int64]]
    """-1: never."""
    requests: dict[str, Array]
    """Answers of both sides until then; axes: rollout, side."""

    def ratio(self, judge: str) -> float:
        """Of the rollouts whose canary was condemned."""
        return float((self.minutes[judge] >= 0).mean())


def experiment(pairs: Pairs, thresholds: Thresholds, seed: int, say: Say, minutes: int = MINUTES) -> Experiment:
    """Let all judges look every minute, a day long or until all have condemned all."""
    ours = Many(thresholds, pairs.runs, len(KINDS))
    fixed = FixedHorizon(fixed_size(0.01, 0.02, thresholds.alpha, POWER), thresholds.alpha, pairs.runs)
    whitney = MannWhitney(pairs.runs)
    n, k, now_n, now_k = (np.zeros((pairs.runs, 2)) for _ in range(4))
    found = Experiment(
        {judge: np.full(pairs.runs, -1) for judge in JUDGES},
        {judge: np.zeros((pairs.runs, 2)) for judge in JUDGES},
    )
    for minute, kind, answers in day(pairs, np.random.default_rng(seed)):
        if minute >= minutes:
            break
        ours.take(answers, kind)
        now_n += answers.is_there.sum(axis=-1)
        now_k += (answers.is_there & answers.is_error).sum(axis=-1)
        if kind < len(KINDS) - 1:
            continue
        n, k = n + now_n, k + now_k
        alarms = {
            "ours": ours.harm.log_total() >= log_threshold(thresholds),
            "fixed_horizon": fixed.alarms(n, k),
            "fixed_horizon_every_minute": fixed.naive_alarms(n, k),
            "mann_whitney": whitney.alarms(now_n, now_k),
        }
        now_n, now_k = np.zeros_like(n), np.zeros_like(k)
        for judge, is_alarm in alarms.items():
            new = is_alarm & (found.minutes[judge] < 0)
            found.minutes[judge][new] = minute
            found.requests[judge][new] = n[new]
        if minute % 60 == 59:
            shares = ", ".join(f"{judge} {found.ratio(judge):.1%}" for judge in JUDGES)
            say(f"  hour {minute // 60 + 1:2}: condemned by {shares}")
            if all((found.minutes[judge] >= 0).all() for judge in ("ours", "mann_whitney")) and (
                n.min() >= fixed_size(0.01, 0.02, thresholds.alpha, POWER)
            ):
                break
    return found


def interval(ratio: float, n: int) -> list[float]:
    """A 95 % interval of a share: E. B. Wilson, "Probable inference, the law of succession" (1927)."""
    z = NormalDist().inv_cdf(0.975)
    middle = (ratio + z * z / (2 * n)) / (1 + z * z / n)
    reach = z / (1 + z * z / n) * float(np.sqrt(ratio * (1 - ratio) / n + z * z / (4 * n * n)))
    return [round(max(0.0, middle - reach), 6), round(min(1.0, middle + reach), 6)]


def figures(same: Experiment, doubled: Experiment, judge: str) -> dict[str, object]:
    """What the report says of one judge."""
    runs = len(same.minutes[judge])
    caught = doubled.minutes[judge] >= 0
    requests = doubled.requests[judge][caught]
    both = requests.sum(axis=-1)
    return {
        "false_rollback_ratio": same.ratio(judge),
        "false_rollback_interval": interval(same.ratio(judge), runs),
        "caught_1_to_2_percent_ratio": doubled.ratio(judge),
        "caught_1_to_2_percent_interval": interval(doubled.ratio(judge), len(caught)),
        "median_requests_needed": float(np.median(both)) if len(both) else None,
        "p95_requests_needed": float(np.quantile(both, 0.95)) if len(both) else None,
        "median_canary_requests_needed": float(np.median(requests[:, 1])) if len(both) else None,
        "median_stable_requests_needed": float(np.median(requests[:, 0])) if len(both) else None,
        "median_minutes_needed": float(np.median(doubled.minutes[judge][caught] + 1)) if len(both) else None,
    }


def measure(runs: int, minutes: int, seed: int, thresholds: Thresholds, say: Say) -> dict[str, object]:
    """Both experiments, as the report has them."""
    say(f"{runs} identical pairs, looked at every minute for {minutes / 60:.0f} h")
    same = experiment(Pairs(runs, STABLE_ERRORS, 1.0, 0.4), thresholds, seed, say, minutes)
    say(f"{runs} pairs with 1 % and 2 % errors")
    doubled = experiment(Pairs(runs, (0.01,), 2.0, 0.4), thresholds, seed + 1, say, minutes)
    return {
        **figures(same, doubled, "ours"),
        **{judge: figures(same, doubled, judge) for judge in JUDGES[1:]},
        "fixed_horizon_size": fixed_size(0.01, 0.02, thresholds.alpha, POWER),
        "pairs": runs,
        "looks": minutes,
        "alpha": thresholds.alpha,
        "seed": seed,
        "stable_errors_of_identical_pairs": list(STABLE_ERRORS),
    }
