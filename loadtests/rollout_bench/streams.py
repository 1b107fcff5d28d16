"""Simulated traffic of many rollouts: a day of answers, a minute at a time.

Each rollout gets 10 requests a second, of which 5 % go to the canary and as many are its control. The volume, the mix
of kinds of questions, times and error rates swing with the hour, each kind differently, so that a judge that compares
unlike things errs.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from loadtests.rollout_bench.many import Minute
from registry.judging.harm import Array

MINUTES = 1440
REQUESTS_A_MINUTE = 30.0
"""To each side: 5 % of 10 a second."""


@dataclass(frozen=True, slots=True)
class _KindOfQuestions:
    share: float
    error_factor: float
    ttft_s: float
    tpot_s: float
    tokens: float


KINDS = (
    _KindOfQuestions(0.6, 0.8, 0.2, 0.03, 60.0),
    _KindOfQuestions(0.3, 1.2, 0.6, 0.035, 200.0),
    _KindOfQuestions(0.1, 1.6, 2.5, 0.05, 400.0),
)
"""Short chats, summaries and long documents, say. Weighed by their shares, the factors of errors make 1."""

_SPREADS = np.array([0.5, 0.25, 0.8, 0.9])
"""Standard deviations of the logarithms: time to the first token, per token, tokens, cost."""


@dataclass(frozen=True, slots=True)
class Pairs:
    """The rollouts of one experiment."""

    runs: int
    stable_errors: tuple[float, ...]
    """Error rates of stable; rollouts take them in turn."""
    rise: float
    """The canary's error rate is so many times stable's; all else is the same on both sides."""
    swings: float
    """How far volume, mix, times and error rates go up and down over the day, of themselves."""


def day(pairs: Pairs, rng: np.random.Generator) -> Iterator[tuple[int, int, Minute]]:
    """Minute, kind of questions and its answers in all rollouts."""
    rates = np.resize(np.array(pairs.stable_errors), pairs.runs)
    starts = rng.uniform(0, 2 * math.pi, pairs.runs)
    for minute in range(MINUTES):
        hour = starts + 2 * math.pi * minute / MINUTES
        volume = REQUESTS_A_MINUTE * (1 + pairs.swings * np.sin(hour))
        mix = _mix(hour, pairs.swings)
        slow = np.exp(pairs.swings * np.sin(hour - 0.5))
        faulty = 1 + pairs.swings * np.sin(hour + 1.0)
        for index, kind in enumerate(KINDS):
            errors = np.minimum(rates * kind.error_factor * faulty, 0.9)
            both = np.stack([errors, np.minimum(errors * pairs.rise, 0.95)], axis=-1)
            yield minute, index, _minute(kind, volume * mix[index], both, slow, rng)


def _mix(hour: Array, swings: float) -> Array:
    shares = np.array([kind.share for kind in KINDS])[:, None]
    turned = shares * np.exp(swings * np.sin(hour + np.arange(len(KINDS))[:, None] * 2.0))
    return np.asarray(turned / turned.sum(axis=0))


def _minute(kind: _KindOfQuestions, volume: Array, errors: Array, slow: Array, rng: np.random.Generator) -> Minute:
    n = rng.poisson(volume[:, None], (len(volume), 2))
    most = max(1, int(n.max()))
    shape = (len(volume), 2, most)
    is_there: NDArray[np.bool_] = np.arange(most) < n[..., None]
    # Tails beyond one in 150,000 are cut: the counts of many rollouts take much memory.
    logs = np.clip(rng.standard_normal((*shape, 4), dtype=np.float32), -4.5, 4.5).astype(np.float64) * _SPREADS
    middle = np.array([kind.ttft_s, kind.tpot_s, kind.tokens, kind.tokens / 50])
    numbers = np.exp(logs) * middle
    numbers[..., :2] *= slow[:, None, None, None]
    numbers[..., 2] = np.ceil(numbers[..., 2])
    happens = rng.random((3, *shape), dtype=np.float32)
    return Minute(is_there, happens[0] < errors[..., None], happens[1] < 0.04, happens[2] < 0.03, numbers)
