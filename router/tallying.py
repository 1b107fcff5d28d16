"""Windows of requests counted for the watch over drift: lengths, languages, pairs of characters. No text is kept."""

from dataclasses import dataclass, field
from typing import Final

import numpy as np

from cluster.outcomes import LENGTH_BINS, NGRAM_BINS, Tally
from router.languages import languages_of
from router.outcome import Finding

# Of one prompt: a long document must not outweigh a hundred questions.
MAX_CHARS: Final = 2000
NO_LANGUAGE: Final = "none"
RATING_BINS: Final = 5
# Two odd numbers of 32 bits without a pattern: the same letters fall into the same bin on every replica, in every
# version of ours. They must never change, or every reference window becomes worthless.
_FIRST: Final = np.uint32(0x9E3779B1)
_SECOND: Final = np.uint32(0x85EBCA77)


@dataclass(slots=True)
class _Window:
    requests: int = 0
    faults: int = 0
    input_lengths: list[int] = field(default_factory=lambda: [0] * LENGTH_BINS)
    output_lengths: list[int] = field(default_factory=lambda: [0] * LENGTH_BINS)
    languages: dict[str, int] = field(default_factory=dict)
    ngrams: np.ndarray = field(default_factory=lambda: np.zeros(NGRAM_BINS, np.int64))
    ratings: list[int] = field(default_factory=lambda: [0] * RATING_BINS)


class Tallies:
    """One window for each version of each name, from one `flush` to the next."""

    def __init__(self) -> None:
        self._windows: dict[tuple[str, int], _Window] = {}

    def add(self, finding: Finding) -> None:
        """Count one request."""
        question, outcome = finding.question, finding.outcome
        window = self._windows.setdefault((outcome.name, outcome.version), _Window())
        window.requests += 1
        window.faults += finding.is_fault
        window.input_lengths[bin_of(question.chars)] += 1
        window.output_lengths[bin_of(outcome.output_tokens)] += 1
        text = question.text[:MAX_CHARS]
        for language in languages_of(text) or (NO_LANGUAGE,):
            window.languages[language] = window.languages.get(language, 0) + 1
        window.ngrams += pairs_in(text)

    def rated(self, name: str, version: int, rating: int) -> None:
        """Count what somebody says of an answer, 1 to 5."""
        self._windows.setdefault((name, version), _Window()).ratings[rating - 1] += 1

    def flush(self) -> tuple[Tally, ...]:
        """What was counted since the last time; a new window begins. Ratings wait for requests to be told with."""
        windows = {key: window for key, window in self._windows.items() if window.requests}
        self._windows = {key: window for key, window in self._windows.items() if not window.requests}
        return tuple(
            Tally(
                name,
                version,
                window.requests,
                tuple(window.input_lengths),
                tuple(sorted(window.languages.items())),
                tuple(window.ngrams.tolist()),
                tuple(window.output_lengths),
                window.faults,
                tuple(window.ratings) if any(window.ratings) else (),
            )
            for (name, version), window in sorted(windows.items())
        )


def bin_of(length: int) -> int:
    """The bin of a length: bin b holds 2**(b-1) to 2**b - 1."""
    return min(length.bit_length(), LENGTH_BINS - 1)


def pairs_in(text: str) -> np.ndarray:
    """How many of a text's pairs of neighbouring characters fall into each bin, by the first of its hash."""
    points = np.frombuffer(text.lower().encode("utf-32-le", "surrogatepass"), np.uint32)
    # Multiplication wraps round, as it should.
    mixed = points[:-1] * _FIRST ^ points[1:] * _SECOND
    return np.bincount((mixed >> np.uint32(16)) % NGRAM_BINS, minlength=NGRAM_BINS)
