"""What Prometheus is told of rollouts. Labels hold names from the registry only."""

from collections import Counter
from collections.abc import Iterator
from typing import Final

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from registry.rollout import Rollout, Seen
from registry.rollout_states import State

CONTENT_TYPE: Final = "text/plain; version=1.0.0; charset=utf-8"


class RolloutMetrics(Collector):
    """Written by the controller, read by its HTTP server."""

    def __init__(self) -> None:
        self.is_leader = False
        self.rollouts: tuple[Rollout, ...] = ()
        self._ends: Counter[tuple[str, str]] = Counter()
        self._verdicts: Counter[tuple[str, str]] = Counter()

    def count(self, rollout: Rollout, seen: Seen) -> None:
        """A rollout has come into another state."""
        state: State = rollout.state
        if rollout.is_over:
            self._ends[rollout.name, state.word] += 1
        if seen.verdict is not None:
            self._verdicts[rollout.name, seen.verdict.answer] += 1

    def page(self) -> bytes:
        """The page for Prometheus."""
        registry = CollectorRegistry()
        registry.register(self)
        return generate_latest(registry)

    def collect(self) -> Iterator[Metric]:
        """Called by prometheus_client."""
        leader = GaugeMetricFamily("fenzhen_rollout_controller_is_leader", "1 for the controller that acts.")
        leader.add_metric([], float(self.is_leader))
        yield leader
        state = GaugeMetricFamily("fenzhen_rollout_state", "1 for the state a rollout is in.", labels=["name", "state"])
        ratio = GaugeMetricFamily("fenzhen_rollout_canary_ratio", "Share of the new version.", labels=["name"])
        held = GaugeMetricFamily("fenzhen_rollout_is_held", "1 while somebody holds it.", labels=["name"])
        for rollout in self.rollouts:
            state.add_metric([rollout.name, rollout.state.word], 1.0)
            ratio.add_metric([rollout.name], rollout.canary_ratio)
            held.add_metric([rollout.name], float(rollout.hold is not None))
        yield from (state, ratio, held)
        ends = CounterMetricFamily("fenzhen_rollout_ends", "Rollouts that are over.", labels=["name", "state"])
        for key, count in self._ends.items():
            ends.add_metric(list(key), count)
        verdicts = CounterMetricFamily(
            "fenzhen_rollout_verdicts", "Verdicts on which a rollout has moved.", labels=["name", "answer"]
        )
        for key, count in self._verdicts.items():
            verdicts.add_metric(list(key), count)
        yield from (ends, verdicts)
