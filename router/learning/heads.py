"""Turns texts into rows of numbers and fits the two heads of a judge on them: logistic regressions, both at once.

How far weights are held back (the prior) is not chosen: a judge is fitted under each prior of a fixed grid and their
weights are averaged, which is one judge again. On LLMRouter's rows, of which no figure is reported, this did better
than choosing one prior by cross-validation inside the training rows, and nothing can be chosen by accident.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
from scipy import sparse

from router.difficulty import LOG_ODDS
from router.features import normalised, points_of
from router.judge_file import LARGEST, JudgeCard, Weights
from router.judge_scan import FAR
from router.learning.fitting import Floats, Task, minimise
from router.ngrams import BUCKETS, buckets_of
from router.scan_tables import FEATURE_COUNT
from router.signs import SIGNS, SignReader

# An n-gram seen in one text only says nothing about others.
_MIN_TEXTS: Final = 2
# A sign that hardly varies in training must not count when it does later.
_MIN_SPREAD: Final = 1e-3
_HEADS: Final = 2
# A set's own offset is held back hardly at all: there is one for thousands of rows.
_OFFSET_PENALTY: Final = 0.002
# Where more steps change nothing that could be measured.
_MAX_STEPS: Final = 30


class Prior(NamedTuple):
    """How far weights are held back."""

    ngrams_rows: float
    """For n-grams: the prior weighs as much as so many rows."""
    signs: float
    """For signs, which are few: beside a mean loss per row."""
    by_hand_ratio: float = 0
    """Signs are held back towards so much of the log-odds that were set by hand in `difficulty`, and not towards 0."""


Priors = tuple[Prior, ...]

OWN: Final[Priors] = tuple(Prior(rows, signs) for rows in (0.5, 3) for signs in (0.02, 0.2))
"""For a judge that is used on the kind of questions that it was trained on."""
STRANGE: Final[Priors] = tuple(Prior(rows, signs) for rows in (2, 20) for signs in (0.05, 0.2))
"""For one that is used on other kinds: words carry over less than signs, and both less than at home."""
LED: Final[Priors] = tuple(prior._replace(by_hand_ratio=1) for prior in STRANGE)
"""The same, led by the log-odds that were set by hand, where rows say nothing else."""
EVERYDAY: Final[Priors] = tuple(Prior(rows, signs, 1) for rows in (0.5, 5) for signs in (0.02, 0.1))
"""For everyday questions, of which there are few rows: led by hand, too, and between the two others. Chosen by
cross-validation over our own questions."""


class Texts(NamedTuple):
    """Texts as numbers, before anything is fitted."""

    ngrams: sparse.csr_matrix
    signs: Floats

    def at(self, rows: np.ndarray) -> "Texts":
        """A selection of rows."""
        return Texts(self.ngrams[rows], self.signs[rows])


class Heads(NamedTuple):
    """Two fitted heads."""

    ngrams: Floats
    signs: Floats
    sign_means: Floats
    sign_spreads: Floats
    bias: Floats

    def log_odds(self, texts: Texts) -> np.ndarray:
        """Both heads' log-odds for each text."""
        seen = np.clip((texts.signs - self.sign_means) / self.sign_spreads, -FAR, FAR)
        return np.asarray(texts.ngrams @ self.ngrams + seen @ self.signs + self.bias, np.float64)

    def scaled(self, slopes: np.ndarray, offsets: np.ndarray) -> "Heads":
        """Each head's log-odds times its slope, and moved by its offset."""
        by = slopes.astype(np.float32)
        return self._replace(
            ngrams=self.ngrams * by, signs=self.signs * by, bias=self.bias * by + offsets.astype(np.float32)
        )

    def weights(self, strong_trust_ratio: float, border: float, card: JudgeCard) -> Weights:
        """The same as a judge keeps them."""
        most = np.maximum(np.abs(self.ngrams).max(0), 1e-9).astype(np.float64)
        small_bias, large_bias = self.bias.tolist()
        return Weights(
            ngrams=np.rint(self.ngrams / most * LARGEST).astype(np.int16),
            ngram_most=(float(most[0]), float(most[1])),
            signs=self.signs.astype(np.float64),
            sign_means=self.sign_means.astype(np.float64),
            sign_spreads=self.sign_spreads.astype(np.float64),
            bias=(small_bias, large_bias),
            strong_trust_ratio=strong_trust_ratio,
            card=card,
            border=border,
        )


