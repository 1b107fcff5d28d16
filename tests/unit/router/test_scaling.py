"""How many replicas a load asks for."""

import math
import threading
import time
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.scaling import Load, LoadPolicy, ThreadMeter, loads_of, replicas_wanted

TARGET = Load(in_flight=100, busy_ratio=0.6)
LOADS = st.lists(st.builds(Load, in_flight=st.floats(0, 5000), busy_ratio=st.floats(0, 1)), min_size=1, max_size=20)


def busy(*ratios: float) -> list[Load]:
    return [Load(0, ratio) for ratio in ratios]


def test_a_loop_that_is_saturated_asks_for_a_second_however_few_requests_there_are() -> None:
    assert replicas_wanted(busy(1.0), TARGET, 1) == 2


def test_many_waiting_requests_ask_for_more_though_no_loop_is_busy() -> None:
    assert replicas_wanted([Load(950, 0.05)], TARGET, 1) == 10


def test_growth_goes_as_far_as_needed_at_once() -> None:
    assert replicas_wanted(busy(1.0, 1.0, 1.0), TARGET, 3) == 5


def test_what_just_fits_changes_nothing() -> None:
    assert replicas_wanted(busy(0.6, 0.6), TARGET, 2) == 2


def test_a_replica_is_kept_that_would_soon_be_asked_back() -> None:
    # One could carry 0.55 of its 0.6; at the next request more it would ask for help.
    assert replicas_wanted(busy(0.3, 0.25), TARGET, 2) == 2
    assert replicas_wanted(busy(0.2, 0.2), TARGET, 2) == 1


def test_without_any_report_it_stays_as_it_is() -> None:
    assert replicas_wanted([], TARGET, 3) == 3


def test_replicas_that_are_still_starting_are_not_asked_for_again() -> None:
    # One reports, and the second that it needs has been ordered already.
    assert replicas_wanted(busy(1.0), TARGET, 2) == 2


def test_quiet_leaves_one() -> None:
    assert replicas_wanted(busy(0.0, 0.0, 0.0), TARGET, 3) == 1


@given(LOADS, st.integers(1, 64))
def test_whatever_is_decided_stands_under_the_same_load(loads: list[Load], now: int) -> None:
    """No swinging: the load that led to a number does not lead away from it."""
    wanted = replicas_wanted(loads, TARGET, now)
    assert wanted >= 1
    assert replicas_wanted(loads, TARGET, wanted) == wanted


@given(LOADS, st.integers(1, 64))
def test_what_is_given_up_leaves_the_others_below_their_target(loads: list[Load], now: int) -> None:
    wanted = replicas_wanted(loads, TARGET, now)
    if wanted < now:
        assert math.fsum(load.in_flight for load in loads) / wanted <= TARGET.in_flight * 0.7 + 1e-6
        assert math.fsum(load.busy_ratio for load in loads) / wanted <= TARGET.busy_ratio * 0.7 + 1e-6


def test_serve_s_metrics_are_read_by_replica_and_half_reports_left_out() -> None:
    metrics = {"in_flight": {"a": 5.0, "b": 7.0}, "busy_ratio": {"a": 0.5}, "running_requests": {"a": 1.0}}
    assert loads_of(metrics) == [Load(5.0, 0.5)]


@pytest.mark.parametrize("metrics", [None, {}])
def test_the_policy_holds_where_serve_knows_nothing(metrics: object) -> None:
    context = SimpleNamespace(aggregated_metrics=metrics, target_num_replicas=4)
    assert LoadPolicy(100, 0.6)(context) == (4, {})


def test_the_policy_counts_from_what_has_been_ordered() -> None:
    metrics = {"in_flight": {"a": 0.0, "b": 0.0}, "busy_ratio": {"a": 1.0, "b": 1.0}}
    context = SimpleNamespace(aggregated_metrics=metrics, target_num_replicas=2)
    assert LoadPolicy(100, 0.6)(context) == (4, {})


def test_a_meter_tells_a_thread_that_works_from_one_that_waits() -> None:
    is_over, may_work = threading.Event(), threading.Event()

    def work() -> None:
        may_work.wait(10)
        while not is_over.is_set():
            sum(range(10_000))

    thread = threading.Thread(target=work)
    thread.start()
    assert thread.ident is not None
    meter = ThreadMeter(thread.ident)
    time.sleep(0.2)
    assert meter.busy_ratio() < 0.1
    may_work.set()
    time.sleep(0.5)
    # A whole core on a quiet machine; others may take half of it.
    assert meter.busy_ratio() > 0.2
    is_over.set()
    thread.join(10)
