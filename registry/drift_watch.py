"""The watch over drift: gathers tallies into windows and compares each with the version's first."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from cluster.outcomes import Tally
from cluster.release_settings import DriftSettings
from registry.drift import Window, compare, reference, together
from registry.drift_store import DriftEntry, DriftStore, Watched

PARTS = 24
"""Of a window: hours of a day. By them it is known how much questions vary of themselves."""
LEAST_PARTS = 6
"""A window of fewer parts with requests in them says too little about that."""
LONGEST_WINDOWS = 14
"""A window that has too few requests goes on, up to so many times its length; then it is given up."""
KEEP_EVERY_S = 60.0
"""What is being counted is stored so often; a controller that dies loses no more."""


@dataclass(slots=True)
class _Counting:
    watched: Watched
    kept_s: float
    is_changed: bool = False


class DriftWatch:
    """Watches all versions that tallies come from. For the one controller that holds the lease."""

    def __init__(self, store: DriftStore, settings: DriftSettings) -> None:
        self._store = store
        self._settings = settings
        self._counting: dict[tuple[str, int], _Counting] = {}

    def forget(self) -> None:
        """Read everything from the store again: another controller may have counted meanwhile."""
        self._counting.clear()

    def take(self, tallies: Iterable[Tally], now_s: float) -> tuple[DriftEntry, ...]:
        """Close the windows that are full now, and return their alerts; then count these.

        Raises Unavailable. Nothing is lost by it but tallies of versions that the store was to be asked about first:
        what could not be stored is stored at a later call.
        """
        new = [(self._counted(tally, now_s), tally) for tally in tallies if tally.requests > 0]
        alerts: list[DriftEntry] = []
        try:
            for (name, version), counting in list(self._counting.items()):
                alerts += self._step(name, version, counting, now_s)
        finally:
            for counting, tally in new:
                self._counting.setdefault((tally.name, tally.version), counting)
                counting.watched = replace(counting.watched, parts=self._plus(counting.watched.parts, tally, now_s))
                counting.is_changed = True
        return tuple(alerts)

    def _counted(self, tally: Tally, now_s: float) -> _Counting:
        key = (tally.name, tally.version)
        if key not in self._counting:
            known = self._store.watched(*key)
            self._counting[key] = _Counting(known or Watched(None, (), 0), now_s)
        return self._counting[key]

    def _plus(self, parts: tuple[Window, ...], tally: Tally, now_s: float) -> tuple[Window, ...]:
        length_s = self._settings.window_s / PARTS
        if not parts or now_s >= parts[-1].until_s:
            parts = (*parts, Window.empty(now_s, now_s + length_s))
        # A window that goes on for long keeps as many parts, each of them longer.
        if len(parts) > 2 * PARTS:
            parts = tuple(together(parts[at : at + 2]) for at in range(0, len(parts), 2))
        return (*parts[:-1], parts[-1].plus(tally))

    def _step(self, name: str, version: int, counting: _Counting, now_s: float) -> tuple[DriftEntry, ...]:
        parts = counting.watched.parts
        if not parts:
            return ()
        age_s = now_s - parts[0].since_s
        requests = sum(part.requests for part in parts)
        is_enough = requests >= self._settings.min_requests and len(parts) >= LEAST_PARTS
        if age_s >= self._settings.window_s and is_enough:
            return self._close(name, version, counting, now_s)
        if age_s >= LONGEST_WINDOWS * self._settings.window_s:
            # A version that nobody asks any more.
            self._store.keep(name, version, replace(counting.watched, parts=()))
            del self._counting[name, version]
        elif counting.is_changed and now_s - counting.kept_s >= KEEP_EVERY_S:
            self._store.keep(name, version, counting.watched)
            counting.kept_s, counting.is_changed = now_s, False
        return ()

    def _close(self, name: str, version: int, counting: _Counting, now_s: float) -> tuple[DriftEntry, ...]:
        known, parts = counting.watched, counting.watched.parts
        window = replace(together(parts), until_s=now_s)
        if known.reference is None:
            after = Watched(reference(window, parts), (), 0)
            self._store.keep(name, version, after)
            counting.watched, counting.kept_s, counting.is_changed = after, now_s, False
            return ()
        drift = compare(known.reference, window, known.looks + 1, self._settings.alpha)
        after = Watched(known.reference, (), known.looks + 1)
        entry = self._store.compared(name, version, after, window, drift)
        counting.watched, counting.kept_s, counting.is_changed = after, now_s, False
        return (entry,) if entry.level else ()
