"""How often adapters are asked for, from what router replicas tell."""

import math
from collections.abc import Iterable
from typing import Final

from cluster.outcomes import Batch

# A minute's quiet leaves a third of what an adapter was asked for: short gaps evict nobody.
_MEMORY_S: Final = 60.0


class Demand:
    """Requests per second for each adapter, the older the less they count."""

    def __init__(self) -> None:
        self._rates: dict[str, tuple[float, float]] = {}
        """Rate at a moment, and the moment."""

    def take(self, batches: Iterable[Batch], now_s: float) -> None:
        """Count what was told. `now_s`: seconds since the epoch."""
        for batch in batches:
            for served_name, requests in batch.demand:
                if requests > 0:
                    self._rates[served_name] = (self.per_s(served_name, now_s) + requests / _MEMORY_S, now_s)

    def per_s(self, served_name: str, now_s: float) -> float:
        """Requests per second of late."""
        rate, then_s = self._rates.get(served_name, (0.0, now_s))
        return rate * math.exp(-max(0.0, now_s - then_s) / _MEMORY_S)

    def last_used_s(self, served_name: str) -> float:
        """When it was last asked for; 0: never, as far as is known."""
        return self._rates.get(served_name, (0.0, 0.0))[1]
