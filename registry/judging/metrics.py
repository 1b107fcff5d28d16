"""What is compared: each metric asks of one answer whether something happened that one would rather not see.

Numbers (times, lengths, costs) become such questions, too: was it above what half, or all but a twentieth, of stable's
own answers of this kind had lately? The canary is asked with its margin: above 1.25 times that. So one kind of test
serves all.
"""

from dataclasses import dataclass
from typing import Literal

from cluster.release_settings import Thresholds

Measured = Literal["ttft_s", "tpot_s", "output_tokens", "cost"]
MEASURED: tuple[Measured, ...] = ("ttft_s", "tpot_s", "output_tokens", "cost")

QUALITY = "quality"


@dataclass(frozen=True, slots=True)
class Metric:
    """One question about each answer."""

    name: str
    words: str
    """For a person: `It errs more`."""
    weight: float
    """Share of the probability of a false alarm that it may use up; all together, with quality's, make 1."""
    usual: float
    """How often it happens where nothing is known yet. Only speed depends on it, never what is true."""
    rise: float
    """With `extra`, the line up to which the canary does no harm: its share <= extra + rise times stable's."""
    extra: float
    margin: float
    """Promotion: the canary's share surely lies less than this above stable's."""
    measured: Measured | None = None
    quantile: float = 0.0
    """Of stable's answers; the number that is asked about."""
    factor: float = 1.0
    """That number times this for the canary. Below 1: it is asked for less, not for more."""

    @property
    def unit(self) -> str:
        """Of the number; empty for a share."""
        units = {"ttft_s": "s", "tpot_s": "s", "output_tokens": "tokens", "cost": "10^9 parameters x tokens"}
        return units[self.measured] if self.measured else ""


QUALITY_WEIGHT = 0.07


def metrics(thresholds: Thresholds) -> tuple[Metric, ...]:
    """All but quality, in the order in which everything else numbers them."""
    rise = 1 + thresholds.harmless_rise_ratio
    slower, costlier = 1 + thresholds.slowdown_ratio, 1 + thresholds.cost_rise_ratio
    length = 1 + thresholds.length_change_ratio

    def fault(name: str, words: str, weight: float) -> Metric:
        extra = thresholds.harmless_faults_ratio
        return Metric(name, words, weight, 0.01, rise, extra, thresholds.fault_margin_ratio)

    def habit(name: str, words: str) -> Metric:
        extra = thresholds.harmless_habits_ratio
        return Metric(name, words, 0.035, 0.05, rise, extra, thresholds.habit_margin_ratio)

    def number(name: str, words: str, measured: Measured, quantile: float, factor: float) -> Metric:
        usual = 1 - quantile if factor > 1 else quantile
        margin = thresholds.habit_margin_ratio
        return Metric(name, words, 0.035, usual, 1.0, 0.0, margin, measured, quantile, factor)

    return (
        fault("errors", "errors", 0.25),
        fault("timeouts", "time-outs", 0.11),
        fault("empty", "empty answers", 0.11),
        fault("malformed", "answers not in the format asked for", 0.11),
        habit("truncated", "answers cut off"),
        habit("refused", "refusals"),
        habit("escalated", "questions handed on to a larger model"),
        number("ttft_p50", "time to the first token, median", "ttft_s", 0.5, slower),
        number("ttft_p95", "time to the first token, 95th percentile", "ttft_s", 0.95, slower),
        number("tpot_p50", "time per token, median", "tpot_s", 0.5, slower),
        number("tpot_p95", "time per token, 95th percentile", "tpot_s", 0.95, slower),
        number("longer", "longer answers", "output_tokens", 0.5, length),
        number("shorter", "shorter answers", "output_tokens", 0.5, 1 / length),
        number("cost", "cost of an answer, median", "cost", 0.5, costlier),
    )
