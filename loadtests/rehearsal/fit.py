"""From measured times to coefficients: least squares of relative errors in which no part can be negative."""

import math
import statistics
from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
from scipy.optimize import nnls

from cluster.errors import UserError
from loadtests.rehearsal.measuring import Row

# A median's spread is that of a normal distribution over this.
_MAD: Final = 0.6745
_MOST_SIGMA: Final = 0.5
_LEAST_ROWS: Final = 8
# Where the cost of answers may begin to grow faster, in answers; and how much smaller the mean error must then be.
_BENDS: Final = (2, 4, 6, 8)
_WORTH_A_BEND: Final = 0.01


class Coefficients(NamedTuple):
    """As in `Timing`, seconds."""

    request_overhead_s: float
    base_s: float
    per_prefill_token_s: float
    per_prefill_token_context_s: float
    per_sequence_s: float
    per_context_token_s: float
    per_sequence_beyond_s: float = 0.0
    flat_sequences: int = 0


def fitted(rows: Sequence[Row]) -> tuple[Coefficients, float]:
    """The coefficients that come nearest, and the median relative error of the rows. Raises UserError for too few.

    Lawson and Hanson's algorithm (Solving Least Squares Problems, 1974, chapter 23), as in SciPy. The rows are medians
    of repeated measurements already; those that remain far off are taken out once, a quarter of all at most. A bend in
    the cost of answers is taken only where it makes the fit clearly better.
    """
    if len(rows) < _LEAST_ROWS:
        raise UserError(f"only {len(rows)} kinds of requests could be measured; {_LEAST_ROWS} are needed for a fit")
    found = _trimmed(rows, 0)
    bent = min((_trimmed(rows, bend) for bend in _BENDS), key=lambda one: _mean_error(one, rows))
    if _mean_error(bent, rows) < _mean_error(found, rows) - _WORTH_A_BEND:
        found = bent
    return found, statistics.median(abs(ratio) for ratio in _errors(found, rows))


def noise_of(streams: Sequence[Sequence[float]]) -> float:
    """Sigma of the lognormal around each stream's own median gap."""
    logs = []
    for gaps in streams:
        steady = [gap for gap in gaps if gap > 0]
        if len(steady) > 2:
            middle = statistics.median(steady)
            logs += [abs(math.log(gap / middle)) for gap in steady]
    return min(_MOST_SIGMA, statistics.median(logs) / _MAD) if logs else 0.0


def _trimmed(rows: Sequence[Row], bend: int) -> Coefficients:
    found = _solved(rows, bend)
    errors = [abs(ratio) for ratio in _errors(found, rows)]
    limit = max(5 * statistics.median(errors), statistics.quantiles(errors, n=4)[2], 0.05)
    return _solved([row for row, error in zip(rows, errors, strict=True) if error <= limit], bend)


def _solved(rows: Sequence[Row], bend: int) -> Coefficients:
    left = np.array([_parts(row, bend) for row in rows], dtype=float)
    right = np.array([row.seconds for row in rows])
    left /= right[:, None]
    # Pairs count millions and overheads one: columns of like size keep the solver exact.
    scale = np.linalg.norm(left, axis=0)
    scale[scale == 0] = 1
    solution, _ = nnls(left / scale, np.ones(len(rows)))
    overhead, base, prefill, pair, sequence, context, beyond = (float(one) for one in solution / scale)
    return Coefficients(overhead, base, prefill, pair, sequence, context, beyond, bend)


def _mean_error(found: Coefficients, rows: Sequence[Row]) -> float:
    return statistics.fmean(abs(ratio) for ratio in _errors(found, rows))


def _errors(found: Coefficients, rows: Sequence[Row]) -> list[float]:
    return [
        (sum(part * one for part, one in zip(_parts(row, found.flat_sequences), found[:-1], strict=True)) - row.seconds)
        / row.seconds
        for row in rows
    ]


def _parts(row: Row, bend: int) -> tuple[float, ...]:
    """In the order of the coefficients."""
    beyond = max(0.0, row.sequences - bend * row.steps) if bend else 0.0
    return (
        row.overheads, row.steps, row.prefill_tokens, row.prefill_pairs, row.sequences, row.context_tokens, beyond,
    )  # fmt: skip
