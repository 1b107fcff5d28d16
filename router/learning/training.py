"""From labelled rows to a judge: both heads, calibrated on rows that they had not seen, and the border."""

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

import numpy as np
from scipy import sparse

from router.features import normalised, points_of
from router.judge_file import JudgeCard, TrainedOn, Weights
from router.learning.fitting import Floats
from router.learning.heads import EVERYDAY, Heads, Priors, Texts, fit, fit_apart, read_texts
from router.learning.labelled_rows import RowSet
from router.learning.reliability import line_of
from router.seen import seen_in

STRONG_TRUST_ELSEWHERE: Final = 0.5
"""How far a large model's failures, learned on other kinds of questions, are believed. Chosen on LLMRouter's rows, of
which no figure is reported: what is hard for a small model carries over, what even a large one fails only by half."""
FOLDS: Final = 5
"""So many times a part of the rows is kept back, to see how the judge does on what it has not seen."""
_INTENDED_USE: Final = (
    "Ranks questions in Chinese and English by how much they ask for a large model, to choose between the models of a "
    "pool. Calibrate its thresholds on your own traffic."
)
_LIMITS: Final = (
    "It knows a question's words and form, not the truth: it cannot tell whether an answer is right, and must not "
    "decide about people. Its everyday questions were written and labelled by Fenzhen's authors, not taken from "
    "traffic and not answered by models; all else it learned from examination, law, mathematics, code and general "
    "questions. Other languages than Chinese and English it judges by their shape alone."
)


class Part(NamedTuple):
    """Rows to learn from, and how much they count."""

    rows: RowSet
    texts: Texts
    weight: float = 1.0
    is_strange: bool = False
    """Whether other models answered than those that the judge is for: then it only tells what is harder than what."""


class Trained(NamedTuple):
    """A judge, and how it did on rows that were kept back."""

    weights: Weights
    kept_back: np.ndarray
    """Calibrated log-odds, a row each, of a judge that had not seen it: (rows, 2), in the order of the parts. Those of
    a strange set are for the models that answered it."""


def fit_parts(parts: Sequence[Part], priors: Priors) -> Heads:
    """Fit one pair of heads on several sets; a set counts as the root of its size, times its weight.

    By their sizes the largest would decide alone what a question looks like; with equal weights the smallest would
    count for too much.
    """
    texts, quality, row_weights = _together(parts)
    return fit(texts, quality, row_weights, priors)


def train(
    parts: Sequence[Part],
    *,
    name: str,
    made_by: str,
    figures: dict[str, float],
    everyday: int = -1,
    priors: Priors = EVERYDAY,
    strong_trust_ratio: float = STRONG_TRUST_ELSEWHERE,
    told: Callable[[int, int], object] = lambda done, of: None,
) -> Trained:
    """Train a judge on whole sets.

    `figures` are what `measuring` said of this way of training; `everyday` is the place of the part whose easy and hard
    questions set the border; `told` hears how many fits are done, and of how many.
    """
    texts, quality, row_weights = _together(parts)
    strange = _strange(parts)
    folds = np.random.default_rng(0).permutation(len(quality)) % FOLDS
    kept_back = np.zeros((len(quality), 2))
    for fold in range(FOLDS):
        seen, unseen = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
        fitted = fit_apart(texts.at(seen), quality[seen], row_weights[seen], priors, strange[seen])
        kept_back[unseen] = fitted.heads.log_odds(texts.at(unseen)) + strange[unseen] @ fitted.offsets
        told(fold + 1, FOLDS + 1)
    lines = [line_of(kept_back[:, head], quality[:, head], row_weights) for head in range(2)]
    slopes, offsets = (np.array(column) for column in zip(*lines, strict=True))
    kept_back = kept_back * slopes + offsets
    fitted = fit_apart(texts, quality, row_weights, priors, strange)
    heads = fitted.heads.scaled(slopes, offsets)
    told(FOLDS + 1, FOLDS + 1)
    ends = np.cumsum([0, *(len(part.rows) for part in parts)])
    place = everyday % len(parts)
    own = slice(ends[place], ends[place + 1])
    border = border_of(raw_difficulty(kept_back[own], strong_trust_ratio), quality[own, 0] < 0.5 * quality[own, 1])
    card = JudgeCard(
        name=name,
        made_by=made_by,
        trained_on=tuple(
            TrainedOn(name=part.rows.name, rows=len(part.rows), licence=part.rows.licence, source=part.rows.source)
            for part in parts
        ),
        figures=figures,
        intended_use=_INTENDED_USE,
        limits=_LIMITS,
    )
    weights = heads.weights(strong_trust_ratio, border, card)
    known = seen_in(points_of(normalised(prompt)) for part in parts for prompt in part.rows.prompts)
    return Trained(weights._replace(seen=known), kept_back)


def raw_difficulty(log_odds: np.ndarray, strong_trust_ratio: float) -> np.ndarray:
    """`Scale.difficulty` of many, before the border moves it."""
    chances = 1 / (1 + np.exp(-np.clip(log_odds, -30, 30)))
    return np.asarray((1 - chances[:, 0] + strong_trust_ratio * chances[:, 1]) / (1 + strong_trust_ratio))


def border_of(raw: np.ndarray, is_hard: np.ndarray) -> float:
    """The difficulty that parts easy from hard with the fewest mistakes, each side counting for half.

    Of several as good it is the middle one.
    """
    ordered = np.sort(raw)
    between = (ordered[1:] + ordered[:-1]) / 2
    right = np.array([(raw[is_hard] >= edge).mean() + (raw[~is_hard] < edge).mean() for edge in between])
    # A row in the whole set is chance.
    good = between[right >= right.max() - 1 / len(raw)]
    return float(np.median(good))


def _together(parts: Sequence[Part]) -> tuple[Texts, np.ndarray, np.ndarray]:
    texts = Texts(
        sparse.vstack([part.texts.ngrams for part in parts]).tocsr(),
        np.concatenate([part.texts.signs for part in parts]),
    )
    quality = np.concatenate([part.rows.quality for part in parts])
    weights = [np.full(len(part.rows), part.weight * len(part.rows) ** -0.5) for part in parts]
    return texts, quality, np.concatenate(weights)


def _strange(parts: Sequence[Part]) -> Floats:
    """A column for each strange set: 1 for its rows."""
    numbers = np.cumsum([part.is_strange for part in parts])
    columns = [
        np.arange(numbers[-1]) == (number - 1 if part.is_strange else -1)
        for part, number in zip(parts, numbers.tolist(), strict=True)
    ]
    return np.repeat(columns, [len(part.rows) for part in parts], axis=0).astype(np.float32)


def part_of(rows: RowSet, weight: float = 1.0, *, is_strange: bool = False) -> Part:
    """Rows with their texts turned into numbers."""
    return Part(rows, read_texts(rows.prompts), weight, is_strange)
