import math

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from registry.judging.harm import ALTERNATIVES, Counts, Harm, Lines, expected, growth
from registry.judging.intervals import Intervals

SHARES = st.floats(0, 1)


def line(rise: float, extra: float) -> Lines:
    return Lines(np.array([1.0]), np.array([0.01]), np.array([rise]), np.array([extra]))


def chance(k: int, n: int, share: float) -> float:
    return math.comb(n, k) * share**k * (1 - share) ** (n - k)


def block(n_a: int, k_a: int, n_b: int, k_b: int) -> Counts:
    return Counts(np.array([[n_a], [n_b]], dtype=float), np.array([[k_a], [k_b]], dtype=float))


@settings(max_examples=60, deadline=None)
@given(
    n_a=st.integers(1, 6),
    n_b=st.integers(1, 6),
    guess=SHARES,
    stable=SHARES,
    below=SHARES,
    rise=st.floats(1, 1.5),
    extra=st.floats(0, 0.1),
)
def test_where_nothing_is_harmed_an_e_variable_has_a_mean_of_at_most_one(
    n_a: int, n_b: int, guess: float, stable: float, below: float, rise: float, extra: float
) -> None:
    canary = below * min(1.0, extra + rise * stable)
    mean = np.zeros(ALTERNATIVES)
    for k_a in range(n_a + 1):
        for k_b in range(n_b + 1):
            here = chance(k_a, n_a, stable) * chance(k_b, n_b, canary)
            mean += here * np.exp(growth(block(n_a, k_a, n_b, k_b), np.array([guess]), line(rise, extra))[0])
    assert mean.max() <= 1 + 1e-9


@given(
    n=st.lists(st.integers(0, 500), min_size=2, max_size=2),
    shares=st.lists(SHARES, min_size=2, max_size=2),
    guess=st.one_of(SHARES, st.sampled_from([0.0, 1.0, 1e-300])),
    rise=st.floats(1, 3),
)
def test_no_counts_make_an_e_value_that_is_no_number(
    n: list[int], shares: list[float], guess: float, rise: float
) -> None:
    k = [int(count * share) for count, share in zip(n, shares, strict=True)]
    found = growth(block(n[0], k[0], n[1], k[1]), np.array([guess]), line(rise, 0.01))
    assert np.isfinite(found).all()
    if 0 in n:
        assert (found == 0).all()


def test_an_e_process_grows_about_as_fast_as_the_best_test_that_knows_both_shares() -> None:
    rng = np.random.default_rng(1)
    n, p, q = 40_000, 0.01, 0.03
    found = growth(block(n, rng.binomial(n, p), n, rng.binomial(n, q)), np.array([p]), line(1.0, 0.0))
    middle = (p + q) / 2
    best = sum(s * np.log(s / middle) + (1 - s) * np.log((1 - s) / (1 - middle)) for s in (p, q))
    assert found.max() > 0.85 * n * best


def test_harmless_rollouts_rarely_alarm_although_they_are_looked_at_after_every_answer() -> None:
    rng = np.random.default_rng(2)
    runs, alpha = 2000, 0.1
    lines = line(1.0, 0.0)
    harm, past, alarmed = Harm(lines, (runs,)), Counts.none(1, (runs,)), np.zeros(runs, dtype=bool)
    for moment in range(300):
        share = 0.2 + 0.15 * np.sin(moment / 20)
        now = Counts(np.ones((runs, 2, 1)), (rng.random((runs, 2, 1)) < share).astype(float))
        harm.take(now, expected(past, past, lines.usual)[:, 0])
        past.add(now)
        alarmed |= harm.log_total() >= -np.log(alpha)
    # 3 standard errors above what is allowed; and it is a test that does alarm.
    assert 0 < alarmed.mean() < alpha + 3 * np.sqrt(alpha * (1 - alpha) / runs)


def test_a_confidence_sequence_holds_at_all_moments_and_over_unlike_splits() -> None:
    rng = np.random.default_rng(3)
    runs, confidence = 1000, 0.9
    intervals, past = Intervals(1, (runs,)), Counts.none(1, (runs,))
    low_missed, high_missed = np.zeros(runs, dtype=bool), np.zeros(runs, dtype=bool)
    for moment in range(200):
        share = 0.3 + 0.2 * np.sin(moment / 15)
        n = np.broadcast_to(np.array([[1.0 + moment % 7], [3.0]]), (runs, 2, 1))
        p = np.array([share, share + 0.05])[:, None]
        now = Counts(n, rng.binomial(n.astype(int), p).astype(float))
        intervals.take(now, expected(past, past, np.array([0.05])))
        past.add(now)
        low, high = intervals.bounds(confidence)
        low_missed |= low[:, 0] > 0.05
        high_missed |= high[:, 0] < 0.05
    assert max(low_missed.mean(), high_missed.mean()) < 0.1
    assert float(np.median(high - low)) < 0.3
    assert abs(float((intervals.total / intervals.weight).mean()) - 0.05) < 0.01
