"""Samples as columns of numbers: a million of them become figures within seconds."""

from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass, fields
from operator import attrgetter, itemgetter
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from loadtests.plan import Slo
from loadtests.records.sample import Sample

Numbers = NDArray[np.float64]
Whole = NDArray[np.int64]
Yes = NDArray[np.bool_]

UNSTREAMED: Final = "chat"
"""The only kind whose answers come in one piece: see `loadtests.plan.Kind`."""
_FIELD: Final = {name: index for index, name in enumerate(Sample._fields)}


@dataclass(frozen=True, slots=True)
class Coded:
    """A column of texts, each as its place in `names`."""

    codes: Whole
    names: tuple[str, ...]

    @classmethod
    def of(cls, texts: Iterable[str], count: int) -> Self:
        """In the order in which they are seen first."""
        seen: dict[str, int] = {}
        codes = np.fromiter((seen.setdefault(text, len(seen)) for text in texts), np.int64, count)
        return cls(codes, tuple(seen))

    def are(self, name: str) -> Yes:
        """Where this text stands."""
        return self.codes == self.names.index(name) if name in self.names else np.zeros(len(self.codes), bool)

    def counts(self) -> dict[str, int]:
        """How often each text stands there, most frequent first; of the same number, by name."""
        counts = np.bincount(self.codes, minlength=len(self.names)).tolist()
        found = [(name, count) for name, count in zip(self.names, counts, strict=True) if count]
        return dict(sorted(found, key=lambda pair: (-pair[1], pair[0])))


@dataclass(frozen=True, slots=True)
class Columns:
    """One place for each request, in the order of the samples. Seconds; not a number where there is none."""

    at_s: Numbers
    lag_s: Numbers
    stage: Whole
    is_answered: Yes
    """Without an error."""
    is_streamed: Yes
    ttft_s: Numbers
    tpot_s: Numbers
    e2e_s: Numbers
    max_itl_s: Numbers
    prompt_tokens: Whole
    completion_tokens: Whole
    cached_tokens: Numbers
    tool_calls: Whole
    is_right: Numbers
    """1, 0, or not a number where nobody can tell."""
    has_moved: Numbers
    """1 where another model answered than in the conversation's turn before, 0 where the same one did, not a number
    where there was no turn before or one of the two has no answer."""
    error: Coded
    answered_by: Coded
    kind: Coded
    language: Coded
    difficulty: Coded
    tenant: Coded
    level: Coded

    @classmethod
    def of(cls, samples: Sequence[Sample]) -> Self:
        """Out of samples in any order. For `has_moved` all turns of a conversation must be among them."""
        error, answered_by, kind = (_texts(samples, name) for name in ("error", "answered_by", "kind"))
        is_answered = error.are("")
        return cls(
            at_s=_numbers(samples, "at_s"),
            lag_s=_numbers(samples, "lag_s"),
            stage=_whole(samples, "stage"),
            is_answered=is_answered,
            is_streamed=~kind.are(UNSTREAMED),
            ttft_s=_numbers(samples, "ttft_s"),
            tpot_s=_numbers(samples, "tpot_s"),
            e2e_s=_numbers(samples, "e2e_s"),
            max_itl_s=_numbers(samples, "max_itl_s"),
            prompt_tokens=_whole(samples, "prompt_tokens"),
            completion_tokens=_whole(samples, "completion_tokens"),
            cached_tokens=_numbers(samples, "cached_tokens"),
            tool_calls=_whole(samples, "tool_calls"),
            is_right=_numbers(samples, "is_right"),
            has_moved=_moves(samples, is_answered, answered_by),
            error=error,
            answered_by=answered_by,
            kind=kind,
            language=_texts(samples, "language"),
            difficulty=_texts(samples, "difficulty"),
            tenant=_texts(samples, "tenant"),
            level=_texts(samples, "level"),
        )

    def __len__(self) -> int:
        return len(self.at_s)

    def where(self, chosen: Yes) -> "Columns":
        """Only those requests."""
        read = attrgetter(*_NAMES)(self)
        return Columns(*(_chosen(column, chosen) for column in read))

    def text(self, name: str) -> Coded:
        """A column of texts by its name."""
        column: Coded = getattr(self, name)
        return column

    @property
    def first_s(self) -> Numbers:
        """Due to first token; of unstreamed answers to the whole: what a caller feels."""
        return self.lag_s + self.ttft_s

    @property
    def done_s(self) -> Numbers:
        """When the last byte came, since the run began."""
        return self.at_s + self.lag_s + self.e2e_s

    def met(self, slo: Slo) -> Yes:
        """Which of them meet what was promised; the same rule as `loadtests.judging.slo.meets`."""
        met = self.is_answered.copy()
        if slo.ttft_s is not None:
            met &= self.first_s <= slo.ttft_s
        if slo.tpot_s is not None:
            met &= np.isnan(self.tpot_s) | (self.tpot_s <= slo.tpot_s)
        if slo.e2e_s is not None:
            met &= self.lag_s + self.e2e_s <= slo.e2e_s
        return met

    def in_stages(self, stages: Container[int]) -> Yes:
        """Where the request belongs to one of these stages."""
        known = [stage for stage in np.unique(self.stage).tolist() if stage in stages]
        return np.isin(self.stage, known)


_NAMES: Final = tuple(one.name for one in fields(Columns))


def _chosen(column: Any, chosen: Yes) -> Any:
    return Coded(column.codes[chosen], column.names) if isinstance(column, Coded) else column[chosen]


def _column(samples: Sequence[Sample], name: str) -> Iterable[Any]:
    return map(itemgetter(_FIELD[name]), samples)


def _numbers(samples: Sequence[Sample], name: str) -> Numbers:
    # numpy reads None as not a number.
    return np.array(list(_column(samples, name)), dtype=np.float64)


def _whole(samples: Sequence[Sample], name: str) -> Whole:
    return np.fromiter(_column(samples, name), np.int64, len(samples))


def _texts(samples: Sequence[Sample], name: str) -> Coded:
    return Coded.of(_column(samples, name), len(samples))


def _moves(samples: Sequence[Sample], is_answered: Yes, answered_by: Coded) -> Numbers:
    worker, person, turn = (_whole(samples, name) for name in ("worker", "person", "turn"))
    moved = np.full(len(samples), np.nan)
    order = np.lexsort((turn, person, worker))
    before, after = order[:-1], order[1:]
    is_known = is_answered & ~answered_by.are("")
    is_next = (
        (worker[before] == worker[after])
        & (person[before] == person[after])
        & (turn[before] + 1 == turn[after])
        & is_known[before]
        & is_known[after]
    )
    moved[after[is_next]] = answered_by.codes[before[is_next]] != answered_by.codes[after[is_next]]
    return moved
