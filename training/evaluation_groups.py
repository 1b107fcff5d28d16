"""Groups of rows: a department, a matter. A model that is better on the whole may be worse for some.

`police/passports` is a part of `police`: its rows count for both. A group that differs from the whole by more than 15 %
calls for a person's look; so does one that fell while the whole rose.
"""

from collections import defaultdict
from dataclasses import dataclass
from typing import Final, Literal

from training.evaluation import LOWER_IS_BETTER, Evaluation, Figure, Sample
from training.prepared import Prepared

DEVIATION_RATIO: Final = 0.15
FEWEST_ROWS: Final = 5
"""In a smaller group a single row is more than the deviation that is looked for."""


@dataclass(frozen=True, slots=True)
class GroupFinding:
    """One group that somebody should look at."""

    group: str
    kind: Literal["fell", "below", "above"]
    """`fell` while the whole rose; else `below`, worse than the whole, or `above`, better than it."""
    sentence: str
    is_sure: bool
    """Whether the interval leaves out what it is compared with; else it may be chance."""


def group_samples(prepared: Prepared, name: str, sample: Sample) -> dict[str, Sample]:
    """A metric's rows, group by group; rows without a group are in none."""
    kept: defaultdict[str, list[tuple[int, float, float]]] = defaultdict(list)
    of = prepared.test_preferences if name == "preference_accuracy" else prepared.test
    for place, value, weight in zip(sample.rows, sample.values, sample.weights, strict=True):
        for group in _with_larger(of[place].group):
            kept[group].append((place, value, weight))
    samples = {}
    for group, triples in kept.items():
        rows, values, weights = zip(*triples, strict=True)
        samples[group] = Sample(rows, values, weights)
    return samples


def _with_larger(group: str) -> list[str]:
    """A group, and those that it is a part of."""
    parts = group.split("/") if group else []
    return ["/".join(parts[: number + 1]) for number in range(len(parts)) if parts[number]]


def group_findings(before: Evaluation, after: Evaluation, metric: str) -> tuple[GroupFinding, ...]:
    """The groups to look at, by one metric: those that fell, those below the whole, those above it."""
    was, now = before.figures.get(metric), after.figures.get(metric)
    if now is None:
        return ()
    sign = -1 if metric in LOWER_IS_BETTER else 1
    fell: list[GroupFinding] = []
    below: list[GroupFinding] = []
    above: list[GroupFinding] = []
    for group, figures in after.groups.items():
        figure = figures.get(metric)
        if figure is None or figure.rows < FEWEST_ROWS:
            continue
        is_off = not figure.ci_low <= now.value <= figure.ci_high
        earlier = before.groups.get(group, {}).get(metric)
        if was and earlier and sign * (now.value - was.value) > 0 and sign * (figure.value - earlier.value) < 0:
            is_sure = not figure.ci_low <= earlier.value <= figure.ci_high
            fell.append(GroupFinding(group, "fell", _fell(group, metric, earlier, figure, was, now), is_sure))
        if abs(figure.value - now.value) > DEVIATION_RATIO * abs(now.value):
            sentence = _deviates(group, metric, figure, now, is_off)
            if sign * (figure.value - now.value) < 0:
                below.append(GroupFinding(group, "below", sentence, is_off))
            else:
                above.append(GroupFinding(group, "above", sentence, is_off))
    return tuple(each for part in (fell, below, above) for each in sorted(part, key=lambda found: not found.is_sure))


def _fell(group: str, metric: str, earlier: Figure, figure: Figure, was: Figure, now: Figure) -> str:
    return (
        f"{group}: {metric} became worse, {earlier.value:.3f} -> {figure.value:.3f} on {figure.rows} rows, while the "
        f"whole became better, {was.value:.3f} -> {now.value:.3f}"
    )


def _deviates(group: str, metric: str, figure: Figure, now: Figure, is_sure: bool) -> str:
    share = f"{(figure.value - now.value) / now.value:+.0%}" if now.value else f"{figure.value:+.3f}"
    doubt = "" if is_sure else f"; on {figure.rows} rows this may be chance"
    return f"{group}: {metric} is {figure.value:.3f}, {share} off the whole ({now.value:.3f}){doubt}"
