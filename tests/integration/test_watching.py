"""What becomes of requests to a canary, from the caller to the directory: a replica, an engine, real sockets."""

import asyncio
import gc
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import httpx
import pytest

from cluster.clock import MonotonicClock
from cluster.directory_holder import DirectoryHolder
from cluster.errors import Unavailable
from cluster.outcomes import Batch, Outcome, Tally
from cluster.release_settings import Rollouts
from cluster.settings import Judging
from cluster.settings import Router as RouterSettings
from cluster.traffic import Split
from router.deployment import RouterReplica
from router.watching import DRIFT_GAP_S
from tests.fakes.drawing import CANARY, split, traffic
from tests.fakes.engine import Request
from tests.fakes.scripted_engine import CLOSE, RESET, Script, ScriptedEngine, Step, scripted_engine
from tests.fakes.stack import SMALL
from tests.integration.test_router_http import until
from tests.integration.test_second_opinion import _free_port, streamed, whole

STOP: Callable[[RouterReplica], Awaitable[None]] = RouterReplica.__del__
FAILS: list[Step] = [b"HTTP/1.1 500 no\r\ncontent-length: 2\r\n\r\n{}"]
ALL_CANARY = split(ratio=1.0)
ONLY_COPIES = split(ratio=0.0, shadow=1.0)


class Listening(DirectoryHolder):
    """A directory that can be away, and keeps what it is told."""

    def __init__(self) -> None:
        super().__init__(MonotonicClock(), settle_s=0)
        self.is_away = False
        self.batches: list[Batch] = []

    async def tell(self, batch: Batch) -> None:
        if self.is_away:
            raise Unavailable("the directory is away")
        self.batches.append(batch)


@dataclass
class City:
    """A replica whose traffic is split, and its engine."""

    replica: RouterReplica
    client: httpx.AsyncClient
    engine: ScriptedEngine
    directory: Listening = field(default_factory=Listening)

    async def ask(self, headers: dict[str, str] | None = None, **more: Any) -> httpx.Response:
        body = {"model": "small", "messages": [{"role": "user", "content": "What is the capital?"}], **more}
        return await self.client.post("/v1/chat/completions", json=body, headers=headers)

    @property
    def outcomes(self) -> list[Outcome]:
        return [outcome for batch in self.directory.batches for outcome in batch.outcomes]

    @property
    def tallies(self) -> list[Tally]:
        return [tally for batch in self.directory.batches for tally in batch.tallies]

    async def told(self, count: int) -> list[Outcome]:
        """So many outcomes, once they have arrived, and no more."""
        await until(lambda: len(self.outcomes) >= count, 5)
        await asyncio.sleep(0.15)
        assert len(self.outcomes) == count
        return self.outcomes


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr("router.telling.TELL_INTERVAL_S", 0.05)
    monkeypatch.setattr("router.telling.TALLY_INTERVAL_S", 0.1)
    # Ray Serve awaits it; Python, freeing the object, would call it again and await nothing.
    monkeypatch.delattr(RouterReplica, "__del__")
    yield
    gc.collect()


def by_side(canary: list[Step], stable: list[Step]) -> Script:
    """One engine that has both."""

    def script(request: Request) -> list[Step]:
        return canary if json.loads(request.body)["model"] == CANARY.served_name else stable

    return script


@asynccontextmanager
async def city(
    script: Script, one: Split = ALL_CANARY, *, is_loaded: bool = True, **settings: object
) -> AsyncIterator[City]:
    directory = Listening()
    rollouts = Rollouts.model_validate({"drift_ratio": 0} | settings)
    async with scripted_engine(script) as engine:
        assert engine.endpoint is not None
        await directory.report(replace(engine.endpoint, adapters=(CANARY.served_name,) if is_loaded else ()))
        await directory.direct(traffic(one, generation=5))
        replica = RouterReplica.__new__(RouterReplica)
        port = _free_port()
        router = RouterSettings(port=port, drain_s=2, drain_idle_s=0, host="127.0.0.1")
        await replica.__init__(  # type: ignore[misc]
            (SMALL,), router, directory, Judging(), None, {"small": 100.0}, rollouts
        )
        try:
            async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=10) as client:
                yield City(replica, client, engine, directory)
        finally:
            await STOP(replica)
            await until(lambda: not replica._thread.is_alive(), 2)


