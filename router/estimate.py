"""The estimate: how likely each model of a pool answers a question well, told from the question alone.

A judge has two heads, which were trained on a small and on a large model's answers. Every other model stands somewhere
on the line through these two: `ability` 0 is the small one, 1 the large one.
"""

import functools
import math
import re
from typing import Final, NamedTuple

import numpy as np

from router.difficulty import WEIGHTS
from router.features import normalised, points_of
from router.judge_file import LARGEST, JudgeCard, Weights
from router.judge_scan import (
    EMPTINESS,
    FAR,
    IS_HARD,
    LARGE,
    SHAPE,
    SIZES,
    SMALL,
    SMALL_SIGNS,
    STRANGENESS,
    SURROUNDINGS,
    TASK,
    TOLD,
    WHY,
    WORDING,
    burden_of,
    estimate,
)
from router.ngrams import BUCKETS, buckets_of, pad_places
from router.query import Query
from router.scale import Scale, chance_of
from router.scan import WINDOW_CHARS
from router.signs import SIGNS, SignReader
from router.tasks import TASKS

PAD_PLACES: Final = pad_places(2 * WINDOW_CHARS + 1)
"""Enough for any question, as it is cut to its windows."""
_WORD: Final = re.compile(r"[a-z0-9]+")
_THREE_HAN: Final = re.compile("[\u3400-\u9fff]{3}")
_REASONS_TOLD: Final = 6


class Estimate(NamedTuple):
    """What is expected of the models for one question."""

    small_log_odds: float
    """Log-odds that a model of ability 0 answers well."""
    large_log_odds: float
    """The same at ability 1."""
    difficulty: float
    """How much the question asks for a large model, 0 to 1: questions are ranked by it, 0.5 is the judge's border."""
    task: str
    """What kind of task it is: one of `tasks.TASKS`."""
    reason: str
    """One short line of ASCII for a person; it begins with the kind of task."""
    scale: Scale = Scale()

    @property
    def chances(self) -> tuple[float, float]:
        """Both log-odds, as `policy.Need` holds them."""
        return self.small_log_odds, self.large_log_odds

    def chance(self, ability: float) -> float:
        """How likely a model of this ability answers well, 0 to 1. Beyond 0 and 1 the line is followed further."""
        return float(chance_of(self.small_log_odds + ability * (self.large_log_odds - self.small_log_odds)))

    def difficulty_for(self, ability: float) -> float:
        """The difficulty for a model of this ability, on the same scale; at 0 it is `difficulty`."""
        return self.scale.difficulty(self.small_log_odds, self.large_log_odds, ability)


class Reason(NamedTuple):
    """One thing that weighed, for `explain`."""

    what: str
    log_odds: float
    """What it adds to a small model's log-odds of answering well."""


