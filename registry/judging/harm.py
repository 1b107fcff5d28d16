"""Whether the canary does harm: a test that may be looked at after every request.

**What is tested.** For each metric the null hypothesis is a line: in every block (the answers of one kind that came in
together, n_a of stable and n_b of the canary) the canary's mean probability is at most `extra + rise * stable's`. The
probabilities themselves may be anything, differ from block to block and from answer to answer: hours of the day, the
mix of questions and the split of traffic do not matter.

**The e-variable of a block.** Choose, before its answers are seen, a point x in (0, 1), y = extra + rise * x < 1, and
bets v >= 0 and u = -v * rise * n_b / n_a, so small that no factor below is negative. Then

    E = product over stable's answers of (1 + u (Y - x))  *  product over the canary's of (1 + v (Y - y))

has mean at most 1 under the null. Proof: with independent answers of probabilities p_i and q_j given the past, by
log(1 + z) <= z,  log E[E] <= u sum(p_i - x) + v sum(q_j - y) = v n_b (-rise (p - x) + q - y) for the means p and q,
and that is v n_b (q - extra - rise p) <= 0. QED. With x, y the null's nearest point to an alternative (in
Kullback-Leibler divergence) and u, v the matching bets this is the e-variable of R. Turner, A. Ly, P. Grünwald,
"Generic E-variables for exact sequential k-sample tests that allow for optional stopping" (Journal of Statistical
Planning and Inference, 2024), with the linear boundaries of R. Turner, P. Grünwald, "Exact anytime-valid confidence
intervals for contingency tables and beyond" (Statistics & Probability Letters, 2023). That choice grows fastest where
the alternative is true; the proof above does not need it to be exact.

**Over time.** Products of such e-variables, each chosen from the past only, are a supermartingale of mean at most 1; so
are means over several alternatives and weighted means over metrics, however these depend on one another. By J. Ville
("Étude critique de la notion de collectif", 1939) the probability that it ever reaches 1/alpha is at most alpha: at any
look, with any rule for stopping, and after a restart that goes on from what was stored.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from registry.judging.metrics import Metric

Array = NDArray[np.float64]

ODDS = (1.3, 1.75, 2.5, 5.0)
"""Alternatives: the odds of harm beside those at the line."""
LEFT = (0.5, 0.05)
"""More alternatives: all but so much of what was good goes bad. They catch a broken version within a few requests."""
ALTERNATIVES = len(ODDS) + len(LEFT)

PRIOR_REQUESTS = 20.0
"""What is guessed of a kind of questions weighs like so many answers."""
_EDGE = 1e-6


@dataclass(frozen=True, slots=True)
class Counts:
    """Answers that were asked, and those with harm. The last two axes: stable or canary, metric."""

    n: Array
    k: Array

    @staticmethod
    def none(metrics: int, runs: tuple[int, ...] = ()) -> "Counts":
        """Nothing counted; `runs` are leading axes, for many rollouts at once."""
        shape = (*runs, 2, metrics)
        return Counts(np.zeros(shape), np.zeros(shape))

    def add(self, more: "Counts") -> None:
        """Count these, too."""
        np.add(self.n, more.n, out=self.n)
        np.add(self.k, more.k, out=self.k)


@dataclass(frozen=True, slots=True)
class Lines:
    """The metrics' figures as arrays."""

    weight: Array
    usual: Array
    rise: Array
    extra: Array

    @staticmethod
    def of(metrics: Sequence[Metric]) -> "Lines":
        """One entry for each metric."""
        return Lines(*(np.array([getattr(m, name) for m in metrics]) for name in ("weight", "usual", "rise", "extra")))


def expected(past: Counts, everywhere: Counts, usual: Array) -> Array:
    """The shares to be expected of a kind of questions, from its own past and from that of all kinds."""
    prior = (everywhere.k + PRIOR_REQUESTS * usual) / (everywhere.n + PRIOR_REQUESTS)
    shares: Array = (past.k + PRIOR_REQUESTS * prior) / (past.n + PRIOR_REQUESTS)
    return shares


def growth(block: Counts, stable_share: Array, lines: Lines) -> Array:
    """Logarithms of the e-variables of one block, one for each metric and alternative; 0 where a side is missing."""
    both = (block.n[..., 0, :] > 0) & (block.n[..., 1, :] > 0)
    n_a, n_b = (np.where(both, block.n[..., side, :], 1.0)[..., None] for side in (0, 1))
    k_a, k_b = (np.where(both, block.k[..., side, :], 0.0)[..., None] for side in (0, 1))
    rise, extra = lines.rise[:, None], lines.extra[:, None]
    top = (1 - _EDGE - extra) / rise
    p = np.clip(stable_share[..., None], _EDGE, np.minimum(top, 1 - _EDGE))
    q = _alternatives(extra + rise * p)
    x = _nearest(n_a, n_b, p, q, rise, extra, top)
    y = extra + rise * x
    v = np.maximum(q - y, 0.0) / (y * (1 - y))
    v = np.minimum(v, 0.999 * n_a / (rise * n_b * (1 - x)))
    u = -v * rise * n_b / n_a
    log_e = k_a * np.log1p(u * (1 - x)) + (n_a - k_a) * np.log1p(-u * x)
    log_e += k_b * np.log1p(v * (1 - y)) + (n_b - k_b) * np.log1p(-v * y)
    return np.where(both[..., None], log_e, 0.0)


def _alternatives(line: Array) -> Array:
    """Shares of the canary that would be harm, along a new last axis."""
    odds = line / (1 - line) * np.array(ODDS)
    left = 1 - (1 - line) * np.array(LEFT)
    return np.concatenate([odds / (1 + odds), left], axis=-1)


def _nearest(n_a: Array, n_b: Array, p: Array, q: Array, rise: Array, extra: Array, top: Array) -> Array:
    """Stable's share at that point of the line which is nearest to the alternative, to some digits."""
    x = np.clip((n_a * p + n_b * (q - extra) / rise) / (n_a + n_b), _EDGE, top)
    for _ in range(3):
        y = extra + rise * x
        of_a, of_b = n_a / (x * (1 - x)), n_b / (y * (1 - y))
        x = np.clip((of_a * p + of_b * rise * (q - extra)) / (of_a + of_b * rise**2), _EDGE, top)
    return np.asarray(x)


class Harm:
    """The e-processes of all metrics, all kinds of questions together."""

    def __init__(self, lines: Lines, runs: tuple[int, ...] = ()) -> None:
        self._lines = lines
        metrics = len(lines.weight)
        self.log_e: Array = np.zeros((*runs, metrics, ALTERNATIVES))
        self.log_peaks: Array = np.zeros((*runs, metrics))
        """The highest that each metric has ever been: 1/e^this is a p-value at all moments."""

    def take(self, block: Counts, stable_share: Array) -> None:
        """One block of one kind of questions; `stable_share` comes from what was known before it."""
        self.log_e += growth(block, stable_share, self._lines)
        np.maximum(self.log_peaks, self.log_now(), out=self.log_peaks)

    def log_now(self) -> Array:
        """Each metric's e-value now, as a logarithm: the mean over the alternatives."""
        top = self.log_e.max(axis=-1, keepdims=True)
        mean: Array = top[..., 0] + np.log(np.exp(self.log_e - top).mean(axis=-1))
        return mean

    def log_total(self) -> Array:
        """All metrics' weighted sum now, as a logarithm."""
        total: Array = np.logaddexp.reduce(self.log_now() + np.log(self._lines.weight), axis=-1)
        return total
