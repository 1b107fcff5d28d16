"""Right answers counted, and how sure the counts are."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass

# Two-sided 95 %.
Z = 1.959963984540054


@dataclass(frozen=True, slots=True)
class Outcome:
    """One question asked of one model."""

    question_id: str
    language: str
    level_of_difficulty: str
    model: str
    """The name in the request: a model, or `auto`."""
    answered_by: str
    """The model that answered, from the router's header; the model asked where there is no such header."""
    is_right: bool
    latency_s: float
    """From sending to the whole answer, seconds."""
    answer: str
    error: str = ""
    """Why there is no answer; counted as wrong."""


@dataclass(frozen=True, slots=True)
class Tally:
    """Right answers among those asked, with the Wilson interval of their share."""

    right: int
    asked: int
    low_ratio: float
    high_ratio: float

    @property
    def right_ratio(self) -> float:
        """Share of right answers; 0 where nothing was asked."""
        return self.right / self.asked if self.asked else 0.0


@dataclass(frozen=True, slots=True)
class Report:
    """What one model did with the questions."""

    model: str
    overall: Tally
    by_level: dict[str, Tally]
    by_language: dict[str, Tally]
    mean_latency_s: float
    """Over the questions that were answered, seconds; 0 if none was."""
    errors: int
    answered_by: dict[str, int]
    large_share_ratio: float | None
    """Share of the answers that came from the large model; None unless the router chose."""


def tally(outcomes: Iterable[Outcome]) -> Tally:
    """Count right answers. The Wilson interval stays sensible for few questions and for shares near 0 and 1."""
    marks = [outcome.is_right for outcome in outcomes]
    return Tally(sum(marks), len(marks), *wilson(sum(marks), len(marks)))


def wilson(right: int, asked: int) -> tuple[float, float]:
    """The Wilson interval of a share, 95 %: from and to; 0 to 1 where nothing was asked."""
    if not asked:
        return 0.0, 1.0
    share, square = right / asked, Z * Z / asked
    middle = (share + square / 2) / (1 + square)
    half = Z / (1 + square) * math.sqrt(share * (1 - share) / asked + square / (4 * asked))
    return max(0.0, middle - half), min(1.0, middle + half)


def report(model: str, outcomes: Sequence[Outcome], large: str | None = None) -> Report:
    """Sum up what `model` did. `large` names the large model where `model` is the router's own choice."""
    mine = [outcome for outcome in outcomes if outcome.model == model]
    answered = [outcome for outcome in mine if not outcome.error]
    levels = sorted({outcome.level_of_difficulty for outcome in mine})
    languages = sorted({outcome.language for outcome in mine})
    answerers = [outcome.answered_by for outcome in answered]
    return Report(
        model=model,
        overall=tally(mine),
        by_level={level: tally(o for o in mine if o.level_of_difficulty == level) for level in levels},
        by_language={language: tally(o for o in mine if o.language == language) for language in languages},
        mean_latency_s=sum(o.latency_s for o in answered) / len(answered) if answered else 0.0,
        errors=len(mine) - len(answered),
        answered_by={name: answerers.count(name) for name in sorted(set(answerers))},
        large_share_ratio=answerers.count(large) / len(answerers) if large is not None and answerers else None,
    )


def as_json(reports: Sequence[Report], outcomes: Sequence[Outcome]) -> dict[str, object]:
    """Reports and every single outcome as plain values."""
    return {"reports": [asdict(one) for one in reports], "outcomes": [asdict(one) for one in outcomes]}