class Judge:
    """A trained judge, ready to estimate. For one thread: it keeps a pad to count on."""

    def __init__(self, weights: Weights) -> None:
        self.card: JudgeCard = weights.card
        self.scale = Scale(weights.strong_trust_ratio, weights.border)
        self.ngrams = np.ascontiguousarray(weights.ngrams, np.int16)
        """What the compiled reading weighs n-grams with."""
        self.numbers = _numbers(weights)
        """And all else, in the order of `judge_scan`."""
        self.seen = np.ascontiguousarray(weights.seen, np.uint8)
        """And what it knows."""
        self.counts = np.zeros(BUCKETS, np.uint8)
        self._small_scale = weights.ngram_most[0] / LARGEST
        self._signs = np.asarray(weights.signs, np.float64)
        self._means = np.asarray(weights.sign_means, np.float64)
        self._spreads = np.asarray(weights.sign_spreads, np.float64)
        self._pad = np.empty(PAD_PLACES, np.uint32)
        self._told = np.zeros(TOLD, np.int64)
        self._reader = SignReader()

    def estimate(self, query: Query) -> Estimate:
        """Estimate both reference models' chances for the newest question and what stands around it."""
        text = _judged(query)
        small, large, difficulty = estimate(
            points_of(normalised(text)), len(text), query.context_chars, query.turns, query.has_tools,
            query.wants_json, SMALL, LARGE, self.ngrams, self.numbers, self.seen, self.counts, self._pad, self._told,
        )  # fmt: skip
        told = self._told.tolist()
        task = told[TASK]
        return Estimate(
            small, large, difficulty, TASKS[task], reason_of(task, told[WHY], told[IS_HARD]), self.scale
        )  # fmt: skip

    def reasons(self, query: Query) -> list[Reason]:
        """What weighed most on a small model's chance, heaviest first. Slow: for a person's eyes."""
        whole = _judged(query)
        text = normalised(whole)
        points = points_of(text)
        buckets = buckets_of(points)
        uses = np.bincount(buckets, minlength=BUCKETS)
        worth = np.sqrt(uses) * self.ngrams[:, 0] * (self._small_scale / math.sqrt(len(buckets)))
        told = [Reason(f"'{piece}'", float(worth[bucket])) for piece, bucket in _pieces(text)]
        seen = np.clip((self._reader.read(points, len(whole)) - self._means) / self._spreads, -FAR, FAR)
        told += [
            Reason(name.replace("_", " "), part)
            for name, part in zip(SIGNS, (seen * self._signs[:, 0]).tolist(), strict=True)
        ]
        burden = burden_of(query.context_chars, query.turns, query.has_tools, query.wants_json)
        told.append(Reason("what stands around the question", -float(burden)))
        told.sort(key=lambda reason: -abs(reason.log_odds))
        return [reason for reason in told[:_REASONS_TOLD] if reason.log_odds]


@functools.cache
def reason_of(task: int, why: int, is_hard: int) -> str:
    """The kind of task, and what weighed most towards the side on which the question fell."""
    side = "hard" if is_hard else "easy"
    if why == SMALL_SIGNS:
        what = "several small signs"
    elif why == WORDING:
        what = f"worded like {side} questions"
    elif why == SHAPE:
        what = f"formed like {side} questions"
    elif why == STRANGENESS:
        what = "unlike anything the judge has seen"
    elif why == EMPTINESS:
        what = "greeting or no question"
    elif why == SURROUNDINGS:
        what = "stands on a conversation or on tools"
    else:
        is_above = why >= 0
        sign = SIGNS[why if is_above else -2 - why]
        what = SIZES[sign][is_above] if sign in SIZES else WEIGHTS[sign].reason
    return f"{TASKS[task]}; {what}"


def _judged(query: Query) -> str:
    """The question, with the one before it where it leans on that: "go on" is as hard as what it goes on with.

    One text rather than the harder of two estimates: it costs one look, and what is asked about ("and in Python?")
    counts in both. Thanks lean on nothing.
    """
    if query.before and normalised(query.text):
        return f"{query.before}\n{query.text}"
    return query.text


def _numbers(weights: Weights) -> np.ndarray:
    small, large = np.asarray(weights.signs, np.float64).T
    most = np.asarray(weights.ngram_most) / LARGEST
    return np.concatenate(
        [
            weights.sign_means, weights.sign_spreads, small, large, weights.bias, most,
            [weights.strong_trust_ratio, weights.border],
        ]
    )  # fmt: skip


def _pieces(text: str) -> list[tuple[str, int]]:
    """Words and runs of three Chinese characters, each once, with the bucket that each falls into."""
    words = set(_WORD.findall(text))
    runs = {text[at : at + 3] for at in range(len(text) - 2) if _THREE_HAN.match(text, at)}
    # A piece by itself: a word is the last of its n-grams, a run of three the ninth.
    return [(word, int(buckets_of(points_of(word))[-1])) for word in sorted(words)] + [
        (run, int(buckets_of(points_of(run))[8])) for run in sorted(runs)
    ]
