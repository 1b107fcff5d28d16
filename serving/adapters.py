"""Keeps the adapters of one engine as the traffic in force wants them.

    wanted, not loaded  -> digest checked -> loaded under its versioned name -> one token -> reported
    loaded, not wanted  -> a few seconds, until no router asks for it any more -> unloaded

The engine serves meanwhile, and whoever looks after its health does not wait for any of this. The same name never
stands for two contents: vLLM keeps the prefix blocks that it computed under a name, whatever is loaded under it later.
"""

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cluster.directory import Directory
from cluster.errors import FenzhenError
from cluster.traffic import Adapter, Traffic
from registry.digests import folder_sha256
from serving import backoff
from serving.adapter_api import AdapterApi, Refused, Task, Unreached

_log = logging.getLogger(__name__)

# Routers act by new splits within 2 s; a request that was sent just before then must still find its adapter.
LINGER_S: Final = 5.0
# Somebody else's server may be started again between two looks at it, and then has nothing loaded.
_CHECK_S: Final = 5.0
# A disk that hangs must not look like a load that goes on.
_READ_TIMEOUT_S: Final = 120.0
# A server that gives no answer has most often just ended, which is no fault of an adapter; three times in a row it is.
# Rollouts give up at the first fault that they are told of.
_TIMES_UNREACHED: Final = 3
# An adapter that could not be loaded is remembered for so long after nobody wants it here any more: asked for again at
# once, it would be tried again at full speed.
_FAULT_MEMORY_S: Final = 300.0
_POLL_S: Final = 10.0
# Changes come in bursts: of many engines that report their adapters, each makes a table of its own.
_PACE_S: Final = 0.1
_READ_AGAIN_S: Final = 1.0


@dataclass(slots=True)
class _Trouble:
    """An adapter that could not be loaded."""

    adapter: Adapter
    words: str
    failures: int
    again_s: float
    """When it is tried again, on the monotonic clock."""
    last_wanted_s: float


