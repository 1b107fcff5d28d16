"""Whether what is asked and answered has changed since a version came on duty. Plain functions over counts.

An alert needs both an effect and a test. The effect is the population stability index, the sum over bins of
(p - q) log(p / q) (H. Jeffreys, "An invariant form for the prior probability in estimation problems", 1946), read as is
usual: from 0.1 a shift, from 0.25 a large one (N. Siddiqi, "Credit Risk Scorecards", 2006). By chance alone it comes to
about (bins - 1) (1/n + 1/m) (B. Yurdakul, J. Naranjo, "Statistical properties of the population stability index",
Journal of Risk Model Validation, 2020), which is taken off first. The test says whether the rest could be chance: in
large windows any trifle is significant, in small ones a large index is nothing.

The test is Pearson's of two samples, divided by the dispersion that the reference window shows between its own parts
(J. Rao, A. Scott, "The analysis of categorical data from complex sample surveys", 1981): letters of one question belong
together, users come with several questions, days have mornings. Without it every window would alert. Window k of a
version may use up alpha / (k (k + 1)), shared out over the features, so that all windows of its life together raise a
false alarm with probability alpha at most.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from cluster.outcomes import Tally

Level = Literal["", "notice", "warning", "serious", "urgent"]
LEVELS: tuple[Level, ...] = ("", "notice", "warning", "serious", "urgent")
LEVEL_WORDS = {"": "", "notice": "提示", "warning": "警告", "serious": "严重", "urgent": "紧急"}

INDEX_LEVELS = (0.1, 0.25, 0.5, 1.0)
"""From these indexes on: notice, warning, serious, urgent."""
FAULT_LEVELS = (0.02, 0.05, 0.15, 0.3)
"""The same for faults, in how much their share has risen: an index hardly sees what is rare."""

MOST_LANGUAGES = 32
OTHER_LANGUAGES = "(others)"
_SMOOTHING = 0.5
_LEAST_EXPECTED = 5.0
"""Rarer bins are put together: W. Cochran, "Some methods for strengthening the common chi-squared tests" (1954)."""

Feature = Literal["words", "input_lengths", "languages", "output_lengths", "faults", "ratings"]
FEATURES: tuple[Feature, ...] = ("words", "input_lengths", "languages", "output_lengths", "faults", "ratings")
INPUTS: frozenset[Feature] = frozenset({"words", "input_lengths", "languages"})


@dataclass(frozen=True, slots=True)
class Window:
    """What was counted of one version in some time."""

    since_s: float
    until_s: float
    requests: int
    counts: dict[Feature, dict[str, float]]
    """By feature and bin."""

    @staticmethod
    def empty(since_s: float, until_s: float) -> "Window":
        """Nothing counted."""
        return Window(since_s, until_s, 0, {feature: {} for feature in FEATURES})

    def plus(self, tally: Tally) -> "Window":
        """With one more tally."""
        counts = {feature: dict(bins) for feature, bins in self.counts.items()}
        for feature, bins in _bins(tally).items():
            for bin_name, count in bins.items():
                counts[feature][bin_name] = counts[feature].get(bin_name, 0) + count
        if len(counts["languages"]) > MOST_LANGUAGES:
            counts["languages"] = _most(counts["languages"])
        return Window(self.since_s, self.until_s, self.requests + tally.requests, counts)


@dataclass(frozen=True, slots=True)
class Reference:
    """A window to compare with, and how much its parts differ among themselves."""

    window: Window
    dispersion: dict[Feature, float]
    parts: int


@dataclass(frozen=True, slots=True)
class FeatureDrift:
    """One feature of a window beside the reference."""

    feature: Feature
    psi: float
    """The index, less what chance alone makes."""
    p_value: float
    change: str
    """What has changed most, in words."""
    level: Level


@dataclass(frozen=True, slots=True)
class Drift:
    """One window beside the reference."""

    features: tuple[FeatureDrift, ...]
    level: Level
    action: str


def together(parts: Sequence[Window]) -> Window:
    """Several parts, in their order, as one window."""
    counts: dict[Feature, dict[str, float]] = {feature: {} for feature in FEATURES}
    for part in parts:
        for feature, bins in part.counts.items():
            for name, count in bins.items():
                counts[feature][name] = counts[feature].get(name, 0) + count
    return Window(parts[0].since_s, parts[-1].until_s, sum(part.requests for part in parts), counts)


def reference(window: Window, parts: Sequence[Window]) -> Reference:
    """A window as reference, with the parts it consists of."""
    return Reference(window, {feature: _dispersion(feature, parts) for feature in FEATURES}, len(parts))


def compare(known: Reference, window: Window, look: int, alpha: float) -> Drift:
    """What has changed, at the `look`-th window (from 1) of the version."""
    allowed = alpha / (look * (look + 1)) / len(FEATURES)
    found = [_compare(feature, known, window, allowed) for feature in FEATURES]
    features = tuple(one for one in found if one is not None)
    level = max((LEVELS.index(one.level) for one in features), default=0)
    # Other questions alone may be answered well; other questions and worse answers are not.
    drifted = {one.feature for one in features if one.level}
    if drifted & INPUTS and drifted & {"faults", "ratings"}:
        level = min(level + 1, len(LEVELS) - 1)
    return Drift(features, LEVELS[level], _action(LEVELS[level], drifted))


def psi(before: NDArray[np.float64], after: NDArray[np.float64]) -> float:
    """The population stability index of two rows of counts; half a count is added to each, so that none is empty."""
    p, q = ((row + _SMOOTHING) / (row + _SMOOTHING).sum() for row in (before, after))
    return float(((q - p) * np.log(q / p)).sum())


def _compare(feature: Feature, known: Reference, window: Window, allowed: float) -> FeatureDrift | None:
    names, rows = _rows(feature, (known.window, window))
    if len(names) < 2 or not rows.sum(axis=1).all():
        return None
    sizes = rows.sum(axis=1)
    dispersion = known.dispersion[feature]
    chance = dispersion * (len(names) - 1) * float((1 / sizes).sum())
    index = max(0.0, psi(rows[0], rows[1]) - chance)
    statistic, freedom = _pearson(rows)
    own_freedom = max(1, freedom * (known.parts - 1))
    # Imported late: the controller of rollouts carries it only once there is something to test.
    from scipy.special import fdtrc

    p_value = float(fdtrc(freedom, own_freedom, statistic / freedom / dispersion)) if freedom else 1.0
    shares = rows / sizes[:, None]
    moved = int(np.abs(shares[1] - shares[0]).argmax())
    change = f"{names[moved]}: {shares[0, moved]:.1%} before, {shares[1, moved]:.1%} now"
    level: Level = "" if p_value > allowed else _level(feature, names, shares, index)
    return FeatureDrift(feature, index, p_value, change, level)


def _level(feature: Feature, names: Sequence[str], shares: NDArray[np.float64], index: float) -> Level:
    effect, levels = index, INDEX_LEVELS
    if feature == "faults":
        at = names.index("fault")
        effect, levels = float(shares[1, at] - shares[0, at]), FAULT_LEVELS
    if feature == "ratings" and shares[1] @ np.arange(len(names)) >= shares[0] @ np.arange(len(names)):
        return ""
    return LEVELS[sum(effect >= least for least in levels)]


def _rows(feature: Feature, windows: Sequence[Window]) -> tuple[list[str], NDArray[np.float64]]:
    """One row of counts for each window, with the same bins, in their own order."""
    names = sorted({name for window in windows for name in window.counts[feature]})
    rows = np.array([[window.counts[feature].get(name, 0.0) for name in names] for window in windows], dtype=np.float64)
    is_used = rows.sum(axis=0) > 0
    return [name for name, used in zip(names, is_used, strict=True) if used], rows[:, is_used]


def _pearson(rows: NDArray[np.float64]) -> tuple[float, int]:
    """Pearson's statistic of rows that should be alike, and its degrees of freedom; rare bins are put together."""
    rows = rows[rows.sum(axis=1) > 0]
    if len(rows) < 2:
        return 0.0, 0
    sizes = rows.sum(axis=1, keepdims=True)
    is_rare = rows.sum(axis=0) * sizes.min() / sizes.sum() < _LEAST_EXPECTED
    if is_rare.any():
        rows = np.concatenate([rows[:, ~is_rare], rows[:, is_rare].sum(axis=1, keepdims=True)], axis=1)
    expected = sizes * rows.sum(axis=0) / sizes.sum()
    # The rare ones together may still be too few to say anything.
    rows, expected = rows[:, expected.min(axis=0) >= 1], expected[:, expected.min(axis=0) >= 1]
    freedom = (rows.shape[0] - 1) * (rows.shape[1] - 1)
    return float(((rows - expected) ** 2 / expected).sum()), max(0, freedom)


