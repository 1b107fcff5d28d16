"""Puts a load on proxies and says what came of it, each answer looked at: `client < load.json > reports.json`.

    python -m loadtests.router_bench.client < load.json

One process with one event loop, written for little cost a request: what is measured is the proxy. See `load` for what
goes in and out. It expects the answers of `stand_in`, and ends by itself.
"""

import asyncio
import contextlib
import gc
import json
import sys
import time
from collections import deque
from collections.abc import Iterator
from itertools import cycle
from typing import Final

import uvloop

from loadtests.router_bench.caller import Caller, Tally
from loadtests.router_bench.load import Load, Reports, Target
from loadtests.router_bench.stand_in import raise_open_files

# Requests that take too long are looked for so often.
_WATCH_S: Final = 0.5
# After a refused connection: a proxy that is down is not hammered.
_RECONNECT_S: Final = 0.05


def requests_of(target: Target) -> Iterator[bytes]:
    """The requests of a target as they go over the wire, without end."""
    heads = "".join(f"{line}\r\n" for line in target.headers)
    whole: list[tuple[bytes, ...]] = []
    for body in target.bodies:
        data = body.encode()
        text = (
            f"POST {target.path} HTTP/1.1\r\nhost: {target.host}:{target.port}\r\n{heads}"
            f"content-type: application/json\r\ncontent-length: {len(data)}\r\n\r\n"
        )
        *first, last = text.encode().split(b"{n}")
        whole.append((*first, last + data))
    for number, parts in enumerate(cycle(whole)):
        yield parts[0] if len(parts) == 1 else (b"%d" % number).join(parts)


class Lane:
    """The connections to one target, and who asks next."""

    def __init__(self, target: Target, load: Load) -> None:
        self.tally = Tally(target)
        self.chunks = load.chunks
        self._load = load
        self._requests = requests_of(target)
        self._connections: set[Caller] = set()
        self._idle: deque[Caller] = deque()
        # Open loop: when the requests that found no connection were due.
        self._waiting: deque[int] = deque()
        self._opening = 0
        self._is_over = False
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def is_quiet(self) -> bool:
        """Whether nothing is in flight and nothing waits."""
        return not self._waiting and not any(connection.is_busy for connection in self._connections)

    @property
    def is_finished(self) -> bool:
        """Whether all that was to be sent has been sent."""
        return self._is_over or (self._load.total is not None and self.tally.sent >= self._load.total)

    async def open(self, count: int, pause_s: float = 0.0) -> None:
        """Open connections; in a closed loop each begins to ask at once. Waits for them as long as for an answer."""
        for _ in range(count):
            self._open_one()
            if pause_s:
                await asyncio.sleep(pause_s)
        loop = asyncio.get_running_loop()
        end_s = loop.time() + self._load.timeout_s
        while self._opening and loop.time() < end_s:
            await asyncio.sleep(0.001)

    def due(self, now_ns: int) -> None:
        """Open loop: a request is due."""
        if self._idle:
            self._idle.popleft().ask(next(self._requests), now_ns)
            return
        self._waiting.append(now_ns)
        if len(self._connections) + self._opening < self._load.connections:
            self._open_one()

    def free(self, caller: Caller) -> None:
        """A connection may be used again."""
        if self._load.rate_per_s is None:
            if not self.is_finished:
                caller.ask(next(self._requests), time.monotonic_ns())
        elif self._waiting:
            caller.ask(next(self._requests), self._waiting.popleft())
        else:
            self._idle.append(caller)

    def lost(self, caller: Caller) -> None:
        """A connection is gone; another takes its place where it is needed."""
        self._connections.discard(caller)
        with contextlib.suppress(ValueError):
            self._idle.remove(caller)
        needs = bool(self._waiting) if self._load.rate_per_s is not None else not self.is_finished
        if needs and not self._is_over:
            self._open_one()

    def late(self, now_ns: int) -> None:
        """Give up what takes too long."""
        oldest_ns = now_ns - int(self._load.timeout_s * 1e9)
        for connection in [one for one in self._connections if one.is_busy and one.sent_ns < oldest_ns]:
            connection.give_up("timed out")
        while self._waiting and self._waiting[0] < oldest_ns:
            self._waiting.popleft()
            self.tally.sent += 1
            self.tally.errors["no connection in time"] += 1

    def end(self) -> None:
        """Send nothing any more."""
        self._is_over = True

    def close(self) -> None:
        """Close every connection."""
        for connection in list(self._connections):
            connection.give_up("not answered at the end")
        for task in self._tasks:
            task.cancel()

    def _open_one(self) -> None:
        self._opening += 1
        task = asyncio.get_running_loop().create_task(self._connect())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _connect(self) -> None:
        loop = asyncio.get_running_loop()
        target = self.tally.target
        try:
            while not self._is_over:
                try:
                    async with asyncio.timeout(self._load.timeout_s):
                        _, connection = await loop.create_connection(lambda: Caller(self), target.host, target.port)
                except (OSError, TimeoutError) as error:
                    self.tally.errors[f"no connection: {type(error).__name__}"] += 1
                    await asyncio.sleep(_RECONNECT_S)
                    continue
                self._connections.add(connection)
                self.free(connection)
                return
        finally:
            self._opening -= 1


