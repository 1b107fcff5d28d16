"""A client that tries again what may be tried again, as OpenAI's own does: `python -m ... patient LOAD.json`.

Tried again, twice at most, are requests of whose answer no byte has come (no connection, a reset, a close) and those
that were answered 503 with `retry-after`. It goes on until SIGTERM, ends what is in flight, and prints one line of
JSON. Three kinds of clients at once: on kept connections, on a new one for each request, and streams.
"""

import asyncio
import itertools
import random
import signal
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Final, Literal

import uvloop
from pydantic import BaseModel, ConfigDict, Field

from loadtests.router_bench.asker import Answer, Asker, BrokenError, post
from loadtests.router_bench.prompts import bodies, streamed
from loadtests.router_bench.wire import ANSWER

Kind = Literal["kept", "new", "stream"]
# As in openai 3.54, _constants.py and _calculate_retry_timeout: two retries, after 0.5 s doubled each time, less up to
# a quarter by lot; or what the server says, up to two minutes.
MAX_RETRIES: Final = 2
_FIRST_WAIT_S: Final = 0.5
_MOST_WAIT_S: Final = 8.0
_MOST_RETRY_AFTER_S: Final = 120
# A request that takes longer is lost: the longest stream here takes a second.
_TIMEOUT_S: Final = 30.0
_ANSWER: Final = ANSWER.encode()
BIN_S: Final = 0.1


class PatientLoad(BaseModel):
    """What to do."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    port: int
    kept: int = 32
    """Clients of this kind; the same below."""
    new: int = 8
    stream: int = 64
    pause_ms: float = 20.0
    """Each client's, between an answer and its next request."""
    chunks: int = Field(default=20, gt=1)
    pace_ms: float = 50.0


class KindReport(BaseModel):
    """What became of the requests of one kind of client."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    requests: int
    right: int
    retried: int
    """Requests that were tried more than once."""
    retries: int
    why_retried: dict[str, int]
    lost: dict[str, int]
    """Could have been answered by one more try, and were not."""
    broken: dict[str, int]
    """The answer had begun and did not end: nobody may try that again."""
    wrong: dict[str, int]
    """Whole answers that are not the right one."""
    slowest_ms: float
    """From the first try to the right answer."""


class PatientReport(BaseModel):
    """All kinds, and the answers in time."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kinds: dict[Kind, KindReport]
    longest_gap_ms: float
    """Between two right answers, whoever got them."""
    begun_s: float
    """By the system's monotonic clock, as are the next."""
    longest_gap_at_s: float
    answers_in_bins: tuple[int, ...]
    """How many right answers came in each tenth of a second from the beginning."""


class Tally:
    """Counts of one kind."""

    def __init__(self) -> None:
        self.requests = self.right = self.retried = self.retries = 0
        self.why_retried: Counter[str] = Counter()
        self.lost: Counter[str] = Counter()
        self.broken: Counter[str] = Counter()
        self.wrong: Counter[str] = Counter()
        self.slowest_s = 0.0

    def report(self) -> KindReport:
        """As it goes out."""
        return KindReport(
            requests=self.requests,
            right=self.right,
            retried=self.retried,
            retries=self.retries,
            why_retried=dict(self.why_retried),
            lost=dict(self.lost),
            broken=dict(self.broken),
            wrong=dict(self.wrong),
            slowest_ms=round(self.slowest_s * 1000, 1),
        )


