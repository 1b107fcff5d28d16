"""What the router counts. Labels hold names of models and of what has versions only, never a caller's words.

Counting is plain additions on the one event loop: a counter of prometheus_client takes a lock and a histogram looks
through its buckets, together 10 microseconds a request. The library still writes the page.
"""

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from itertools import accumulate
from typing import Final

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from router.feedback_tally import FeedbackTally
from router.learning_tally import LearningTally
from router.pressure import Gauge
from router.side_tally import SideTally

CONTENT_TYPE: Final = b"text/plain; version=1.0.0; charset=utf-8"
_TIMES_S: Final = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
_TENTHS: Final = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)


class Distribution:
    """How often a value fell into each bucket."""

    __slots__ = ("_bounds", "_counts", "_sum")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def observe(self, value: float) -> None:
        """Count one value. A bucket holds what is at most its bound."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def add_to(self, family: HistogramMetricFamily, labels: list[str]) -> None:
        """Write it in Prometheus' terms: each bucket counts those below it, too."""
        names = [*map(str, self._bounds), "+Inf"]
        family.add_metric(labels, list(zip(names, accumulate(self._counts), strict=True)), self._sum)


class ModelTally:
    """What one model did here. The model "" stands for requests for which none was chosen."""

    __slots__ = (
        "by_auto", "by_caller", "duration", "engine_failures", "first_byte", "hang_ups", "retries", "statuses",
    )  # fmt: skip

    def __init__(self) -> None:
        self.statuses: dict[int, int] = {}
        self.by_auto = 0
        self.by_caller = 0
        self.engine_failures = 0
        self.hang_ups = 0
        self.retries = 0
        self.duration = Distribution(_TIMES_S)
        self.first_byte = Distribution(_TIMES_S)

    def answered(self, status: int) -> None:
        """One request has its answer."""
        self.statuses[status] = self.statuses.get(status, 0) + 1


class RouterMetrics(Collector):
    """One replica's counts, in a registry of its own so that tests do not share one."""

    def __init__(self, models: tuple[str, ...]) -> None:
        self._tallies = {model: ModelTally() for model in ("", *models)}
        self.difficulty = Distribution(_TENTHS)
        self.in_flight = 0
        self.learning = LearningTally()
        self.feedback = FeedbackTally()
        self.sides = SideTally()
        self.gauges: Mapping[str, Gauge] = {}
        """How full the pools of the models are between which `auto` chooses."""
        self.relieved: dict[tuple[str, str], int] = {}
        """Answers by the second model because the first was busy."""
        self.switched: dict[tuple[str, str], int] = {}
        """Conversations that went on from the first model to the second."""
        self._registry = CollectorRegistry()
        self._registry.register(self)

    def of(self, model: str) -> ModelTally:
        """The tally of one model. Raises KeyError for one that is not on duty."""
        return self._tallies[model]

    def know(self, names: Iterable[str]) -> None:
        """Count for these names as well from now on."""
        for name in names:
            if name not in self._tallies:
                self._tallies[name] = ModelTally()

    def page(self) -> bytes:
        """The text that Prometheus reads."""
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        """Called by the library for each page."""
        requests = CounterMetricFamily(
            "fenzhen_requests", "Requests answered, by model that answered and HTTP status.", labels=["model", "status"]
        )
        choices = CounterMetricFamily(
            "fenzhen_choices", "Model choices, by model and by who chose: auto or the caller.", labels=["model", "by"]
        )
        failures = CounterMetricFamily(
            "fenzhen_engine_failures", "Exchanges that an engine broke before its answer was complete.",
            labels=["model"],
        )  # fmt: skip
        retries = CounterMetricFamily("fenzhen_retries", "Attempts after the first one of a request.", labels=["model"])
        hang_ups = CounterMetricFamily(
            "fenzhen_client_hang_ups", "Requests whose client left before the answer was complete.", labels=["model"]
        )
        duration = HistogramMetricFamily(
            "fenzhen_request_duration_seconds", "From the whole request to the end of its answer.", labels=["model"]
        )
        first_byte = HistogramMetricFamily(
            "fenzhen_time_to_first_byte_seconds", "From the whole request to the first byte of the answer's body.",
            labels=["model"],
        )  # fmt: skip
        for model, tally in self._tallies.items():
            for status, count in tally.statuses.items():
                requests.add_metric([model, str(status)], count)
            if not model:
                continue
            choices.add_metric([model, "auto"], tally.by_auto)
            choices.add_metric([model, "caller"], tally.by_caller)
            failures.add_metric([model], tally.engine_failures)
            retries.add_metric([model], tally.retries)
            hang_ups.add_metric([model], tally.hang_ups)
            tally.duration.add_to(duration, [model])
            tally.first_byte.add_to(first_byte, [model])
        yield from (requests, choices, failures, retries, hang_ups, duration, first_byte)
        difficulty = HistogramMetricFamily("fenzhen_difficulty_ratio", "Difficulty of the queries to `auto`, 0 to 1.")
        self.difficulty.add_to(difficulty, [])
        yield difficulty
        yield from self.learning.families()
        yield from self.feedback.families()
        yield from self.sides.families()
        yield GaugeMetricFamily("fenzhen_in_flight", "Requests being answered now.", value=self.in_flight)
        load = GaugeMetricFamily(
            "fenzhen_load_ratio", "Requests in flight beside what fills the pool, smoothed.", labels=["model"]
        )
        relief = GaugeMetricFamily(
            "fenzhen_relief_ratio", "How far from the border of difficulty questions are moved off a busy model now.",
            labels=["model"],
        )  # fmt: skip
        for model, gauge in self.gauges.items():
            load.add_metric([model], gauge.ratio)
            relief.add_metric([model], gauge.margin)
        relieved = CounterMetricFamily(
            "fenzhen_relieved", "Answers by another model than the fitting one, which was busy.", labels=["from", "to"]
        )
        switched = CounterMetricFamily(
            "fenzhen_conversation_switches", "Conversations that changed their model.", labels=["from", "to"]
        )
        for family, counts in ((relieved, self.relieved), (switched, self.switched)):
            for pair, count in counts.items():
                family.add_metric(list(pair), count)
        yield from (load, relief, relieved, switched)
