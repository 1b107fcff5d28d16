"""One page of Prometheus metrics, and what changed between two of them. Plain functions over text."""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass

from prometheus_client.parser import text_string_to_metric_families

Labels = tuple[tuple[str, str], ...]
Page = Mapping[tuple[str, Labels], float]
"""Values by name and sorted labels."""


def page_of(text: str) -> dict[tuple[str, Labels], float]:
    """Read a page. Raises ValueError if it is none."""
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): float(sample.value)
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def total(page: Page, name: str) -> float | None:
    """The sum over all labels; None where there is no such metric."""
    values = [value for (one, _), value in page.items() if one == name]
    return sum(values) if values else None


def growth(before: Page, after: Page, name: str) -> float | None:
    """How much a counter grew, over all labels; None if it is not there or began anew."""
    first, last = total(before, name), total(after, name)
    if last is None:
        return None
    return None if first is not None and last < first else last - (first or 0.0)


def grown(before: Page, after: Page, prefix: str) -> dict[str, float]:
    """All counters of a prefix that grew, named as Prometheus writes them."""
    found = {}
    for (name, labels), value in after.items():
        if name.startswith(prefix) and name.endswith("_total"):
            more = value - before.get((name, labels), 0.0)
            if more > 0:
                words = ",".join(f'{key}="{text}"' for key, text in labels)
                found[f"{name}{{{words}}}" if words else name] = more
    return found


@dataclass(frozen=True, slots=True)
class Histogram:
    """What was added to a histogram."""

    count: float
    sum: float
    bounds: tuple[float, ...]
    """Upper ends of the buckets, the last one infinite."""
    below: tuple[float, ...]
    """How many lie at or below each."""

    def quantile(self, ratio: float) -> float | None:
        """Linear within a bucket, as PromQL's histogram_quantile; the last bound that is finite at most.

        The first bucket of vLLM's queue time ends at 0.3 s, so that an empty queue would have a median of 0.15 s. What
        is never below 0 lies at or below mean / (1 - ratio) in a share `ratio` of all cases (Markov's inequality).
        """
        if self.count <= 0:
            return None
        return min(self._in_buckets(ratio), self.sum / self.count / (1 - ratio))

    def _in_buckets(self, ratio: float) -> float:
        wanted = ratio * self.count
        lower, seen = 0.0, 0.0
        for bound, below in zip(self.bounds, self.below, strict=True):
            if below >= wanted:
                if bound == float("inf"):
                    return lower
                return lower + (bound - lower) * ((wanted - seen) / (below - seen) if below > seen else 1.0)
            lower, seen = bound, below
        return lower


def histogram(before: Page, after: Page, name: str) -> Histogram | None:
    """What was added to a histogram, over all labels; None if it is not there or began anew."""
    count, added = growth(before, after, f"{name}_count"), growth(before, after, f"{name}_sum")
    if count is None or added is None:
        return None
    buckets: dict[float, float] = {}
    for (one, labels), value in after.items():
        if one == f"{name}_bucket":
            bound = float(dict(labels)["le"])
            buckets[bound] = buckets.get(bound, 0.0) + value - before.get((one, labels), 0.0)
    bounds = tuple(sorted(buckets))
    below = tuple(buckets[bound] for bound in bounds)
    if any(later < earlier for earlier, later in itertools.pairwise(below)):
        return None
    return Histogram(count, added, bounds, below)
