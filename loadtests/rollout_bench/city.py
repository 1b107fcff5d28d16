"""A simulated city: what people ask, and how that changes. For the watch over drift."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cluster.outcomes import LENGTH_BINS, NGRAM_BINS, Tally
from registry.drift import LEVELS, Window, compare, reference, together

ALPHA = 0.01
PAIRS_A_QUESTION = 60
HOURS = 24


@dataclass(frozen=True, slots=True)
class Habits:
    """How people ask and what they get."""

    topics: tuple[float, ...] = (0.5, 0.3, 0.2, 0.0)
    """Their shares at noon; over the day they swing by a fifth."""
    english: float = 0.05
    log_length: float = 4.0
    faults: float = 0.02
    ratings: tuple[float, ...] = (0.1, 0.2, 0.7)


CHANGES: dict[str, Habits] = {
    "a fifth of all questions on a new topic": Habits(topics=(0.4, 0.24, 0.16, 0.2)),
    "half of all questions on a new topic": Habits(topics=(0.25, 0.15, 0.1, 0.5)),
    "a quarter in another language": Habits(english=0.25),
    "questions twice as long": Habits(log_length=4.7),
    "faults from 2 % to 8 %": Habits(faults=0.08),
    "ratings much worse": Habits(ratings=(0.4, 0.2, 0.4)),
}


class City:
    """Each topic has its own pairs of characters, each question draws its own from its topic's."""

    def __init__(self, seed: int, habits: Habits = Habits()) -> None:
        self._rng = np.random.default_rng(seed)
        self._topics = np.random.default_rng(5).dirichlet(np.full(NGRAM_BINS, 0.6), size=4)
        self.habits = habits

    def tally(self, requests: int, hour: int = 0) -> Tally:
        """What is counted of so many questions."""
        rng, habits = self._rng, self.habits
        swing = np.exp(0.2 * np.sin(2 * np.pi * hour / HOURS + np.arange(len(habits.topics))))
        mix = np.array(habits.topics) * swing
        asked = np.repeat(self._topics, rng.multinomial(requests, mix / mix.sum()), axis=0)
        own = rng.standard_gamma(asked * 80 + 1e-3)
        ngrams = rng.multinomial(PAIRS_A_QUESTION, own / own.sum(axis=1, keepdims=True)).sum(axis=0)
        english = int(rng.binomial(requests, habits.english))
        return Tally(
            name="small",
            version=3,
            requests=requests,
            input_lengths=_lengths(rng.lognormal(habits.log_length, 0.8, requests)),
            languages=(("zh", requests - english), ("en", english)),
            ngrams=tuple(int(n) for n in ngrams),
            output_lengths=_lengths(rng.lognormal(4.5, 0.7, requests)),
            faults=int(rng.binomial(requests, habits.faults)),
            ratings=tuple(int(n) for n in rng.multinomial(requests // 20, habits.ratings)),
        )

    def parts(self, requests: int) -> list[Window]:
        """A day, hour by hour."""
        return [Window.empty(hour, hour + 1).plus(self.tally(requests, hour)) for hour in range(HOURS)]


def measure_drift(versions: int, looks: int, requests_an_hour: int, seed: int) -> dict[str, object]:
    """False alerts over many days without a change, and how many changes are seen on their first day."""
    alarms = np.zeros((versions, looks), dtype=bool)
    seen: dict[str, list[str]] = {change: [] for change in CHANGES}
    for version in range(versions):
        city = City(seed + version)
        parts = city.parts(requests_an_hour)
        known = reference(together(parts), parts)
        for look in range(looks):
            alarms[version, look] = compare(known, together(city.parts(requests_an_hour)), look + 1, ALPHA).level != ""
        for change, habits in CHANGES.items():
            city.habits = habits
            drift = compare(known, together(city.parts(requests_an_hour)), looks + 1, ALPHA)
            seen[change].append(drift.level)
    return {
        "versions": versions,
        "windows_of_each": looks,
        "requests_a_window": requests_an_hour * HOURS,
        "versions_with_a_false_alert_ratio": float(alarms.any(axis=1).mean()),
        "changes": [
            {
                "change": change,
                "seen_ratio": float(np.mean([level != "" for level in levels])),
                "level": _middle(levels),
            }
            for change, levels in seen.items()
        ],
    }


def _middle(levels: list[str]) -> str:
    order = sorted(LEVELS.index(level) for level in levels)
    return LEVELS[order[len(order) // 2]]


def _lengths(lengths: NDArray[np.float64]) -> tuple[int, ...]:
    bins = np.minimum(np.floor(np.log2(np.maximum(lengths, 1))).astype(int) + 1, LENGTH_BINS - 1)
    return tuple(int(n) for n in np.bincount(bins, minlength=LENGTH_BINS))