async def put(load: Load) -> Reports:
    """Put a load on its targets."""
    lanes = [Lane(target, load) for target in load.targets]
    watching = asyncio.get_running_loop().create_task(_watch(lanes))
    # No cycles arise on the way, and a collection in the middle would look like the proxy's latency.
    gc.collect()
    gc.disable()
    try:
        await (_closed_loop(lanes, load) if load.rate_per_s is None else _open_loop(lanes, load))
        for lane in lanes:
            lane.end()
        give_up_s = asyncio.get_running_loop().time() + load.timeout_s + 2 * _WATCH_S
        while not all(lane.is_quiet for lane in lanes) and asyncio.get_running_loop().time() < give_up_s:
            await asyncio.sleep(0.002)
    finally:
        gc.enable()
        watching.cancel()
        for lane in lanes:
            lane.close()
    return Reports(reports=tuple(lane.tally.report(keep_values=load.keep_values) for lane in lanes))


async def _closed_loop(lanes: list[Lane], load: Load) -> None:
    loop = asyncio.get_running_loop()
    end_s = loop.time() + load.seconds
    pause_s = load.ramp_s / load.connections
    async with asyncio.TaskGroup() as group:
        openings = [group.create_task(lane.open(load.connections, pause_s)) for lane in lanes]
        while loop.time() < end_s and not all(lane.is_finished and lane.is_quiet for lane in lanes):
            await asyncio.sleep(min(0.01, max(end_s - loop.time(), 0)))
        for lane in lanes:
            lane.end()
        for opening in openings:
            opening.cancel()


async def _open_loop(lanes: list[Lane], load: Load) -> None:
    assert load.rate_per_s is not None
    loop = asyncio.get_running_loop()
    # A few connections stand before the first request, so that the usual one finds one open.
    await asyncio.gather(*(lane.open(min(4, load.connections)) for lane in lanes))
    begin_s = loop.time()
    for number in range(int(load.seconds * load.rate_per_s)):
        await asyncio.sleep(max(begin_s + number / load.rate_per_s - loop.time(), 0))
        # When this process was awake, not when it was to wake: its own lateness is not the proxy's.
        lanes[number % len(lanes)].due(time.monotonic_ns())


async def _watch(lanes: list[Lane]) -> None:
    while True:
        await asyncio.sleep(_WATCH_S)
        now_ns = time.monotonic_ns()
        for lane in lanes:
            lane.late(now_ns)


if __name__ == "__main__":
    raise_open_files()
    the_reports = uvloop.run(put(Load.model_validate(json.load(sys.stdin))))
    print(the_reports.model_dump_json())
