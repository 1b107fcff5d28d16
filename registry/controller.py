"""Moves rollouts: sees, stores, and only then acts. One of several acts, whoever holds the lease.

Each turn, about twice a second: renew the lease; read what is stored and ordered; read the table of endpoints and what
became of requests; let the pure machine say what follows; store that; put the traffic in force. Whatever is done
follows from what is stored and may be done twice, so a controller that is killed anywhere is gone on from by the next.
"""

import asyncio
import functools
import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Final, TypeVar

from cluster.clock import Clock, MonotonicClock
from cluster.directory import Directory, Table
from cluster.directory_holder import SETTLE_S
from cluster.errors import FenzhenError, TimedOut, Unavailable
from cluster.outcomes import Batch
from registry.directing import DIRECTORY_S, Directing, Drift
from registry.errands import Errands, Result
from registry.history import Entry, Note
from registry.leading import Lead, Pace
from registry.lease import LostLease
from registry.rollout import CONTROLLER, Rollout, Seen, duty_after, refusal, step
from registry.rollout_metrics import RolloutMetrics
from registry.rollout_states import Duty
from registry.rollout_store import Answer, RolloutStore, Snapshot
from registry.rollout_words import note_of, waits_for
from registry.stage_watch import Judges, StageWatch
from registry.traffic_plan import is_ready, is_served, load_fault, planned
from registry.versions import VersionStore

# A call to the database ends by its own time-outs before this.
_DATABASE_S: Final = 15.0
# A table that was born again learns the traffic within this.
_DIRECT_AGAIN_S: Final = 1.0

_T = TypeVar("_T")
_log = logging.getLogger(__name__)


