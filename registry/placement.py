"""Which engines shall carry which adapters: decided anew from what is wanted and what is loaded, without memory.

Adapters of a rollout (pinned) come first and go onto every engine of their base, so that a share of the traffic moves
without a load. The others share what room is left: each gets one engine, busier ones more, and where room is short
the least used goes. Whatever is loaded stays where it is unless there is a reason: a load costs seconds, and an adapter
that moves to and fro answers nobody.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from cluster.directory import Endpoint

# Requests per second after which an adapter gets one engine more: below it, a copy would only take room.
_PER_ENGINE: Final = 1.0
# An adapter that is loaded nowhere must be asked for so much more often than one that is, before it takes its room.
_TO_DISPLACE: Final = 1.5


@dataclass(frozen=True, slots=True)
class Wanted:
    """An adapter that somebody may ask for."""

    served_name: str
    base: str
    """The model whose engines carry it."""
    is_pinned: bool
    """Whether a rollout or an alias needs it: never displaced by those that are only asked for."""
    demand_per_s: float
    """Requests for it, refused ones included."""
    last_used_s: float
    """When it was last asked for, seconds since the epoch; 0: never."""


def placed(wanted: Sequence[Wanted], endpoints: Sequence[Endpoint]) -> dict[str, tuple[str, ...]]:
    """The engines, sorted, that shall carry each adapter; none: there is no room for it, or no engine of its base."""
    places: dict[str, tuple[str, ...]] = {each.served_name: () for each in wanted}
    for base in {each.base for each in wanted}:
        # What drains ends soon; what starts will want its adapters as soon as it is there.
        engines = [each for each in endpoints if each.model == base and each.state != "draining"]
        places |= _Engines(engines).filled([each for each in wanted if each.base == base])
    return places


class _Engines:
    """The engines of one base and what they were given so far."""

    def __init__(self, engines: Iterable[Endpoint]) -> None:
        self._engines = {each.endpoint_id: each for each in sorted(engines, key=lambda each: each.endpoint_id)}
        self._room = {name: engine.max_adapters for name, engine in self._engines.items()}
        self._carriers: dict[str, set[str]] = {}
        """Of each adapter, the engines that shall carry it."""
        self._loaded: dict[str, set[str]] = {}
        for name, engine in self._engines.items():
            for adapter in engine.adapters:
                self._loaded.setdefault(adapter, set()).add(name)

    def filled(self, wanted: Sequence[Wanted]) -> Mapping[str, tuple[str, ...]]:
        """Give out the room of all engines."""
        self._carriers = {each.served_name: set() for each in wanted}
        in_order = sorted(wanted, key=self._order)
        pinned = [each for each in in_order if each.is_pinned]
        self._give_one_engine_each(pinned)
        self._keep(pinned)
        for _ in self._engines:
            for each in pinned:
                self._give_one_more(each)
        others = [each for each in in_order if not each.is_pinned]
        self._give_one_engine_each(others)
        self._give_more_to_the_busy(others)
        # What is loaded and is in nobody's way stays.
        self._keep(others)
        return {name: tuple(sorted(carriers)) for name, carriers in self._carriers.items()}

    def _order(self, wanted: Wanted) -> tuple[float, bool, float, str]:
        """Who gets room first."""
        is_loaded = wanted.served_name in self._loaded
        return -self._demand(wanted, 1), not is_loaded, -wanted.last_used_s, wanted.served_name

    def _demand(self, wanted: Wanted, copies: int) -> float:
        """What it is asked for, with the lead of what is loaded on so many engines already."""
        is_loaded = len(self._loaded.get(wanted.served_name, ())) >= copies
        return wanted.demand_per_s * (_TO_DISPLACE if is_loaded else 1.0)

    def _give_one_engine_each(self, wanted: Sequence[Wanted]) -> None:
        """To as many as there is room for; those that are loaded choose first, so that they can stay."""
        served = wanted[: sum(self._room.values())]
        for each in served:
            self._give_one_more(each, only_loaded=True)
        for each in served:
            if not self._carriers[each.served_name]:
                self._give_one_more(each)

    def _keep(self, wanted: Sequence[Wanted]) -> None:
        """All that is loaded and for which there is room."""
        for each in wanted:
            while self._carriers[each.served_name] and self._give_one_more(each, only_loaded=True):
                pass

    def _give_more_to_the_busy(self, wanted: Sequence[Wanted]) -> None:
        """Second, third... engines, to whom each would relieve most."""
        claims = [
            (-self._demand(each, copies) / copies, copies, each.served_name, each)
            for each in wanted
            for copies in range(2, len(self._engines) + 1)
            if each.demand_per_s > _PER_ENGINE * (copies - 1)
        ]
        for *_, each in sorted(claims, key=lambda claim: claim[:3]):
            if self._carriers[each.served_name]:
                self._give_one_more(each)

    def _give_one_more(self, wanted: Wanted, *, only_loaded: bool = False) -> bool:
        """One more engine to an adapter; False: there is none."""
        name = wanted.served_name
        loaded = self._loaded.get(name, set())
        free = [each for each, room in self._room.items() if room > 0 and each not in self._carriers[name]]
        choice = min(
            (each for each in free if each in loaded or not only_loaded),
            key=lambda each: self._cost(name, each),
            default=None,
        )
        if choice is None:
            return False
        self._carriers[name].add(choice)
        self._room[choice] -= 1
        return True

    def _cost(self, adapter: str, endpoint_id: str) -> tuple[bool, bool, bool, bytes]:
        """How unwelcome an engine is. The hash spreads adapters, and says the same while a load is still under way."""
        engine = self._engines[endpoint_id]
        has_failed = any(name == adapter for name, _ in engine.adapter_faults)
        spread = hashlib.blake2b(f"{adapter}\n{endpoint_id}".encode(), digest_size=8).digest()
        return endpoint_id not in self._loaded.get(adapter, ()), has_failed, engine.state != "ready", spread
