"""What an evaluation found: figures with their intervals, for all rows and for each group."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from registry.version_draft import MAX_RESULTS, is_name
from training.bootstrap import gain_interval, mean_interval, weighted_mean

LOWER_IS_BETTER: Final = frozenset(("loss", "general_loss", "truncated_ratio"))
JUDGED: Final = "judge_win_ratio"
EQUALLY_GOOD: Final = 0.5
"""What a judge gives answers of which none is better."""
FIELD: Final = "field_accuracy."
"""Followed by a JSON key: a figure of one field alone."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One metric over some rows."""

    value: float
    ci_low: float
    ci_high: float
    """Bootstrap interval over rows."""
    rows: int


@dataclass(frozen=True, slots=True)
class Sample:
    """One metric row by row: what intervals are drawn from."""

    rows: tuple[int, ...]
    """Places in `Prepared.test`, or in `Prepared.general` for `general_loss`."""
    values: tuple[float, ...]
    weights: tuple[float, ...]
    """What a row counts: its answer tokens for losses, else 1."""

    @property
    def mean(self) -> float:
        """Over all rows, each by its weight."""
        return weighted_mean(self.values, self.weights)


@dataclass(frozen=True, slots=True)
class Evaluation:
    """One model, or one adapter, measured."""

    figures: Mapping[str, Figure]
    """`loss` (nats a token of the answers), `exact_match`, `f1`, `rouge_l`, `general_loss`, ...: `Recipe.figures`."""
    groups: Mapping[str, Mapping[str, Figure]] = field(default_factory=dict)
    answers: tuple[str, ...] = ()
    """What was said to the held-out rows that were answered, in their order."""
    general_answers: tuple[str, ...] = ()
    """What was said to the first of the everyday questions."""
    answered: tuple[int, ...] = ()
    """Places in `Prepared.test` of the rows that `answers` belongs to."""
    general_answered: tuple[int, ...] = ()
    samples: Mapping[str, Sample] = field(default_factory=dict)
    """Each figure's rows; without them gains have no interval."""
    confidence_ratio: float = 0.95
    """Of all intervals."""


def figure_of(sample: Sample, confidence_ratio: float) -> Figure:
    """A sample's mean and where it lies."""
    low, high = mean_interval(sample.values, sample.weights, confidence_ratio)
    return Figure(sample.mean, low, high, len(sample.rows))


def gain_of(name: str, before: Evaluation, after: Evaluation) -> Figure | None:
    """By how much a metric rose, with the interval of the paired difference: the same rows are drawn on both sides.

    None where it was not measured on the same rows both times. A judge compares both sides by itself.
    """
    if name == JUDGED and (judge := after.figures.get(name)):
        ends = judge.ci_low - EQUALLY_GOOD, judge.ci_high - EQUALLY_GOOD
        return Figure(judge.value - EQUALLY_GOOD, *ends, judge.rows)
    was, now = before.samples.get(name), after.samples.get(name)
    if was is None or now is None or was.rows != now.rows or not now.rows:
        return None
    low, high = gain_interval(was.values, was.weights, now.values, now.weights, after.confidence_ratio)
    return Figure(now.mean - was.mean, low, high, len(now.rows))


def results_of(before: Evaluation, after: Evaluation) -> dict[str, float]:
    """The flat names that the registry knows: of `all_results_of` as many as a version keeps, single JSON fields last.

    Of a gain's interval the cautious end is kept.
    """
    results = {
        name: value
        for name, value in all_results_of(before, after).items()
        if is_name(name) and not name.endswith(_hopeful_end(name))
    }
    kept = sorted(results, key=lambda name: name.startswith(FIELD) * (1 + (name not in after.figures)))
    return {name: results[name] for name in kept[:MAX_RESULTS]}


def _hopeful_end(name: str) -> str:
    is_lower = any(name.startswith(f"{metric}_") for metric in LOWER_IS_BETTER)
    return "_gain_ci_low" if is_lower else "_gain_ci_high"


def all_results_of(before: Evaluation, after: Evaluation) -> dict[str, float]:
    """The flat names that gates know: each figure of `after`, `NAME_before`, and `NAME_gain`, after less before.

    `NAME_gain_ci_low` and `NAME_gain_ci_high` are the ends of the gain's interval. `general_loss_rise_ratio` says by
    how much of itself the loss on everyday questions has risen, `test_rows` on how many held-out rows all this was
    measured.
    """
    results: dict[str, float] = {}
    for name, figure in after.figures.items():
        results[name] = figure.value
        was = EQUALLY_GOOD if name == JUDGED else before.figures[name].value if name in before.figures else None
        if was is not None:
            results[f"{name}_before"] = was
            results[f"{name}_gain"] = figure.value - was
        if gain := gain_of(name, before, after):
            results[f"{name}_gain_ci_low"] = gain.ci_low
            results[f"{name}_gain_ci_high"] = gain.ci_high
    if "general_loss" in after.figures and "general_loss" in before.figures:
        was = before.figures["general_loss"].value
        results["general_loss_rise_ratio"] = (after.figures["general_loss"].value - was) / was if was else 0.0
    held_out = [figure.rows for name, figure in after.figures.items() if name != "general_loss"]
    if held_out:
        results["test_rows"] = float(max(held_out))
    return results
