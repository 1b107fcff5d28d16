"""Versions of an adapter over a real engine: a good one is promoted, and each of five broken ones rolled back."""

import pytest

from loadtests.rollout_bench.broken import KINDS, measure, table

# Two cores answer a few requests a second, and each verdict wants dozens of them.
pytestmark = pytest.mark.timeout(1800)

WANTED_BACK_S = 5.0


def test_a_good_version_is_promoted_by_itself_and_each_broken_one_rolled_back() -> None:
    # One large step: half of few requests is soon enough for a verdict.
    found = measure(print, steps="50")
    broken = found.broken
    print(table(broken))
    assert found.promoted.promoted
    assert [each.kind for each in broken] == list(KINDS)
    assert found.promoted.requests_lost == 0
    for each in broken:
        assert each.rolled_back, each
        assert each.requests_lost == 0
        assert each.back_on_stable_s < WANTED_BACK_S
        # Callers of the version that fails are answered by stable: an error that nobody sees.
        assert each.requests_failed == 0