def _dispersion(feature: Feature, parts: Sequence[Window]) -> float:
    """How much more the parts of a window differ than single, independent counts would; 1: not more."""
    names, rows = _rows(feature, parts) if parts else ([], np.zeros((0, 0)))
    if len(names) < 2:
        return 1.0
    statistic, freedom = _pearson(rows)
    return max(1.0, statistic / freedom) if freedom else 1.0


def _bins(tally: Tally) -> dict[Feature, dict[str, float]]:
    def numbered(counts: Sequence[int]) -> dict[str, float]:
        return {f"{index:02}": float(count) for index, count in enumerate(counts) if count}

    faults = min(tally.faults, tally.requests)
    return {
        "words": numbered(tally.ngrams),
        "input_lengths": numbered(tally.input_lengths),
        "languages": {name: float(count) for name, count in tally.languages if count},
        "output_lengths": numbered(tally.output_lengths),
        "faults": {"fault": float(faults), "good": float(tally.requests - faults)},
        "ratings": numbered(tally.ratings),
    }


def _most(languages: dict[str, float]) -> dict[str, float]:
    kept = sorted(languages, key=lambda name: (name == OTHER_LANGUAGES, -languages[name]))[: MOST_LANGUAGES - 1]
    most = {name: languages[name] for name in kept if name != OTHER_LANGUAGES}
    return {**most, OTHER_LANGUAGES: sum(languages.values()) - math.fsum(most.values())}


def _action(level: Level, drifted: set[Feature]) -> str:
    what = ", ".join(feature.replace("_", " ") for feature in FEATURES if feature in drifted)
    actions = {
        "": "",
        "notice": f"look at the next window; changed: {what}",
        "warning": f"evaluate the version on new questions; changed: {what}",
        "serious": f"train a new version with new questions; changed: {what}",
        "urgent": f"train a new version at once, and let a person see whether this one may stay; changed: {what}",
    }
    return actions[level]
