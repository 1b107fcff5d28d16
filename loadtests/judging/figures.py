"""The figures of a run, or of a part of one: what tables, pages, comparisons and JSON are made of.

Where `vllm bench serve` has a figure of the same name it is defined in the same way (`calculate_metrics` in
vllm/benchmarks/serve.py): percentiles by linear interpolation over the requests without an error, throughput over the
time from the first request to the last answer. docs/load-figures.md lists them all.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from loadtests.counting import wilson
from loadtests.judging.columns import Columns, Numbers
from loadtests.plan import Slo
from loadtests.records.gaps import gap_s_of, percentile_s
from loadtests.records.sample import Sample

UNKNOWN: Final = "unknown"
"""The model of answers that do not say who gave them."""


@dataclass(frozen=True, slots=True)
class Spread:
    """How a duration is distributed, seconds. Percentiles by linear interpolation, as numpy and vLLM's benchmark do."""

    count: int
    mean_s: float
    p50_s: float
    p90_s: float
    p95_s: float
    p99_s: float
    max_s: float


@dataclass(frozen=True, slots=True)
class Right:
    """Labelled questions answered, with the Wilson interval of the share, 95 %."""

    right: int
    marked: int
    low_ratio: float
    high_ratio: float


@dataclass(frozen=True, slots=True)
class Figures:
    """Of all requests of a slice that are no warm-up."""

    requests: int
    """Due in the slice, whatever became of them."""
    answered: int
    """Without an error."""
    errors: dict[str, int]
    """By kind, most frequent first."""
    seconds: float
    """Of the stages that the slice covers, without the drain."""
    offered_rps: float
    """Due a second."""
    completed_rps: float
    """Answered without an error, over `seconds` and, if the last answers came later, the time until then."""
    goodput_rps: float
    """The same, of those that meet the SLO."""
    met_ratio: float
    """Part of all requests that meet the SLO; errors do not."""
    ttft: Spread | None
    """Sent to first token; streams only. None where there is none."""
    first: Spread | None
    """Due to first token (streams) or whole answer (others): what callers feel."""
    tpot: Spread | None
    itl: Spread | None
    """Every gap between pieces, from buckets 1 % wide."""
    e2e: Spread | None
    """Sent to the last byte."""
    lag: Spread | None
    """What the generator itself added; open loop only."""
    prompt_tokens: int
    completion_tokens: int
    output_tokens_per_s: float
    cached_ratio: float | None
    """Part of the prompt tokens that the engines had cached, by usage; None where no engine says it."""
    shares: dict[str, float]
    """Part of the answers by the model that answered."""
    moved_ratio: float | None
    """Of later turns: those that another model answered than the one before; None without such turns."""
    right: Right | None
    tool_calls: int


def figures_of(samples: Sequence[Sample], slo: Slo, seconds: float, gaps: Mapping[int, int] | None = None) -> Figures:
    """The figures of these samples: none of a warm-up, all due within `seconds`. `gaps` are their gaps between tokens.

    `whole` and `slices_of` in `loadtests.judging.slices` know all that is to be known of a run: prefer them.
    """
    columns = Columns.of(samples)
    return figures_from(columns, slo, seconds, span_s_of(columns, seconds), gaps)


def span_s_of(columns: Columns, seconds: float, end_s: float | None = None) -> float:
    """What throughput is divided by: `seconds`, and on top what the last whole answer came after `end_s`, the end of
    that time (`seconds` after the first request due if not given). Of a batch that ends before its time pass the time
    from the first to the last request due as `seconds`: the span is then the duration of vLLM's benchmark."""
    done_s = columns.done_s[columns.is_answered]
    done_s = done_s[np.isfinite(done_s)]
    if not len(done_s):
        return seconds
    end_s = float(columns.at_s.min()) + seconds if end_s is None else end_s
    return seconds + max(0.0, float(done_s.max()) - end_s)


def figures_from(
    columns: Columns,
    slo: Slo,
    seconds: float,
    span_s: float,
    gaps: Mapping[int, int] | None = None,
    is_closed: bool = False,
) -> Figures:
    """The same from columns. `is_closed`: people asked on once answered, so there was no schedule to lag behind."""
    answered = columns.where(columns.is_answered)
    requests, met = len(columns), int(columns.met(slo).sum())
    streamed = answered.where(answered.is_streamed)
    models = {name or UNKNOWN: count for name, count in answered.answered_by.counts().items()}
    errors = {name: count for name, count in columns.error.counts().items() if name}
    tokens = int(answered.completion_tokens.sum())
    was_sent = ~columns.error.are("not_sent")
    return Figures(
        requests=requests,
        answered=len(answered),
        errors=errors,
        seconds=seconds,
        offered_rps=_ratio(requests, seconds) or 0.0,
        completed_rps=_ratio(len(answered), span_s) or 0.0,
        goodput_rps=_ratio(met, span_s) or 0.0,
        met_ratio=_ratio(met, requests) or 0.0,
        ttft=spread_of(streamed.ttft_s),
        first=spread_of(answered.first_s),
        tpot=spread_of(streamed.tpot_s),
        itl=spread_of_gaps(gaps) if gaps else None,
        e2e=spread_of(answered.e2e_s),
        lag=None if is_closed or not columns.lag_s.any() else spread_of(columns.lag_s[was_sent]),
        prompt_tokens=int(answered.prompt_tokens.sum()),
        completion_tokens=tokens,
        output_tokens_per_s=_ratio(tokens, span_s) or 0.0,
        cached_ratio=_cached_ratio(answered),
        shares={name: count / len(answered) for name, count in models.items()},
        moved_ratio=_mean(answered.has_moved),
        right=_right(columns),
        tool_calls=int(answered.tool_calls.sum()),
    )


def spread_of(values: Numbers) -> Spread | None:
    """How these seconds are distributed, those that are not a number left out; None if none is left."""
    values = values[~np.isnan(values)]
    if not len(values):
        return None
    p50, p90, p95, p99 = np.percentile(values, (50, 90, 95, 99)).tolist()
    return Spread(len(values), float(values.mean()), p50, p90, p95, p99, float(values.max()))


def spread_of_gaps(gaps: Mapping[int, int]) -> Spread | None:
    """The same of gaps that were counted in buckets; None for none."""
    count = sum(gaps.values())
    if not count:
        return None
    mean_s = sum(gap_s_of(bucket) * number for bucket, number in gaps.items()) / count
    p50, p90, p95, p99 = (percentile_s(gaps, ratio) or 0.0 for ratio in (0.5, 0.9, 0.95, 0.99))
    return Spread(count, mean_s, p50, p90, p95, p99, gap_s_of(max(bucket for bucket, number in gaps.items() if number)))


def _ratio(part: float, whole: float) -> float | None:
    return part / whole if whole else None


def _mean(values: Numbers) -> float | None:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else None


def _cached_ratio(answered: Columns) -> float | None:
    is_known = ~np.isnan(answered.cached_tokens)
    return _ratio(float(answered.cached_tokens[is_known].sum()), int(answered.prompt_tokens[is_known].sum()))


def _right(columns: Columns) -> Right | None:
    # Of what failed nobody can tell; the errors are counted beside it.
    marks = columns.is_right[~np.isnan(columns.is_right)]
    return Right(int(marks.sum()), len(marks), *wilson(int(marks.sum()), len(marks))) if len(marks) else None
