"""What the router counts. Labels hold names from the configuration only, never a caller's words."""

from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

CONTENT_TYPE: Final = b"text/plain; version=1.0.0; charset=utf-8"
_TIMES_S: Final = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
_TENTHS: Final = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)


class RouterMetrics:
    """One replica's counters, in a registry of its own so that tests do not share one."""

    def __init__(self) -> None:
        registry = self._registry = CollectorRegistry()
        self._requests = Counter(
            "fenzhen_requests", "Requests answered, by model that answered and HTTP status.", ["model", "status"],
            registry=registry,
        )  # fmt: skip
        self._choices = Counter(
            "fenzhen_choices", "Model choices, by model and by who chose: auto or the caller.", ["model", "by"],
            registry=registry,
        )  # fmt: skip
        self._duration = Histogram(
            "fenzhen_request_duration_seconds", "From the whole request to the end of its answer.", ["model"],
            buckets=_TIMES_S, registry=registry,
        )  # fmt: skip
        self._first_byte = Histogram(
            "fenzhen_time_to_first_byte_seconds", "From the whole request to the first byte of the answer's body.",
            ["model"], buckets=_TIMES_S, registry=registry,
        )  # fmt: skip
        self._engine_failures = Counter(
            "fenzhen_engine_failures", "Exchanges that an engine broke before its answer was complete.", ["model"],
            registry=registry,
        )  # fmt: skip
        self._hang_ups = Counter(
            "fenzhen_client_hang_ups", "Requests whose client left before the answer was complete.", ["model"],
            registry=registry,
        )  # fmt: skip
        self.difficulty = Histogram(
            "fenzhen_difficulty_ratio", "Difficulty of the queries, 0 to 1.", buckets=_TENTHS, registry=registry
        )
        self.in_flight = Gauge("fenzhen_in_flight", "Requests being answered now.", registry=registry)
        self._requests_of: dict[tuple[str, int], Counter] = {}
        self._choices_of: dict[tuple[str, str], Counter] = {}
        self._times_of: dict[str, tuple[Histogram, Histogram]] = {}

    # `labels` builds a key from strings each time; the few children that exist are kept instead.

    def answered(self, model: str, status: int) -> None:
        """One request has its answer. `model` is "" where none was chosen."""
        child = self._requests_of.get((model, status))
        if child is None:
            child = self._requests_of[model, status] = self._requests.labels(model, str(status))
        child.inc()

    def chosen(self, model: str, by: str) -> None:
        """One model was chosen."""
        child = self._choices_of.get((model, by))
        if child is None:
            child = self._choices_of[model, by] = self._choices.labels(model, by)
        child.inc()

    def took(self, model: str, duration_s: float, first_byte_s: float) -> None:
        """One answer was relayed whole."""
        children = self._times_of.get(model)
        if children is None:
            children = self._times_of[model] = (self._duration.labels(model), self._first_byte.labels(model))
        children[0].observe(duration_s)
        children[1].observe(first_byte_s)

    def engine_failed(self, model: str) -> None:
        """An engine broke an exchange."""
        self._engine_failures.labels(model).inc()

    def client_hung_up(self, model: str) -> None:
        """A client left early."""
        self._hang_ups.labels(model).inc()

    def page(self) -> bytes:
        """The text that Prometheus reads."""
        return generate_latest(self._registry)