class Adapters:
    """The adapters of one engine. `run` serves one life of it; `want` says what shall be there."""

    def __init__(
        self,
        endpoint_id: str,
        on_change: Callable[[], None],
        task: Task = "chat",
        linger_s: float = LINGER_S,
        monotonic: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._endpoint_id = endpoint_id
        self._on_change = on_change
        self._task: Task = task
        self._linger_s = linger_s
        self._monotonic = monotonic
        self._chance = chance
        self._wanted: dict[str, Adapter] | None = None
        """None: nobody has said yet, so nothing is taken away."""
        self._loaded: set[str] = set()
        self._unwanted_s: dict[str, float] = {}
        """Since when a loaded one is not wanted."""
        self._troubles: dict[str, _Trouble] = {}
        self._news = asyncio.Event()
        # One thread: while a folder on a disk that hangs is read, no second thread is lost to it.
        self._reader = ThreadPoolExecutor(max_workers=1, thread_name_prefix="adapter digest")

    @property
    def loaded(self) -> tuple[str, ...]:
        """What is loaded and warm, as endpoints report it."""
        return tuple(sorted(self._loaded))

    @property
    def faults(self) -> tuple[tuple[str, str], ...]:
        """What is wanted and could not be loaded, and why, as endpoints report it."""
        wanted = self._wanted or {}
        told = {name: trouble.words for name, trouble in self._troubles.items() if trouble.words and name in wanted}
        return tuple(sorted(told.items()))

    def want(self, traffic: Traffic) -> None:
        """Take over what the traffic in force says of this engine."""
        wanted = {each.served_name: each for each in traffic.adapters if self._endpoint_id in each.endpoint_ids}
        if wanted != self._wanted:
            self._wanted = wanted
            self._news.set()
            self._on_change()

    async def run(self, base_url: str) -> None:
        """Load and unload until cancelled. The engine there has just got ready; what it has loaded is found out."""
        try:
            async with AdapterApi(base_url, self._task) as api:
                checked_s = -_CHECK_S
                while True:
                    self._news.clear()
                    now_s = self._monotonic()
                    if now_s - checked_s >= _CHECK_S:
                        await self._compare(api)
                        checked_s = now_s
                    wait_s = await self._step(api)
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(min(wait_s, _CHECK_S)):
                            await self._news.wait()
        finally:
            self._loaded.clear()
            self._unwanted_s.clear()

    async def _compare(self, api: AdapterApi) -> None:
        """See what the engine really has: after a restart nothing, and before our time perhaps something."""
        try:
            there = await api.names()
        except Unreached as error:
            _log.info("%s: cannot see its adapters: %s", self._endpoint_id, error)
            return
        lost = self._loaded - there
        if lost:
            _log.warning("%s has lost %s", self._endpoint_id, ", ".join(sorted(lost)))
            self._loaded -= lost
            self._on_change()
        # Of those from before our time only the unwanted are noted, to be unloaded; a wanted one is checked first.
        for name in there - self._loaded:
            if self._wanted is not None and name not in self._wanted:
                self._unwanted_s.setdefault(name, self._monotonic())

    async def _step(self, api: AdapterApi) -> float:
        """Do what is due. Gives the seconds until something more is."""
        if self._wanted is None:
            return _CHECK_S
        now_s, wanted = self._monotonic(), self._wanted
        for name in self._loaded - wanted.keys():
            self._unwanted_s.setdefault(name, now_s)
        for name in self._unwanted_s.keys() & wanted.keys():
            del self._unwanted_s[name]
        for name, adapter in wanted.items():
            # What is wanted may have changed while the one before was loaded.
            if self._wanted is wanted and name not in self._loaded and self._is_due(adapter):
                await self._load(api, adapter)
        for name, since_s in sorted(self._unwanted_s.items()):
            if self._wanted is wanted and self._monotonic() - since_s >= self._linger_s:
                await self._unload(api, name)
        self._forget_old_troubles()
        return self._next_due_s()

    def _is_due(self, adapter: Adapter) -> bool:
        trouble = self._troubles.get(adapter.served_name)
        return trouble is None or trouble.adapter != adapter or self._monotonic() >= trouble.again_s

    async def _load(self, api: AdapterApi, adapter: Adapter) -> None:
        begun_s = self._monotonic()
        name = adapter.served_name
        try:
            await self._require_digest(adapter)
            # After a time-out nobody knows whether it is there: vLLM refuses to load a name twice.
            if name not in await api.names():
                await api.load(name, adapter.folder)
            try:
                await api.warm(name)
            except Refused:
                await api.unload(name)
                raise
        except Refused as error:
            self._note_trouble(adapter, str(error), is_certain=True)
        except Unreached as error:
            self._note_trouble(adapter, str(error), is_certain=False)
        else:
            self._troubles.pop(name, None)
            self._loaded.add(name)
            _log.info("%s has loaded %s in %.2f s", self._endpoint_id, name, self._monotonic() - begun_s)
            self._on_change()

    async def _require_digest(self, adapter: Adapter) -> None:
        """Raise Refused unless the folder holds what was registered."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(_READ_TIMEOUT_S):
                found = await loop.run_in_executor(self._reader, _digest, Path(adapter.folder))
        except TimeoutError:
            raise Refused(f"{adapter.folder} cannot be read within {_READ_TIMEOUT_S:.0f} s") from None
        except OSError as error:
            # On a disk that machines share it may be there in a moment.
            raise Unreached(f"{adapter.folder} cannot be read here: {error.strerror}") from None
        except FenzhenError as error:
            raise Refused(str(error)) from None
        if found != adapter.sha256:
            raise Refused(
                f"{adapter.folder} is not what was registered: it has sha256 {found[:8]}…, "
                f"expected was {adapter.sha256[:8]}…"
            )

    async def _unload(self, api: AdapterApi, name: str) -> None:
        try:
            await api.unload(name)
        except Refused as error:
            # It says that it has no such adapter, which is what was wanted.
            _log.info("%s: %s", self._endpoint_id, error)
        except Unreached as error:
            self._unwanted_s[name] = self._monotonic()
            _log.warning("%s does not unload %s: %s", self._endpoint_id, name, error)
            return
        else:
            _log.info("%s has unloaded %s", self._endpoint_id, name)
        del self._unwanted_s[name]
        self._loaded.discard(name)
        self._on_change()

    def _note_trouble(self, adapter: Adapter, words: str, *, is_certain: bool) -> None:
        before = self._troubles.get(adapter.served_name)
        failures = 1 if before is None or before.adapter != adapter else before.failures + 1
        now_s = self._monotonic()
        again_s = now_s + backoff.wait_s(failures, self._chance())
        told = words if is_certain or failures >= _TIMES_UNREACHED else ""
        self._troubles[adapter.served_name] = _Trouble(adapter, told, failures, again_s, now_s)
        _log.warning("%s cannot load %s: %s", self._endpoint_id, adapter.served_name, words)
        self._on_change()

    def _forget_old_troubles(self) -> None:
        now_s, wanted = self._monotonic(), self._wanted or {}
        for name, trouble in list(self._troubles.items()):
            if name in wanted:
                trouble.last_wanted_s = now_s
            elif now_s - trouble.last_wanted_s >= _FAULT_MEMORY_S:
                del self._troubles[name]

    def _next_due_s(self) -> float:
        now_s, wanted = self._monotonic(), self._wanted or {}
        dues = [since_s + self._linger_s for since_s in self._unwanted_s.values()]
        dues += [trouble.again_s for name, trouble in self._troubles.items() if name in wanted]
        return max(0.0, min(dues, default=now_s + _CHECK_S) - now_s)


def _digest(folder: Path) -> str:
    # A folder that is not there would count as one without files.
    folder.stat()
    return folder_sha256(folder)


async def follow(directory: Directory, take: Callable[[Traffic], None]) -> None:
    """Hand on the traffic in force whenever it has changed, until cancelled. A directory out of reach is waited for."""
    known_version, known = -1, None
    while True:
        try:
            table = await directory.read(known_version, _POLL_S)
        except FenzhenError as error:
            _log.warning("cannot read which adapters are wanted: %s", error)
            await asyncio.sleep(_READ_AGAIN_S)
            continue
        known_version = table.version
        # A table without traffic is that of a directory just born: what was wanted before still is.
        if table.traffic is not None and table.traffic.adapters != known:
            known = table.traffic.adapters
            take(table.traffic)
        await asyncio.sleep(_PACE_S)
