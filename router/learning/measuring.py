"""Measures a way of training on rows that the judge has not seen: by cross-validation, with few labels, on other sets.

The settings of the fit are the same everywhere, and none is chosen on what is measured here (see `heads`).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

import numpy as np

from router.learning.curve import RatingWithInterval, mean_of, rating_with_interval
from router.learning.heads import LED, OWN, STRANGE, Heads, Priors, Texts, read_texts
from router.learning.labelled_rows import RowSet
from router.learning.training import STRONG_TRUST_ELSEWHERE, Part, fit_parts

FOLDS: Final = 5
ROUTELLM_LABELS: Final = 1531
"""As many rows of MMLU as RouteLLM trained on."""


class Measured:
    """A set with its texts turned into numbers once."""

    def __init__(self, rows: RowSet, texts: Texts | None = None) -> None:
        self.rows = rows
        self.texts = texts if texts is not None else read_texts(rows.prompts)

    def __len__(self) -> int:
        return len(self.rows)

    def at(self, places: np.ndarray) -> "Measured":
        """A selection of rows."""
        return Measured(self.rows.at(places), self.texts.at(places))


class Protocol(NamedTuple):
    """One way of measuring, ready to run."""

    name: str
    run: Callable[[], RatingWithInterval]


def train_on(sets: Sequence[Measured], priors: Priors) -> Heads:
    """Fit on all rows of these sets."""
    return fit_parts([Part(one.rows, one.texts) for one in sets], priors)


def score(heads: Heads, texts: Texts, strong_trust_ratio: float) -> np.ndarray:
    """Rank texts as `Estimate.difficulty` does."""
    chances = 1 / (1 + np.exp(-heads.log_odds(texts)))
    return np.asarray(strong_trust_ratio * chances[:, 1] - chances[:, 0])


def in_domain(measured: Measured, *, splits: int, draws: int) -> RatingWithInterval:
    """Five folds, each ranked by a judge trained on the other four; the mean over several ways to split.

    Every judge has thresholds of its own: at each share it sends that share of its own fold.
    """
    ratings = []
    for seed in range(splits):
        order = np.random.default_rng(seed).permutation(len(measured))
        ranks = np.zeros(len(measured))
        for fold in np.array_split(order, FOLDS):
            heads = train_on([measured.at(np.setdiff1d(order, fold))], OWN)
            ranks[fold] = _ranks(score(heads, measured.texts.at(fold), strong_trust_ratio=1))
        ratings.append(_rated(ranks, measured.rows, draws))
    return mean_of(ratings)


def with_few_labels(measured: Measured, labels: int, *, splits: int, draws: int) -> RatingWithInterval:
    """Trained on so many rows drawn by chance and scored on all others; the mean over several drawings."""
    ratings = []
    for seed in range(splits):
        order = np.random.default_rng(seed).permutation(len(measured))
        heads = train_on([measured.at(order[:labels])], OWN)
        rest = measured.at(order[labels:])
        ratings.append(_rated(score(heads, rest.texts, strong_trust_ratio=1), rest.rows, draws))
    return mean_of(ratings)


def on_unseen_set(
    measured: Measured, others: Sequence[Measured], *, draws: int, priors: Priors = STRANGE
) -> RatingWithInterval:
    """Trained on other sets only."""
    heads = train_on(others, priors)
    return _rated(score(heads, measured.texts, STRONG_TRUST_ELSEWHERE), measured.rows, draws)


def leave_kind_out(measured: Measured, *, draws: int, priors: Priors = OWN) -> RatingWithInterval:
    """Each kind of task scored by a judge that was trained on the other kinds of the same set."""
    kinds = np.array(measured.rows.kinds)
    by_kind = {kind: np.flatnonzero(kinds == kind) for kind in sorted(set(measured.rows.kinds))}
    scores = np.zeros(len(measured))
    for kind, places in by_kind.items():
        heads = train_on([measured.at(by_kind[other]) for other in by_kind if other != kind], priors)
        scores[places] = score(heads, measured.texts.at(places), STRONG_TRUST_ELSEWHERE)
    return _rated(scores, measured.rows, draws)


def protocols(sets: Mapping[str, Measured], *, draws: int = 1000) -> Iterator[Protocol]:
    """Everything that is published of a judge, by the names in `build/bench/routing.json`, and some beside it.

    `sets` are those of `public_rows`; `llm_router` must not hold a question of another.
    """
    mmlu, gsm8k, lexeval, spare, mt_bench = (
        sets[name] for name in ("mmlu", "gsm8k", "lexeval", "llm_router", "mt_bench")
    )
    yield Protocol("mmlu_5fold", lambda: in_domain(mmlu, splits=1, draws=draws))
    yield Protocol("mmlu_1531", lambda: with_few_labels(mmlu, ROUTELLM_LABELS, splits=5, draws=draws))
    # Small sets differ more from split to split.
    yield Protocol("gsm8k_5fold", lambda: in_domain(gsm8k, splits=15, draws=draws))
    yield Protocol("lexeval_5fold", lambda: in_domain(lexeval, splits=1, draws=draws))
    transfers = {
        "mtbench": (mt_bench, [mmlu, gsm8k, spare]),
        "mmlu": (mmlu, [gsm8k, spare]),
        "gsm8k": (gsm8k, [mmlu, spare]),
    }
    for name, (measured, others) in transfers.items():
        yield Protocol(f"{name}_transfer", _transfer(measured, others, draws, STRANGE))
    yield Protocol("lexeval_leave_task_out", lambda: leave_kind_out(lexeval, draws=draws))
    # Whoever set the log-odds by hand had seen public routing data, so these are told apart.
    for name, (measured, others) in transfers.items():
        yield Protocol(f"{name}_transfer_led_by_hand", _transfer(measured, others, draws, LED))


def _transfer(
    measured: Measured, others: Sequence[Measured], draws: int, priors: Priors
) -> Callable[[], RatingWithInterval]:
    return lambda: on_unseen_set(measured, others, draws=draws, priors=priors)


def _ranks(scores: np.ndarray) -> np.ndarray:
    """Shares 0 to 1 in the order of `scores`."""
    return np.asarray(scores.argsort(kind="stable").argsort(kind="stable") / len(scores))


def _rated(scores: np.ndarray, rows: RowSet, draws: int) -> RatingWithInterval:
    return rating_with_interval(scores, rows.small, rows.large, draws=draws)
