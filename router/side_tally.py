"""What became of splits, for Prometheus. Names and sides come from the traffic in force, never from a caller."""

from collections.abc import Iterator, Mapping
from types import MappingProxyType

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric


class SideTally:
    """Counts of one replica. Lives on the HTTP loop."""

    __slots__ = ("copies", "fallbacks", "generation", "requests")

    def __init__(self) -> None:
        self.requests: dict[tuple[str, str], int] = {}
        """By name and side, `stable` or `canary`."""
        self.fallbacks: dict[str, int] = {}
        """Requests that the canary of a name failed and its stable version took over."""
        self.copies: Mapping[str, int] = MappingProxyType({})
        """Requests taken for copying to a canary, by what became of the copy; see `router.shadow`."""
        self.generation: int | None = None
        """Of the traffic in force; None: nobody has directed any."""

    def went(self, name: str, is_canary: bool) -> None:
        """A request to a name goes to one of its sides."""
        side = name, "canary" if is_canary else "stable"
        self.requests[side] = self.requests.get(side, 0) + 1

    def fell_back(self, name: str) -> None:
        """The canary could not answer."""
        self.fallbacks[name] = self.fallbacks.get(name, 0) + 1

    def families(self) -> Iterator[Metric]:
        """What the page says of it."""
        if self.generation is None:
            return
        requests = CounterMetricFamily(
            "fenzhen_router_side_requests", "Requests to names with versions, by the side they went to.",
            labels=["model", "side"],
        )  # fmt: skip
        for (name, side), count in self.requests.items():
            requests.add_metric([name, side], count)
        fallbacks = CounterMetricFamily(
            "fenzhen_router_canary_fallbacks", "Requests that a canary failed and stable took over.", labels=["model"]
        )
        for name, count in self.fallbacks.items():
            fallbacks.add_metric([name], count)
        copies = CounterMetricFamily(
            "fenzhen_router_copies", "Requests taken for copying to a canary, by what became of the copy.",
            labels=["outcome"],
        )  # fmt: skip
        for outcome, count in self.copies.items():
            copies.add_metric([outcome], count)
        yield from (requests, fallbacks, copies)
        yield GaugeMetricFamily(
            "fenzhen_router_traffic_generation", "The decision on traffic by which this replica acts.",
            value=self.generation,
        )  # fmt: skip
