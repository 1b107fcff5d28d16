import math

import pytest

from loadtests.metrics_page import Histogram, grown, growth, histogram, page_of, total

BEFORE = """\
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="m"} 2.0
# TYPE vllm:prefix_cache_hits counter
vllm:prefix_cache_hits_total{engine="0"} 100.0
# TYPE vllm:request_queue_time_seconds histogram
vllm:request_queue_time_seconds_bucket{le="0.3"} 10.0
vllm:request_queue_time_seconds_bucket{le="1.0"} 10.0
vllm:request_queue_time_seconds_bucket{le="+Inf"} 10.0
vllm:request_queue_time_seconds_count 10.0
vllm:request_queue_time_seconds_sum 1.0
# TYPE fenzhen_relieved counter
fenzhen_relieved_total{from="small",to="large"} 4.0
"""
AFTER = """\
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="m"} 3.0
vllm:num_requests_running{engine="1",model_name="m"} 4.0
# TYPE vllm:prefix_cache_hits counter
vllm:prefix_cache_hits_total{engine="0"} 160.0
# TYPE vllm:request_queue_time_seconds histogram
vllm:request_queue_time_seconds_bucket{le="0.3"} 20.0
vllm:request_queue_time_seconds_bucket{le="1.0"} 30.0
vllm:request_queue_time_seconds_bucket{le="+Inf"} 30.0
vllm:request_queue_time_seconds_count 30.0
vllm:request_queue_time_seconds_sum 11.0
# TYPE fenzhen_relieved counter
fenzhen_relieved_total{from="small",to="large"} 9.0
# TYPE fenzhen_retries counter
fenzhen_retries_total{model="small"} 0.0
"""


def test_a_gauge_is_added_up_over_its_labels() -> None:
    assert total(page_of(AFTER), "vllm:num_requests_running") == 7
    assert total(page_of(AFTER), "no:such_metric") is None


def test_a_counter_is_told_by_how_much_it_grew() -> None:
    before, after = page_of(BEFORE), page_of(AFTER)
    assert growth(before, after, "vllm:prefix_cache_hits_total") == 60
    assert growth({}, after, "vllm:prefix_cache_hits_total") == 160
    assert growth(before, after, "no:such_total") is None


def test_a_counter_that_began_anew_tells_nothing() -> None:
    assert growth(page_of(AFTER), page_of(BEFORE), "vllm:prefix_cache_hits_total") is None
    assert histogram(page_of(AFTER), page_of(BEFORE), "vllm:request_queue_time_seconds") is None


def test_only_counters_that_grew_are_listed_by_their_labels() -> None:
    assert grown(page_of(BEFORE), page_of(AFTER), "fenzhen_") == {'fenzhen_relieved_total{from="small",to="large"}': 5}


def test_a_histogram_gives_quantiles_of_what_was_added() -> None:
    added = histogram(page_of(BEFORE), page_of(AFTER), "vllm:request_queue_time_seconds")
    assert added is not None
    assert (added.count, added.sum) == (20, 10)
    assert added.bounds == (0.3, 1.0, math.inf)
    # Half lies at or below 0.3, the rest evenly up to 1.
    assert added.quantile(0.25) == pytest.approx(0.15)
    assert added.quantile(0.5) == pytest.approx(0.3)
    assert added.quantile(0.75) == pytest.approx(0.65)


def test_an_empty_queue_has_no_long_wait_because_its_first_bucket_is_wide() -> None:
    added = Histogram(count=100, sum=0.002, bounds=(0.3, math.inf), below=(100, 100))
    assert added.quantile(0.5) == pytest.approx(0.00004)
    assert added.quantile(0.99) == pytest.approx(0.002)


def test_what_lies_beyond_the_last_bound_is_told_as_that_bound() -> None:
    lines = [line for line in AFTER.splitlines() if 'le="1.0"' not in line]
    added = histogram({}, page_of("\n".join(lines) + "\n"), "vllm:request_queue_time_seconds")
    assert added is not None
    assert added.quantile(0.99) == 0.3


def test_an_empty_histogram_has_no_quantile() -> None:
    added = histogram(page_of(AFTER), page_of(AFTER), "vllm:request_queue_time_seconds")
    assert added is not None
    assert added.quantile(0.5) is None


def test_what_is_no_page_of_metrics_is_an_error() -> None:
    with pytest.raises(ValueError, match="invalid metric name"):
        page_of("<html> this is no number\n")
