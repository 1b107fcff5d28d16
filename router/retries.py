"""How many requests may be tried again: enough for an engine's death, too few to make an overload worse."""

from typing import Final

# Of all requests, once the burst is used up. Source: Envoy's default retry budget, 20 % of active requests.
EARNED_RATIO: Final = 0.2


class RetryBudget:
    """Tokens: each request earns a part of one, each retry costs one."""

    __slots__ = ("_burst", "_tokens")

    def __init__(self, burst: int) -> None:
        """`burst`: retries at once, as many as may be in flight on an engine that dies."""
        self._burst = float(burst)
        self._tokens = float(burst)

    def earn(self) -> None:
        """One request has come."""
        if self._tokens < self._burst:
            self._tokens += EARNED_RATIO

    def spend(self) -> bool:
        """Whether one more request may be tried again."""
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True
