"""How full each pool is, and by how much its questions should be spared: plain numbers, and a clock that is passed in.

A pool is as full as the requests that this replica has in flight there, beside its share of what the ready engines
take (`busy_in_flight`). The router does not see an engine's own queue: requests beyond that number are the sign of it.

Margin over fullness, at `relief_from_ratio` 0.85. It grows along the right line, shrinks slowly down to the left one
after some calm seconds, and stays as it is in between, so that the load it takes away does not at once call it back:

    max_relief |      _____________
               |     /      /
               |    /      /
             0 |___/______/________  fullness
                 0.6    0.85   1.15
"""

from collections.abc import Mapping, Sequence
from math import exp
from types import MappingProxyType
from typing import Final, NamedTuple

ENDS_RATIO: Final = 0.6
"""Below this a pool is not busy at all."""
# From where a line leaves the axis to where it is at its full height.
_RISE_RATIO: Final = 0.3
# A burst of some seconds waits in the engines' queue at little cost; what lasts longer moves questions.
SMOOTHING_S: Final = 3.0
CALM_S: Final = 5.0
"""So long a pool must have been emptier than its margin says before the margin shrinks."""
# From the full margin to none. Where many questions lie near the bar a small step moves a large load: a margin that
# shrank at once called all of it back and filled the pool again, a hundred times in ten minutes at twice the load that
# a pool can carry (simulated with the difficulties of MMLU and LexEval); shrinking so slowly it switched once.
_SHRINKS_IN_S: Final = 30.0
NOBODY: Final[Mapping[str, float]] = MappingProxyType({})


class Seen(NamedTuple):
    """One pool at one moment, as one replica sees it."""

    in_flight: int
    capacity: float
    """Requests that fill it; 0 while no engine is ready."""


class Gauge:
    """One pool's fullness, smoothed, and the margin that follows from it."""

    __slots__ = ("_from_ratio", "_high_s", "_max_relief", "_seen_s", "margin", "ratio")

    def __init__(self, from_ratio: float, max_relief: float) -> None:
        self._from_ratio = from_ratio
        self._max_relief = max_relief
        self._seen_s: float | None = None
        self._high_s = 0.0
        self.ratio = 0.0
        """Requests in flight beside what fills the pool; may pass 1."""
        self.margin = 0.0
        """0 to `max_relief`, in units of difficulty."""

    def look(self, seen: Seen, now_s: float) -> None:
        """Take in how the pool is now."""
        if not seen.capacity:
            # Nobody there is no load: the choice goes elsewhere by itself, and whoever comes back begins afresh.
            self.ratio = self.margin = 0.0
            self._seen_s = None
            return
        ratio = seen.in_flight / seen.capacity
        # The first look begins at 0, too: a stack that has just started is not busy yet.
        passed_s = now_s - self._seen_s if self._seen_s is not None else 0.0
        self._seen_s = now_s
        self.ratio += (ratio - self.ratio) * (1 - exp(-passed_s / SMOOTHING_S))
        least = self._height(self.ratio - self._from_ratio)
        most = self._height(self.ratio - ENDS_RATIO)
        if least >= self.margin or most >= self.margin:
            self.margin = max(least, self.margin)
            self._high_s = now_s
        elif now_s - self._high_s >= CALM_S:
            self.margin = max(most, self.margin - self._max_relief * passed_s / _SHRINKS_IN_S)

    def _height(self, beyond_ratio: float) -> float:
        """One of the two lines."""
        return self._max_relief * max(0.0, min(1.0, beyond_ratio / _RISE_RATIO))


class Pressure:
    """The gauges of all models that chat. Lives on one event loop."""

    def __init__(self, models: Sequence[str], *, from_ratio: float, max_relief: float) -> None:
        self.gauges = {model: Gauge(from_ratio, max_relief) for model in models}
        self.relief: Mapping[str, float] = NOBODY
        """The margins by model, for `policy.Leaning`; empty while none is busy."""

    def look(self, pools: Mapping[str, Seen], now_s: float) -> None:
        """Take in how the pools are now; several times a second, not for every request."""
        for model, gauge in self.gauges.items():
            gauge.look(pools[model], now_s)
        if any(gauge.margin for gauge in self.gauges.values()):
            self.relief = {model: gauge.margin for model, gauge in self.gauges.items()}
        else:
            self.relief = NOBODY