def read_texts(texts: Sequence[str]) -> Texts:
    """Turn texts into numbers exactly as `Judge.estimate` does."""
    columns, values, ends = [], [], [0]
    signs = np.empty((len(texts), len(SIGNS)), np.float32)
    reader = SignReader()
    for row, text in enumerate(texts):
        points = points_of(normalised(text))
        buckets = buckets_of(points)
        unique, counts = np.unique(buckets, return_counts=True)
        columns.append(unique.astype(np.int32))
        # Roots of counts: their squares add up to the number of n-grams, so that each row has length 1.
        values.append(np.sqrt(counts / len(buckets)).astype(np.float32))
        ends.append(ends[-1] + len(unique))
        signs[row] = reader.read(points, len(text))
    matrix = sparse.csr_matrix(
        (np.concatenate(values), np.concatenate(columns), np.array(ends)), shape=(len(texts), BUCKETS)
    )
    return Texts(matrix, signs)


class Fitted(NamedTuple):
    """Heads, and what was fitted beside them and is not used afterwards."""

    heads: Heads
    offsets: Floats
    """(strange sets, 2): what the log-odds of each of these sets had to be moved by."""


def fit(texts: Texts, quality: np.ndarray, row_weights: np.ndarray, priors: Priors) -> Heads:
    """Fit both heads: the mean over the priors. `quality` has a column for the small and one for the large model."""
    return fit_apart(texts, quality, row_weights, priors, np.zeros((len(quality), 0), np.float32)).heads


def fit_apart(texts: Texts, quality: np.ndarray, row_weights: np.ndarray, priors: Priors, strange: Floats) -> Fitted:
    """The same with an offset for each strange set: `strange` has a column for each, 1 for its rows.

    Other models answered such a set, which are better or worse on the whole; its offset keeps that out of the heads.
    """
    rows, others = strange.shape
    kept = np.flatnonzero(np.bincount(texts.ngrams.indices, minlength=BUCKETS) >= _MIN_TEXTS)
    means = texts.signs.mean(0)
    spreads = np.maximum(texts.signs.std(0), _MIN_SPREAD)
    dense = np.clip((texts.signs - means) / spreads, -FAR, FAR).astype(np.float32)
    shares = (row_weights / row_weights.sum()).astype(np.float32)
    fitted = minimise(
        Task(
            matrix=texts.ngrams[:, kept].tocsr(),
            dense=np.concatenate([dense, np.ones((rows, 1), np.float32), strange], 1),
            wanted=np.tile(quality.astype(np.float32), (1, len(priors))),
            row_weights=np.repeat(shares[:, None], len(priors) * _HEADS, axis=1),
            penalties=_with(_penalties(len(kept), rows, priors), others, _OFFSET_PENALTY),
            centre=_with(_centre(len(kept), spreads, priors), others, 0),
        ),
        _MAX_STEPS,
    )
    # One judge for all priors: what is linear can be averaged.
    fitted = fitted.reshape(len(fitted), len(priors), _HEADS).mean(1)
    bias = len(kept) + len(SIGNS)
    ngrams = np.zeros((BUCKETS, _HEADS), np.float32)
    ngrams[kept] = fitted[: len(kept)]
    return Fitted(Heads(ngrams, fitted[len(kept) : bias], means, spreads, fitted[bias]), fitted[bias + 1 :])


def _with(numbers: Floats, more: int, value: float) -> Floats:
    """So many more lines of one value."""
    return np.concatenate([numbers, np.full((more, numbers.shape[1]), value, np.float32)])


def _penalties(ngrams: int, rows: int, priors: Priors) -> Floats:
    penalties = np.zeros((ngrams + len(SIGNS) + 1, len(priors) * _HEADS), np.float32)
    penalties[:ngrams] = np.repeat([prior.ngrams_rows / rows for prior in priors], _HEADS)
    penalties[ngrams:-1] = np.repeat([prior.signs for prior in priors], _HEADS)
    return penalties


def _centre(ngrams: int, spreads: Floats, priors: Priors) -> Floats:
    """What the weights are held back towards. What is hard for a small model is half as hard for a large one."""
    centre = np.zeros((ngrams + len(SIGNS) + 1, len(priors) * _HEADS), np.float32)
    by_hand = LOG_ODDS * spreads[:FEATURE_COUNT]
    for place, prior in enumerate(priors):
        centre[ngrams : ngrams + FEATURE_COUNT, _HEADS * place] = -prior.by_hand_ratio * by_hand
        centre[ngrams : ngrams + FEATURE_COUNT, _HEADS * place + 1] = -0.5 * prior.by_hand_ratio * by_hand
    return centre
