"""What all rounds say together: medians, the spread over rounds, and ratios within rounds."""

import statistics
from collections.abc import Iterable, Sequence
from typing import Any, Final

from loadtests.router_bench.sample import FIGURES, Sample

BASE: Final = "vllm-router"
ROWS: Final = (
    "haproxy", "vllm-router", "sglang-router", "litellm", "fenzhen-plain", "fenzhen-auto", "fenzhen-full"
)  # fmt: skip
"""Every row that there can be, as tables and pictures show them."""

Cells = dict[str, dict[str, float]]
"""Figures by key and then by candidate."""


def names_of(samples: Iterable[Sample]) -> tuple[str, ...]:
    """The candidates, always in the same order, whatever the lot said."""
    return tuple(sorted({sample.name for sample in samples}, key=ROWS.index))


def values_of(samples: Iterable[Sample], key: str, name: str) -> list[float]:
    """One figure of one candidate in each round that has it."""
    return [sample.figures[key] for sample in samples if sample.name == name and key in sample.figures]


def medians(samples: Sequence[Sample]) -> Cells:
    """The median over rounds."""
    return {
        figure.key: {
            name: statistics.median(values)
            for name in names_of(samples)
            if (values := values_of(samples, figure.key, name))
        }
        for figure in FIGURES
    }


def spreads(samples: Sequence[Sample]) -> dict[str, dict[str, tuple[float, float]]]:
    """The lowest and the highest round."""
    return {
        figure.key: {
            name: (min(values), max(values))
            for name in names_of(samples)
            if (values := values_of(samples, figure.key, name))
        }
        for figure in FIGURES
    }


def ratios(samples: Sequence[Sample], base: str = BASE) -> Cells:
    """How many times the base's figure of the same round, the median of that over rounds."""
    cells: Cells = {}
    for figure in FIGURES:
        if "added" in figure.key:
            # What is added may be nothing or, by chance, less: that is compared by difference.
            continue
        in_round = {s.round: s.figures[figure.key] for s in samples if s.name == base and figure.key in s.figures}
        row: dict[str, float] = {}
        for name in names_of(samples):
            found = [
                s.figures[figure.key] / in_round[s.round]
                for s in samples
                if s.name == name and figure.key in s.figures and in_round.get(s.round, 0) > 0
            ]
            if found:
                row[name] = statistics.median(found)
        if row:
            cells[figure.key] = row
    return cells


def document(samples: Sequence[Sample]) -> dict[str, Any]:
    """All of it, as it goes into the JSON file."""
    errors: dict[str, dict[str, int]] = {name: {} for name in names_of(samples)}
    for sample in samples:
        kinds = errors[sample.name]
        for kind, count in sample.errors.items():
            kinds[kind] = kinds.get(kind, 0) + count
    return {
        **_rounded(medians(samples)),
        "spread": {
            key: {name: [_round(low), _round(high)] for name, (low, high) in row.items()}
            for key, row in spreads(samples).items()
        },
        f"ratio_to_{BASE.replace('-', '_')}": _rounded(ratios(samples)),
        "errors": errors,
        "requests": {name: sum(s.requests for s in samples if s.name == name) for name in errors},
        "latencies": {name: sum(s.latencies for s in samples if s.name == name) for name in errors},
        "engine_surplus": {name: sum(s.engine_surplus for s in samples if s.name == name) for name in errors},
        "samples": [sample.model_dump() for sample in samples],
    }


def _rounded(cells: Cells) -> Cells:
    return {key: {name: _round(value) for name, value in row.items()} for key, row in cells.items()}


def _round(value: float) -> float:
    """Four digits after the point: to the tenth of a microsecond where milliseconds are counted."""
    return round(value, 4)
