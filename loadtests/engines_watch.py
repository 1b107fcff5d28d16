"""Reads the engines' own metrics, and the router's, while load runs: the queue that no caller can see."""

import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Final, Self

import httpx

from loadtests.metrics_page import Page, grown, growth, histogram, page_of, total
from loadtests.records.run import EngineReading, EnginesSeen, EngineTotals

_EVERY_S: Final = 2.0
# An engine in the midst of a long step answers late; a dead one must not hold up the others for long.
_TIMEOUT_S: Final = 1.5
_READERS: Final = 8
# A reading of each for every two seconds of a day: beyond it only totals are kept.
_MOST_READINGS: Final = 200_000
_QUEUE: Final = "vllm:request_queue_time_seconds"
# Of a stand-in engine: how often this machine could not keep the schedule of its timing model.
_LATE: Final = "rehearsal:late_ratio"
_MOST_LATE_RATIO: Final = 0.01
_ROUTER_COUNTERS: Final = "fenzhen_"


class EnginesWatch:
    """A thread for the length of a `with`; what it saw is asked for afterwards."""

    def __init__(self, engines: Mapping[str, str], router_url: str | None) -> None:
        """`engines`: the model of each address; `router_url`: whose counters are read, None: nobody's."""
        self._engines = dict(engines)
        self._router_url = router_url
        self._began_s = time.monotonic()
        self._first: dict[str, Page] = {}
        self._last: dict[str, Page] = {}
        self._restarted: set[str] = set()
        self._readings: list[EngineReading] = []
        self._looks = 0
        self._silent: dict[str, list[str]] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, name="engines' metrics", daemon=True)
        self._client = httpx.Client(timeout=_TIMEOUT_S, trust_env=False)

    def __enter__(self) -> Self:
        self._look()
        self._thread.start()
        return self

    def begin(self, unix_s: float) -> None:
        """Second 0 of the run was then: what is read from now on is told on its clock."""
        self._began_s = time.monotonic() - (time.time() - unix_s)
        self._readings.clear()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join(_EVERY_S + 2 * _TIMEOUT_S)
        self._look()
        self._client.close()

    def seen(self) -> EnginesSeen:
        """What was seen, differences since the beginning."""
        router = {}
        if self._router_url is not None and {self._router_url} <= self._first.keys() & self._last.keys():
            router = grown(self._first[self._router_url], self._last[self._router_url], _ROUTER_COUNTERS)
        notes = [
            f"{url}/metrics could not be read {len(why)} of {self._looks} times ({why[-1]})"
            for url, why in sorted(self._silent.items())
        ]
        for url in self._engines:
            late_ratio = total(self._last.get(url, {}), _LATE)
            if late_ratio is not None and late_ratio > _MOST_LATE_RATIO:
                notes.append(
                    f"{self._name(url)}: a stand-in that was late in {late_ratio:.0%} of its steps; "
                    "this machine is too slow for the rehearsal, and its figures are not to be believed"
                )
        totals = tuple(self._totals(url, model) for url, model in self._engines.items() if url in self._last)
        return EnginesSeen(readings=tuple(self._readings), totals=totals, router=router, notes=tuple(notes))

    def _work(self) -> None:
        while not self._stop.wait(_EVERY_S):
            self._look()

    def _look(self) -> None:
        self._looks += 1
        urls = [*self._engines, *([self._router_url] if self._router_url is not None else [])]
        with ThreadPoolExecutor(max_workers=_READERS) as readers:
            for url, page in zip(urls, readers.map(self._page, urls), strict=True):
                if page is not None:
                    self._take(url, page)

    def _page(self, url: str) -> Page | None:
        try:
            reply = self._client.get(f"{url}/metrics")
            reply.raise_for_status()
            return page_of(reply.text)
        except (httpx.HTTPError, ValueError, KeyError) as error:
            self._silent.setdefault(url, []).append(type(error).__name__)
            return None

    def _take(self, url: str, page: Page) -> None:
        before = self._last.get(url)
        self._first.setdefault(url, page)
        if before is not None and growth(before, page, f"{_QUEUE}_count") is None and total(before, f"{_QUEUE}_count"):
            self._restarted.add(url)
        self._last[url] = page
        running, waiting = total(page, "vllm:num_requests_running"), total(page, "vllm:num_requests_waiting")
        if url in self._engines and running is not None and len(self._readings) < _MOST_READINGS:
            self._readings.append(
                EngineReading(
                    at_s=round(time.monotonic() - self._began_s, 3),
                    engine=self._name(url),
                    running=running,
                    waiting=waiting or 0.0,
                    kv_used_ratio=total(page, "vllm:kv_cache_usage_perc"),
                )
            )

    def _name(self, url: str) -> str:
        place = url.partition("://")[2]
        return f"{self._engines[url]} {place}".strip()

    def _totals(self, url: str, model: str) -> EngineTotals:
        if url in self._restarted:
            # What it had counted before is lost: half a figure would mislead.
            return EngineTotals(engine=self._name(url), model=model)
        first, last = self._first[url], self._last[url]
        queue = histogram(first, last, _QUEUE)
        return EngineTotals(
            engine=self._name(url),
            model=model,
            queue_count=queue.count if queue else None,
            queue_sum_s=queue.sum if queue else None,
            queue_p50_s=queue.quantile(0.5) if queue else None,
            queue_p99_s=queue.quantile(0.99) if queue else None,
            prefix_hit_tokens=growth(first, last, "vllm:prefix_cache_hits_total"),
            prefix_asked_tokens=growth(first, last, "vllm:prefix_cache_queries_total"),
            preemptions=growth(first, last, "vllm:num_preemptions_total"),
        )