GOOD: list[Step] = [whole("Paris.")]
JSON_WANTED = {"response_format": {"type": "json_object"}}
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "required": ["a"]}}}
MUST_CALL = {"tools": [TOOL], "tool_choice": "required"}


def found(outcome: Outcome) -> set[str]:
    names = ("is_empty", "is_truncated", "is_refused", "is_malformed")
    return {name for name in names if getattr(outcome, name)} | ({outcome.fault} - {""})


@pytest.mark.parametrize(
    ("steps", "asked", "wrong"),
    [
        (GOOD, {}, set()),
        ([whole("")], {}, {"is_empty"}),
        ([whole("Par", finish="length")], {}, {"is_truncated"}),
        ([whole("I'm sorry, but I can't help with that.")], {}, {"is_refused"}),
        ([whole("Paris.")], JSON_WANTED, {"is_malformed"}),
        ([whole('{"a": 1}')], JSON_WANTED, set()),
        ([whole("Paris.")], MUST_CALL, {"is_malformed"}),
        ([streamed("Pa", "ris.")], {"stream": True}, set()),
        ([streamed()], {"stream": True}, {"is_empty"}),
    ],
    ids=["good", "empty", "cut off", "refusal", "no json", "json", "no call", "stream", "empty stream"],
)
async def test_what_is_wrong_with_a_canarys_answers_is_found(
    steps: list[Step], asked: dict[str, Any], wrong: set[str]
) -> None:
    async with city(by_side(steps, FAILS)) as here:
        answer = await here.ask({"x-fenzhen-group": "district-3"}, **asked)
        assert answer.status_code == 200
        (outcome,) = await here.told(1)
    assert found(outcome) == wrong
    assert (outcome.is_canary, outcome.is_shadow, outcome.version, outcome.group) == (True, False, 2, "district-3")
    assert {batch.generation for batch in here.directory.batches} == {5}


async def test_a_canary_that_fails_is_told_though_the_caller_gets_stables_answer() -> None:
    async with city(by_side(FAILS, GOOD)) as here:
        answer = await here.ask()
        assert (answer.status_code, answer.headers["x-fenzhen-version"]) == (200, "0")
        (outcome,) = await here.told(1)
    assert (outcome.is_canary, outcome.fault, outcome.ttft_s) == (True, "error", None)


@pytest.mark.parametrize("end", [CLOSE, RESET])
async def test_a_stream_that_breaks_off_is_an_error(end: str) -> None:
    head, mark, events = streamed("Paris", " it is").partition(b"\r\n\r\n")
    async with city(by_side([head + mark + events[:60], 0.05, end], GOOD)) as here:
        with pytest.raises(httpx.HTTPError):
            await here.ask(stream=True)
        (outcome,) = await here.told(1)
    assert (outcome.is_canary, outcome.fault) == (True, "error")


async def test_an_answer_that_takes_too_long_has_timed_out() -> None:
    head, mark, events = streamed("Paris", " it is").partition(b"\r\n\r\n")
    async with city(by_side([head + mark + events[:60], 20.0], GOOD)) as here:
        with pytest.raises(httpx.HTTPError):
            await here.ask({"x-fenzhen-deadline-s": "0.3"}, stream=True)
        (outcome,) = await here.told(1)
    assert (outcome.is_canary, outcome.fault) == (True, "timeout")


async def test_a_slow_canary_is_told_by_its_times() -> None:
    head, mark, events = streamed("a", "b", "c").partition(b"\r\n\r\n")
    first, rest = events.split(b"\n\n", 1)
    async with city(by_side([0.3, head + mark + first + b"\n\n", 0.4, rest], FAILS)) as here:
        await here.ask(stream=True)
        (outcome,) = await here.told(1)
    assert outcome.ttft_s == pytest.approx(0.3, abs=0.15)
    assert outcome.tpot_s == pytest.approx(0.2, abs=0.1)


