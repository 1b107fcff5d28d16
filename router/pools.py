"""The pools of all models, and which endpoint of a pool takes the next request.

Directory reports say who is ready; what this replica has seen itself (a refused or broken connection) counts sooner.
All state belongs to one event loop.
"""

from collections.abc import Collection, Mapping
from math import inf
from types import MappingProxyType
from typing import Final

from cluster.directory import Table
from cluster.traffic import Traffic
from router.affinity import Ring
from router.pressure import Seen
from router.slot import Slot

# Told to a client when nothing better is known.
DEFAULT_RETRY_AFTER_S: Final = 5
# Up to so many endpoints all are compared; of more, a few at random. Two random choices already come close to the best:
# M. Mitzenmacher, The Power of Two Choices in Randomized Load Balancing, 2001.
_MAX_COMPARED: Final = 16
_SAMPLES: Final = 4
# A prime: steps of it visit every endpoint of a pool whose size it does not divide, in an order that looks random.
_STRIDE: Final = 7919
# A conversation stays with its endpoint while that is at most so much busier than the mean: by this factor (1.25 is the
# value of the paper's authors in practice), and by some requests, which an engine batches at no cost to anyone.
_BUSIER_RATIO: Final = 1.25
_BUSIER_REQUESTS: Final = 2


class Pool:
    """The endpoints of one model."""

    __slots__ = ("_ring", "_turn", "full_at", "in_flight", "slots")

    def __init__(self, full_at: float = inf) -> None:
        self.slots: list[Slot] = []
        """In the table's order."""
        self.full_at = full_at
        """Requests in flight from here at which one endpoint is full."""
        self.in_flight = 0
        self._ring: Ring[Slot] | None = None
        self._turn = 0

    @property
    def is_cold(self) -> bool:
        """Whether no endpoint has what is asked for loaded, though there may be some of the model."""
        return False

    @property
    def has_choice(self) -> bool:
        """Whether there is more than one endpoint."""
        return len(self.slots) > 1

    def replace(self, slots: list[Slot]) -> None:
        """Take over the slots of a new table."""
        if slots != self.slots:
            self._ring = Ring([(slot.endpoint.endpoint_id, slot) for slot in slots]) if len(slots) > 1 else None
        self.slots = slots

    def take(self, slot: Slot) -> None:
        """A request goes to one of these slots."""
        slot.in_flight += 1
        self.in_flight += 1

    def release(self, slot: Slot) -> None:
        """It is over there."""
        slot.in_flight -= 1
        self.in_flight -= 1

    def pick(self, now_s: float, tried: Collection[Slot] = (), key: int | None = None) -> Slot | None:
        """The slot for the next request, or None if none is usable.

        With a `key` (`affinity.home_of`) the one that the conversation belongs to, unless that is away or much busier
        than the others; else the one with the fewest requests in flight.
        """
        if key is not None and self._ring is not None:
            limit = _BUSIER_RATIO * (self.in_flight + 1) / len(self.slots) + _BUSIER_REQUESTS
            # Nearly always the first will do.
            for slot in self._ring.from_place(key):
                if (
                    now_s >= slot.usable_from_s
                    and slot.in_flight < limit
                    and not (slot.failures and slot.in_flight)
                    and slot not in tried
                ):
                    return slot
        return self._least_loaded(now_s, tried)

    def is_ready(self, now_s: float, tried: Collection[Slot] = ()) -> bool:
        """Whether a request could go somewhere now."""
        for slot in self.slots:  # noqa: SIM110  Asked for every request; a generator costs twice as much.
            if now_s >= slot.usable_from_s and slot not in tried:
                return True
        return False

    def seen(self, now_s: float) -> Seen:
        """How full it is."""
        ready = sum(now_s >= slot.usable_from_s for slot in self.slots)
        return Seen(self.in_flight, ready * self.full_at if ready else 0.0)

    def answered_badly(self, slot: Slot, now_s: float) -> None:
        """The endpoint answered that it has failed."""
        slot.answered_badly(now_s, is_replaceable=self.is_ready(now_s, (slot,)))

    def retry_after_s(self, now_s: float) -> int:
        """When asking for this model again is sensible, whole seconds, at least 1."""
        waits = [
            max(1, round(slot.paused_until_s - now_s)) if slot.is_ready else slot.endpoint.retry_after_s
            for slot in self.slots
        ]
        return max(1, min(waits)) if waits else DEFAULT_RETRY_AFTER_S

    @property
    def state(self) -> str:
        """One word and a detail, for people."""
        if not self.slots:
            return "starting: no engine has reported yet"
        states = ("ready", "starting", "restarting", "draining")
        endpoint = min((slot.endpoint for slot in self.slots), key=lambda endpoint: states.index(endpoint.state))
        return f"{endpoint.state}: {endpoint.detail}" if endpoint.detail else endpoint.state

    def _least_loaded(self, now_s: float, tried: Collection[Slot]) -> Slot | None:
        # Beginning elsewhere each time: replicas that all see idle endpoints must not all take the first.
        slots = self.slots
        size = len(slots)
        self._turn += _STRIDE
        best: Slot | None = None
        for looked_at in range(size):
            if best is not None and looked_at >= _SAMPLES and size > _MAX_COMPARED:
                break
            slot = slots[(self._turn + looked_at * _STRIDE) % size] if size % _STRIDE else slots[looked_at]
            if (
                now_s >= slot.usable_from_s
                and slot not in tried
                and (best is None or (slot.is_on_trial, slot.in_flight) < (best.is_on_trial, best.in_flight))
            ):
                best = slot
        return best