class Controller:
    """`run` goes on until it is cancelled."""

    def __init__(
        self,
        store: RolloutStore,
        directory: Directory,
        versions: Callable[[], VersionStore],
        versions_dir: Path,
        judges: Judges,
        *,
        owner: str,
        drift: Drift | None = None,
        pace: Pace = Pace(),  # noqa: B008  It is frozen.
        clock: Clock = MonotonicClock(),  # noqa: B008  It has no state.
        wall_s: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._directory = directory
        self._directing = Directing(directory, clock)
        self._judges = judges
        self._drift = drift
        self._owner = owner
        self._pace = pace
        self._clock = clock
        self._wall_s = wall_s
        # Own threads: those that the loop shares may all wait for something slow.
        self._database_threads = ThreadPoolExecutor(4, "rollouts-database")
        self._threads = ThreadPoolExecutor(4, "rollouts-registry")
        self._errands = Errands(versions, versions_dir, self._threads, retry_s=pace.retry_s)
        self.metrics = RolloutMetrics()
        self.turned_s = clock.now_s()
        """When a turn last came to its end, by the clock."""
        self._said: dict[str, str] = {}
        self._table = Table(-1, ())
        self._lead: Lead | None = None

    async def run(self) -> None:
        """Turn for ever; on the way out the lease is released."""
        try:
            while True:
                try:
                    await self._turn()
                    self.turned_s = self._clock.now_s()
                    self._say("turn", "")
                except LostLease as error:
                    self._lead = None
                    self._errands.forget()
                    _log.warning("%s", error)
                except FenzhenError as error:
                    self.turned_s = self._clock.now_s()
                    self._say("turn", str(error))
                    await self._directing.again(self._lead)
                except Exception:
                    # The edge of one turn: traffic goes on as it is, and the next turn begins with what is stored.
                    _log.exception("a turn of the controller of rollouts failed, by a fault of ours")
                await asyncio.sleep(self._pace.tick_s)
        finally:
            await self._leave()

    async def _turn(self) -> None:
        lead = self._lead = await self._led()
        self.metrics.is_leader = lead is not None
        if lead is None:
            return
        now = await self._ask(self._store.snapshot)
        batches = await self._news(lead)
        duties = dict(now.duties)
        rollouts = [await self._moved_if_well(lead, rollout, now, duties, batches) for rollout in now.rollouts]
        await self._direct(lead, rollouts, duties)
        if lead.is_table_known:
            lead.in_force = {rollout.rollout_id: rollout.stage for rollout in rollouts}
        await self._keep(lead, rollouts)
        self.metrics.rollouts = tuple(rollouts)
        tallies = [tally for batch in batches for tally in batch.tallies]
        if self._drift is not None and tallies:
            for alert in await self._ask(functools.partial(self._drift.take, tallies, self._wall_s())):
                _log.warning("drift: %s", alert)

    async def _led(self) -> Lead | None:
        """The lease, renewed or taken; None: somebody else has it."""
        now_s = self._clock.now_s()
        lead = self._lead
        if lead is not None:
            if now_s - lead.renewed_s >= self._pace.lease_s / 3:
                await self._ask(functools.partial(self._store.renew, lead.lease, self._pace.lease_s))
                lead.renewed_s = now_s
            return lead
        lease = await self._ask(functools.partial(self._store.acquire, self._owner, self._pace.lease_s))
        if lease is None:
            return None
        _log.info("this controller moves rollouts now, epoch %d", lease.epoch)
        if self._drift is not None:
            self._drift.forget()
        snapshot = await self._ask(self._store.snapshot)
        return Lead(lease, now_s, snapshot.generation)

    async def _news(self, lead: Lead) -> tuple[Batch, ...]:
        """The table as it is, and what became of requests. A table that cannot be reached stays as it was."""
        try:
            async with asyncio.timeout(DIRECTORY_S):
                # One that was just born lets us wait until all engines have reported again.
                self._table = await self._directory.read(-1, SETTLE_S + 0.5)
                batches = await self._directory.fetch()
            lead.is_table_known = True
            self._say("directory", "")
        except (Unavailable, TimeoutError) as error:
            self._say("directory", str(error) or "the table of endpoints does not answer")
            lead.is_table_known = False
            return ()
        lead.demand.take(batches, self._wall_s())
        lead.generations |= {batch.replica: batch.generation for batch in batches}
        return batches

    async def _moved_if_well(
        self, lead: Lead, rollout: Rollout, now: Snapshot, duties: dict[str, Duty], batches: tuple[Batch, ...]
    ) -> Rollout:
        try:
            return await self._moved(lead, rollout, now, duties, batches)
        except FenzhenError:
            raise
        except Exception:
            # The edge of one rollout: what is wrong with it must not stop the others, nor its own traffic.
            _log.exception("rollout %s of %s was not looked at, by a fault of ours", rollout.rollout_id, rollout.name)
            return rollout

    async def _moved(
        self, lead: Lead, rollout: Rollout, now: Snapshot, duties: dict[str, Duty], batches: tuple[Batch, ...]
    ) -> Rollout:
        """One step of one rollout, stored."""
        watch = await self._watched(lead, rollout, batches)
        orders = now.orders.get(rollout.rollout_id, ())
        if not self._is_in_force(lead, rollout):
            # A stage is not passed over before it was in force; only back one can go at any time.
            orders = tuple(order for order in orders if order.verb != "promote")
        result = Result()
        if self._is_in_force(lead, rollout) or rollout.state.word != "rolling_back":
            # Back goes the traffic first.
            result = self._errands.look(rollout, functools.partial(self._store.require, lead.lease))
        seen = self._seen(lead, rollout, watch, result)
        seen = replace(seen, order=orders[0] if orders else None)
        lead.waits[rollout.rollout_id] = waits_for(rollout, seen, result.trouble)
        after, words = step(rollout, seen, self._wall_s()), refusal(rollout, seen)
        if seen.order is not None and not words and after == rollout:
            words = "there is nothing to do"
        if seen.order is not None and words:
            note = Note(rollout.name, rollout.rollout_id, "refused", CONTROLLER, f"{seen.order.verb}: {words}")
            self._log_entry(
                await self._ask(functools.partial(self._store.refuse, lead.lease, seen.order.order_id, words, note))
            )
            seen = replace(seen, order=None)
            after = step(rollout, seen, self._wall_s())
        if after == rollout:
            return rollout
        duty = duty_after(duties.get(rollout.name), after)
        answer = None if seen.order is None else (seen.order.order_id, Answer(True, after.stage))
        note = note_of(rollout, after, seen)
        generation, entry = await self._ask(
            functools.partial(self._store.advance, lead.lease, after, duty, note, answer)
        )
        self._log_entry(entry)
        lead.fresh_generation = generation
        lead.kept_s = None
        if duty is not None:
            duties[rollout.name] = duty
        if after.stage != rollout.stage:
            self.metrics.count(after, seen)
            lead.waits[rollout.rollout_id] = waits_for(after, replace(seen, verdict=None, watched_s=0.0))
        return after

    async def _watched(self, lead: Lead, rollout: Rollout, batches: tuple[Batch, ...]) -> StageWatch:
        watch = lead.watches.get(rollout.rollout_id)
        if watch is None:
            stored = await self._ask(functools.partial(self._store.watch, rollout.rollout_id))
            watch = lead.watches[rollout.rollout_id] = StageWatch(rollout, self._judges, stored)
        outcomes = [outcome for batch in batches for outcome in batch.outcomes]
        # Of a table that is not known, nothing follows.
        is_there = not lead.is_table_known or is_served(rollout.canary, self._table.endpoints)
        looking = functools.partial(
            watch.look,
            rollout,
            outcomes,
            is_served=is_there,
            is_in_force=self._is_in_force(lead, rollout),
            now_s=self._clock.now_s(),
            wall_s=self._wall_s(),
        )
        # In a thread: a thousand outcomes take the judge longer than an alert should wait.
        await self._ask(looking)
        return watch

    def _seen(self, lead: Lead, rollout: Rollout, watch: StageWatch, result: Result) -> Seen:
        endpoints = self._table.endpoints
        adapters = lead.traffic.adapters if lead.traffic is not None else ()
        # On the way back only the version before must be there.
        sides = (rollout.stable,) if rollout.state.word == "reloading" else (rollout.stable, rollout.canary)
        # What an engine has once failed to load concerns a start; later it may be an engine of many.
        is_starting = rollout.state.word in ("loading", "reloading")
        return Seen(
            verdict=watch.verdict,
            watched_s=watch.watched_s,
            is_in_force=self._is_in_force(lead, rollout),
            unserved_s=watch.unserved_s,
            fetched=result.fetched,
            fault=result.fault or (load_fault(sides, endpoints) if is_starting else ""),
            are_loaded=lead.is_table_known and all(is_ready(side, endpoints, adapters) for side in sides),
            are_aliases_moved=result.are_aliases_moved,
        )

    async def _direct(self, lead: Lead, rollouts: list[Rollout], duties: dict[str, Duty]) -> None:
        """Put in force what follows from what is stored; new content always under a new number."""
        if self._table.version < 0:
            # Without any table nobody can be told, and adapters would seem to have no engines.
            return
        endpoints, in_force = self._table.endpoints, self._table.traffic
        wanted = planned(0, rollouts, duties, endpoints, lead.demand, self._wall_s())
        last, above = lead.traffic, max([in_force.generation if in_force else 0, *lead.generations.values()])
        is_same = last is not None and (last.splits, last.adapters) == (wanted.splits, wanted.adapters)
        if last is not None and is_same and above <= last.generation:
            if in_force is None or self._clock.now_s() - lead.directed_s >= _DIRECT_AGAIN_S:
                await self._directing.send(lead, last)
            return
        if lead.fresh_generation <= above:
            # Nothing was decided, only placed anew; or the database is an old one, and its numbers are behind.
            lead.fresh_generation = await self._ask(functools.partial(self._store.next_generation, lead.lease, above))
        lead.traffic = replace(wanted, generation=lead.fresh_generation)
        lead.fresh_generation = 0
        await self._directing.send(lead, lead.traffic)

    async def _keep(self, lead: Lead, rollouts: list[Rollout]) -> None:
        now_s = self._clock.now_s()
        running = {rollout.rollout_id for rollout in rollouts if not rollout.is_over}
        self._errands.forget(but=frozenset(running))
        lead.watches = {key: watch for key, watch in lead.watches.items() if key in running}
        if lead.kept_s is not None and now_s - lead.kept_s < self._pace.keep_s:
            return
        lead.kept_s = now_s
        for rollout in rollouts:
            watch = lead.watches.get(rollout.rollout_id)
            if watch is not None and watch.stage != rollout.stage:
                # A stage that has just begun is kept with the next turn, when its watch has begun, too.
                lead.kept_s = None
            elif watch is not None:
                stored = watch.stored(rollout, lead.waits.get(rollout.rollout_id, ""), lead.generations)
                await self._ask(functools.partial(self._store.keep, lead.lease, stored))

    async def _leave(self) -> None:
        lead, self._lead = self._lead, None
        self._errands.forget()
        if lead is not None:
            try:
                await self._ask(functools.partial(self._store.release, lead.lease))
            except FenzhenError as error:
                _log.warning("the lease was not released, the next controller waits for its end: %s", error)
        for threads in (self._database_threads, self._threads):
            threads.shutdown(wait=False, cancel_futures=True)

    async def _ask(self, call: Callable[[], _T]) -> _T:
        """A blocking call, in a thread. What is given up here and ends later is stored or refused by its lease."""
        try:
            async with asyncio.timeout(_DATABASE_S):
                return await asyncio.get_running_loop().run_in_executor(self._database_threads, call)
        except TimeoutError:
            raise TimedOut(f"the database of rollouts ({self._store.label}) hangs") from None

    def _is_in_force(self, lead: Lead, rollout: Rollout) -> bool:
        return lead.in_force.get(rollout.rollout_id) == rollout.stage

    def _say(self, what: str, words: str) -> None:
        """Write down a trouble once, however long it lasts."""
        if words and words != self._said.get(what):
            _log.warning("%s", words)
        self._said[what] = words

    def _log_entry(self, entry: Entry) -> None:
        note = entry.note
        _log.info(
            "%s: %s, by %s: %s [entry %d, seal %s]", note.name, note.event, note.by, note.said, entry.seq, entry.seal
        )