async def test_a_caller_who_hangs_up_is_nobodys_fault() -> None:
    head, mark, events = streamed("a", "b").partition(b"\r\n\r\n")
    async with city(by_side([head + mark + events[:60], 20.0], FAILS)) as here:
        with pytest.raises(httpx.ReadTimeout):
            await here.client.post(
                "/v1/chat/completions",
                json={"model": "small", "messages": [{"role": "user", "content": "hi"}], "stream": True},
                timeout=0.3,
            )
        await until(lambda: here.replica._server.in_flight == 0, 5)
        await here.told(0)


async def test_a_wrong_request_is_no_outcome_of_anybody() -> None:
    wrong: list[Step] = [b"HTTP/1.1 400 no\r\ncontent-length: 2\r\n\r\n{}"]
    async with city(by_side(wrong, wrong)) as here:
        assert (await here.ask()).status_code == 400
        await here.told(0)


async def test_a_copy_never_reaches_the_caller_and_comes_with_its_control() -> None:
    async with city(by_side([whole("Lyon.")], GOOD), ONLY_COPIES) as here:
        answer = await here.ask()
        assert answer.json()["choices"][0]["message"]["content"] == "Paris."
        stable, canary = await here.told(2)
        assert len([one for seen in here.engine.requests for one in seen]) == 2
        page = (await here.client.get("/metrics")).text
    assert 'fenzhen_router_copies_total{outcome="compared"} 1.0' in page
    assert (stable.is_canary, stable.is_shadow) == (False, False)
    assert (canary.is_canary, canary.is_shadow) == (True, True)


async def test_a_canary_that_fails_its_copies_costs_the_caller_nothing() -> None:
    async with city(by_side([60.0], GOOD), ONLY_COPIES, shadow_timeout_s=0.3) as here:
        assert (await here.ask()).status_code == 200
        stable, canary = await here.told(2)
    assert (stable.fault, canary.fault) == ("", "timeout")


async def test_who_forbids_learning_is_not_copied() -> None:
    async with city(by_side([whole("Lyon.")], GOOD), ONLY_COPIES) as here:
        await here.ask({"x-fenzhen-no-learning": "1"})
        await here.told(0)
        assert len([one for seen in here.engine.requests for one in seen]) == 1


async def test_copies_are_dropped_while_the_pool_is_busy() -> None:
    async with city(by_side([whole("Lyon.")], GOOD), ONLY_COPIES, shadow_below_ratio=0.001) as here:
        # One hundred requests fill it: with one in flight it carries more than a thousandth.
        pool = here.replica._server.pools.of("small")
        here.replica._loop.call_soon_threadsafe(pool.take, pool.slots[0])
        assert (await here.ask()).status_code == 200
        await here.told(0)
        assert len([one for seen in here.engine.requests for one in seen]) == 1
        here.replica._loop.call_soon_threadsafe(pool.release, pool.slots[0])


async def test_an_adapter_that_is_nowhere_loaded_is_asked_for() -> None:
    async with city(by_side(GOOD, GOOD), is_loaded=False) as here:
        assert (await here.ask()).status_code == 200
        await until(lambda: any(batch.demand for batch in here.directory.batches), 5)
        demand = [pair for batch in here.directory.batches for pair in batch.demand]
    assert demand[0][0] == CANARY.served_name


async def test_requests_are_counted_for_drift_without_their_texts() -> None:
    async with city(by_side(GOOD, GOOD), drift_ratio=1) as here:
        for _ in range(3):
            await here.ask()
            # Of requests that come at once not all are counted.
            await asyncio.sleep(2 * DRIFT_GAP_S)
        await until(lambda: sum(tally.requests for tally in here.tallies) == 3, 5)
    assert {(tally.name, tally.version) for tally in here.tallies} == {("small", 2)}


async def test_a_directory_that_is_away_is_no_callers_business() -> None:
    async with city(by_side(GOOD, FAILS)) as here:
        here.directory.is_away = True
        for _ in range(3):
            assert (await here.ask()).status_code == 200
        await asyncio.sleep(0.2)
        assert here.outcomes == []
        here.directory.is_away = False
        assert len(await here.told(3)) == 3