class AdapterPool(Pool):
    """The endpoints of a model that have one adapter loaded.

    Slots are the model's own, with their connections and breakers, and whatever goes there counts there, too.
    `in_flight` is all that these endpoints do, of other adapters as well: what weighs is how busy they are.
    """

    __slots__ = ("_base", "_served_name")

    def __init__(self, served_name: str, base: Pool) -> None:
        super().__init__(base.full_at)
        self._served_name = served_name
        self._base = base
        self.look()

    def look(self) -> None:
        """Take over who has the adapter now."""
        self.replace([slot for slot in self._base.slots if self._served_name in slot.endpoint.adapters])

    def take(self, slot: Slot) -> None:
        self._base.take(slot)

    def release(self, slot: Slot) -> None:
        self._base.release(slot)

    def pick(self, now_s: float, tried: Collection[Slot] = (), key: int | None = None) -> Slot | None:
        self.in_flight = self._busy
        return super().pick(now_s, tried, key)

    def seen(self, now_s: float) -> Seen:
        self.in_flight = self._busy
        return super().seen(now_s)

    @property
    def is_cold(self) -> bool:
        return not self.slots

    @property
    def state(self) -> str:
        return super().state if self.slots else "starting: no engine has this version loaded"

    @property
    def _busy(self) -> int:
        return sum(slot.in_flight for slot in self.slots)


class Pools:
    """The pools of all models on duty, and of their adapters."""

    def __init__(self, models: Collection[str], full_at: Mapping[str, float] = MappingProxyType({})) -> None:
        """`full_at`: the requests in flight from here at which one endpoint of a model is full, where that is known."""
        self._pools = {model: Pool(full_at.get(model, inf)) for model in models}
        self._adapters: dict[str, AdapterPool] = {}
        self._by_name: dict[str, Pool] = dict(self._pools)

    def of(self, name: str) -> Pool:
        """The pool of one model or adapter. Raises KeyError for one that is not on duty."""
        return self._by_name[name]

    def find(self, name: str) -> Pool | None:
        """The pool of one model or adapter; None if that is not on duty."""
        return self._by_name.get(name)

    def __contains__(self, model: str) -> bool:
        """Whether a model has a pool of its own."""
        return model in self._pools

    def direct(self, traffic: Traffic) -> None:
        """Know other adapters from now on. What is in flight to one that is gone ends where it is."""
        wanted = {adapter.served_name: adapter.base for adapter in traffic.adapters}
        for split in traffic.splits:
            for side in (split.stable, split.canary):
                if side is not None and side.served_name != side.pool:
                    wanted[side.served_name] = side.pool
        kept = self._adapters
        self._adapters = {
            name: kept.get(name) or AdapterPool(name, self._pools[base])
            for name, base in wanted.items()
            if base in self._pools and name not in self._pools
        }
        self._by_name = {**self._pools, **self._adapters}

    def update(self, table: Table) -> None:
        """Take over a new table. Slots that go on keep their connections and counts."""
        known = {slot.endpoint.endpoint_id: slot for pool in self._pools.values() for slot in pool.slots}
        fresh: dict[str, list[Slot]] = {model: [] for model in self._pools}
        for endpoint in table.endpoints:
            if endpoint.model not in fresh:
                continue
            slot = known.get(endpoint.endpoint_id)
            if slot is None or (slot.endpoint.base_url, slot.endpoint.model) != (endpoint.base_url, endpoint.model):
                slot = Slot(endpoint)
            else:
                del known[endpoint.endpoint_id]
                slot.report(endpoint)
            fresh[endpoint.model].append(slot)
        for slot in known.values():
            slot.close()
        for model, pool in self._pools.items():
            pool.replace(fresh[model])
        for adapter in self._adapters.values():
            adapter.look()

    def seen(self, now_s: float) -> dict[str, Seen]:
        """How full each is."""
        return {model: pool.seen(now_s) for model, pool in self._pools.items()}

    def sweep(self, now_s: float) -> None:
        """Close connections that nobody has used for long."""
        for pool in self._pools.values():
            for slot in pool.slots:
                slot.sweep(now_s)

    def close(self) -> None:
        """Close everything that is idle."""
        for pool in self._pools.values():
            for slot in pool.slots:
                slot.close()
