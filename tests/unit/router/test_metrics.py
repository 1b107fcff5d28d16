"""The page that Prometheus reads."""

from prometheus_client.parser import text_string_to_metric_families

from router.metrics import RouterMetrics
from router.pressure import Pressure, Seen


def samples(metrics: RouterMetrics) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    families = text_string_to_metric_families(metrics.page().decode())
    return {(s.name, tuple(sorted(s.labels.items()))): s.value for family in families for s in family.samples}


def test_a_distribution_is_written_as_a_cumulative_histogram() -> None:
    metrics = RouterMetrics(("small",))
    for value in (0.1, 0.1000001, 0.55, 1.0, 1.5):
        metrics.difficulty.observe(value)
    page = samples(metrics)

    def bucket(bound: str) -> float:
        return page["fenzhen_difficulty_ratio_bucket", (("le", bound),)]

    assert [bucket(bound) for bound in ("0.1", "0.2", "0.5", "0.6", "1.0", "+Inf")] == [1, 2, 2, 3, 4, 5]
    assert page["fenzhen_difficulty_ratio_count", ()] == 5
    assert abs(page["fenzhen_difficulty_ratio_sum", ()] - 3.2500001) < 1e-9


def test_every_model_on_duty_is_on_the_first_page() -> None:
    page = samples(RouterMetrics(("small", "large")))
    assert page["fenzhen_choices_total", (("by", "auto"), ("model", "large"))] == 0
    assert page["fenzhen_request_duration_seconds_count", (("model", "small"),)] == 0
    assert page["fenzhen_in_flight", ()] == 0


def test_counts_are_kept_by_model_and_status() -> None:
    metrics = RouterMetrics(("small",))
    metrics.of("").answered(404)
    metrics.of("small").answered(200)
    metrics.of("small").answered(200)
    metrics.of("small").retries += 1
    page = samples(metrics)
    assert page["fenzhen_requests_total", (("model", ""), ("status", "404"))] == 1
    assert page["fenzhen_requests_total", (("model", "small"), ("status", "200"))] == 2
    assert page["fenzhen_retries_total", (("model", "small"),)] == 1
    assert ("fenzhen_choices_total", (("by", "auto"), ("model", ""))) not in page


def test_how_full_the_pools_are_and_what_was_moved_is_told_by_model() -> None:
    metrics = RouterMetrics(("small", "large"))
    pressure = Pressure(("small", "large"), from_ratio=0.85, max_relief=0.15)
    metrics.gauges = pressure.gauges
    for now_s in range(60):
        pressure.look({"small": Seen(32, 64.0), "large": Seen(8, 4.0)}, float(now_s))
    metrics.relieved["large", "small"] = 3
    metrics.switched["small", "large"] = 2
    page = samples(metrics)
    assert abs(page["fenzhen_load_ratio", (("model", "small"),)] - 0.5) < 0.001
    assert page["fenzhen_relief_ratio", (("model", "small"),)] == 0
    assert page["fenzhen_relief_ratio", (("model", "large"),)] == 0.15
    assert page["fenzhen_relieved_total", (("from", "large"), ("to", "small"))] == 3
    assert page["fenzhen_conversation_switches_total", (("from", "small"), ("to", "large"))] == 2