class Patience:
    """All clients together."""

    def __init__(self, load: PatientLoad, stop: asyncio.Event) -> None:
        self._load = load
        self._stop = stop
        self._lot = random.Random(1)  # noqa: S311 - back-off, no secret
        whole = [*bodies("auto", is_conversation=True), *bodies("small")]
        parts = streamed("auto", load.chunks, load.pace_ms, is_conversation=True)
        self._requests = {
            "kept": [post(load.port, body.encode()) for body in whole],
            # Half of them say so and let the router close, half close themselves.
            "new": [
                post(load.port, body.encode(), b"connection: close\r\n" if number % 2 else b"")
                for number, body in enumerate(whole)
            ],
            "stream": [post(load.port, body.encode()) for body in parts],
        }
        self.tallies: dict[Kind, Tally] = {"kept": Tally(), "new": Tally(), "stream": Tally()}
        self.answered_s: list[float] = []
        """Until it was told to stop: from then on there are fewer, which is nobody's fault."""

    async def run(self) -> None:
        """Until told to stop."""
        counts: dict[Kind, int] = {"kept": self._load.kept, "new": self._load.new, "stream": self._load.stream}
        async with asyncio.TaskGroup() as tasks:
            for kind, count in counts.items():
                for number in range(count):
                    tasks.create_task(self._client(kind, number))

    async def _client(self, kind: Kind, number: int) -> None:
        requests, line = self._requests[kind], Line(self._load.port)
        # Not all at once: streams that begin together end together.
        await asyncio.sleep(self._lot.random() * self._load.pace_ms * self._load.chunks / 1000)
        while not self._stop.is_set():
            await self._ask(kind, requests[number % len(requests)], line)
            number += 1
            if kind == "new":
                line.close()
            await asyncio.sleep(self._load.pause_ms / 1000)
        line.close()

    async def _ask(self, kind: Kind, request: bytes, line: "Line") -> None:
        tally = self.tallies[kind]
        tally.requests += 1
        begun_s = time.monotonic()
        for attempt in range(1 + MAX_RETRIES):
            retry_after_s: int | None = None
            try:
                answer = await line.ask(request)
            except BrokenError as error:
                if error.has_begun:
                    tally.broken[str(error)] += 1
                    return
                why = str(error)
            except TimeoutError:
                tally.lost["timed out"] += 1
                line.close()
                return
            except OSError as error:
                why = f"no connection: {type(error).__name__}"
            else:
                retry_after_s = answer.retry_after_s
                if retry_after_s is None:
                    self._judge(kind, answer, begun_s)
                    return
                why = "503"
            if attempt == MAX_RETRIES:
                tally.lost[why] += 1
                return
            tally.retries += 1
            tally.retried += attempt == 0
            tally.why_retried[why] += 1
            await asyncio.sleep(wait_s(attempt, retry_after_s, self._lot.random()))

    def _judge(self, kind: Kind, answer: Answer, begun_s: float) -> None:
        tally = self.tallies[kind]
        if answer.status != 200:
            tally.wrong[f"status {answer.status}"] += 1
        elif kind == "stream" and b'"error"' in answer.body:
            # The router says in the stream that its engine is gone.
            tally.broken["an error inside the stream"] += 1
        elif not (answer.is_stream_of(self._load.chunks) if kind == "stream" else _ANSWER in answer.body):
            tally.wrong["not the right answer"] += 1
        else:
            now_s = time.monotonic()
            tally.right += 1
            tally.slowest_s = max(tally.slowest_s, now_s - begun_s)
            if not self._stop.is_set():
                self.answered_s.append(now_s)


class Line:
    """A client's one connection, opened where there is none."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._asker: Asker | None = None

    async def ask(self, request: bytes) -> Answer:
        """Raises BrokenError, TimeoutError, OSError."""
        if self._asker is None or not self._asker.is_open:
            try:
                self._asker = await Asker.open("127.0.0.1", self._port)
            except TimeoutError:
                # No answer to a handshake: that may be tried again, unlike an answer that does not come.
                raise OSError("no connection in time") from None
        async with asyncio.timeout(_TIMEOUT_S):
            return await self._asker.send(request)

    def close(self) -> None:
        """Leave the connection."""
        if self._asker is not None:
            self._asker.close()
        self._asker = None


def wait_s(attempt: int, retry_after_s: int | None, lot: float) -> float:
    """How long to wait after the attempt of that number, from 0; `lot` lies between 0 and 1."""
    if retry_after_s is not None and 0 < retry_after_s <= _MOST_RETRY_AFTER_S:
        return float(retry_after_s)
    return min(_FIRST_WAIT_S * 2.0**attempt, _MOST_WAIT_S) * (1 - 0.25 * lot)


def report_of(tallies: dict[Kind, Tally], answered_s: list[float], begun_s: float) -> PatientReport:
    """The figures; `answered_s` in the order in which answers came."""
    gaps = [(later - earlier, earlier) for earlier, later in itertools.pairwise(answered_s)]
    longest_s, at_s = max(gaps, default=(0.0, begun_s))
    last = int((answered_s[-1] - begun_s) / BIN_S) if answered_s else -1
    bins = Counter(int((moment - begun_s) / BIN_S) for moment in answered_s)
    return PatientReport(
        kinds={kind: tally.report() for kind, tally in tallies.items()},
        longest_gap_ms=round(longest_s * 1000, 1),
        begun_s=begun_s,
        longest_gap_at_s=round(at_s - begun_s, 2),
        answers_in_bins=tuple(bins[number] for number in range(last + 1)),
    )


async def main(load: PatientLoad) -> PatientReport:
    """Ask until SIGTERM."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    patience = Patience(load, stop)
    begun_s = time.monotonic()
    await patience.run()
    return report_of(patience.tallies, patience.answered_s, begun_s)


if __name__ == "__main__":
    the_load = PatientLoad.model_validate_json(Path(sys.argv[1]).read_bytes())
    print(uvloop.run(main(the_load)).model_dump_json(), flush=True)
