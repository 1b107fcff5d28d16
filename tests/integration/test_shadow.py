"""Copies of requests with real sockets: what the canary is asked, when it is not, and what comes of it."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from cluster.directory import Table
from cluster.outcomes import Outcome
from cluster.release_settings import Rollouts
from cluster.settings import Judging
from cluster.traffic import Side, Split
from router.openai_request import Route
from router.outcome import Findings
from router.outcome_record import Asked, Record
from router.pools import Pools
from router.shadow import Fate, Shadows
from tests.fakes.drawing import CANARY, split, to_stable, traffic
from tests.fakes.engine import Request
from tests.fakes.scripted_engine import CLOSE, Script, ScriptedEngine, Step, scripted_engine
from tests.integration.test_router_http import until
from tests.integration.test_second_opinion import always, streamed, whole

SHADOWED = split(ratio=0.0, shadow=1.0)
SIZES_B = {"small": 0.5, "large": 7.0}
QUESTION: dict[str, Any] = {"model": "small", "messages": [{"role": "user", "content": "What is the capital?"}]}
FULL_AT = 10.0
JUDGE = always(whole("A"))


class Desk:
    """Copies, and the engines that they go to."""

    def __init__(self, engine: ScriptedEngine, judge: ScriptedEngine, **settings: object) -> None:
        self.engine = engine
        self.judge = judge
        self.pools = Pools(("small", "large"), {"small": FULL_AT, "large": FULL_AT})
        assert engine.endpoint is not None
        assert judge.endpoint is not None
        loaded = replace(engine.endpoint, adapters=(CANARY.served_name,))
        self.pools.direct(traffic(SHADOWED))
        self.pools.update(Table(1, (loaded, judge.endpoint)))
        judging = Judging(judge_model="large") if settings.pop("is_judged", False) else Judging()
        rollouts = Rollouts.model_validate({"shadow_timeout_s": 5, "quality_ratio": 1} | settings)
        self.shadows = Shadows(self.pools, judging, rollouts, Findings(SIZES_B), asyncio.get_running_loop())

    def offer(
        self, asked: dict[str, Any] = QUESTION, one: Split = SHADOWED, route: Route = "chat", **more: Any
    ) -> bool:
        raw = json.dumps(asked).encode()
        question = Asked("small", route, bool(asked.get("stream")), raw, len(raw), b"d-3")
        question = question._replace(**more)
        body = whole("Paris.").partition(b"\r\n\r\n")[2]
        drawn = to_stable(one, is_shadowed=True)
        return self.shadows.offer(
            Record(question._replace(is_stream=False), drawn, "small", False, False, 1.0, 1.5, 1.5, 200, "", (body,))
            if not question.is_stream
            else Record(
                question,
                drawn,
                "small",
                False,
                False,
                1.0,
                1.5,
                2.0,
                200,
                "",
                (streamed("P").partition(b"\r\n\r\n")[2],),
            )
        )

    async def pair(self) -> tuple[Outcome, Outcome]:
        """Stable's outcome and the canary's."""
        await self.fate("compared")
        stable, canary = self.shadows.take()
        return stable, canary

    async def fate(self, name: Fate, count: int = 1) -> None:
        await until(lambda: self.shadows.fates[name] == count, 5)

    @property
    def asked(self) -> list[Request]:
        return [request for connection in self.engine.requests for request in connection]


@asynccontextmanager
async def desk(script: Script, judge: Script = JUDGE, **settings: object) -> AsyncIterator[Desk]:
    async with scripted_engine(script, "small") as engine, scripted_engine(judge, "large") as other:
        one = Desk(engine, other, **settings)
        running = asyncio.create_task(one.shadows.run())
        try:
            yield one
        finally:
            running.cancel()
            await asyncio.wait({running}, timeout=5)
            assert running.done()


async def test_a_copy_asks_for_the_canary_and_both_outcomes_come_together() -> None:
    async with desk(always(whole("Lyon."))) as here:
        assert here.offer(QUESTION | {"temperature": 0.3, "user": "u"})
        stable, canary = await here.pair()
        (request,) = here.asked
    body = json.loads(request.body)
    assert body == QUESTION | {"model": CANARY.served_name, "temperature": 0.3, "user": "u"}
    assert request.path == "/v1/chat/completions"
    assert (stable.is_canary, stable.is_shadow, stable.version, stable.fault) == (False, False, 0, "")
    assert (canary.is_canary, canary.is_shadow, canary.version, canary.fault) == (True, True, 2, "")
    assert stable.stratum == canary.stratum == "short/chat"
    assert stable.group == canary.group == "d-3"
    assert canary.rollout_id == "r-1"
    assert canary.cost == pytest.approx(stable.cost)
    assert here.pools.of("small").in_flight == 0


async def test_a_streamed_request_is_streamed_again_so_that_times_compare() -> None:
    head, _, events = streamed("Paris", " it", " is").partition(b"\r\n\r\n")
    first, mark, rest = events.partition(b"\n\n")
    async with desk(always(head + b"\r\n\r\n", 0.2, first + mark, 0.4, rest)) as here:
        here.offer(QUESTION | {"stream": True})
        _, canary = await here.pair()
        assert json.loads(here.asked[0].body)["stream"] is True
    assert canary.ttft_s == pytest.approx(0.2, abs=0.15)
    assert canary.tpot_s == pytest.approx(0.2, abs=0.1)
    assert canary.output_tokens == 3


async def test_a_prompt_is_put_before_the_copy() -> None:
    prompted = split(canary=Side(4, "small", "small", prompt="Answer in verse."), ratio=0.0, shadow=1.0)
    async with desk(always(whole("Lyon."))) as here:
        here.offer(one=prompted)
        await here.pair()
        body = json.loads(here.asked[0].body)
    assert body["messages"] == [{"role": "system", "content": "Answer in verse."}, *QUESTION["messages"]]
    assert body["model"] == "small"


@pytest.mark.parametrize("route", ["completions", "embeddings"])
async def test_other_routes_are_copied_to_their_own_address(route: Route) -> None:
    async with desk(always(whole("Lyon."))) as here:
        here.offer({"model": "small", "prompt": "a", "input": "a"}, route=route)
        await here.fate("compared")
        assert here.asked[0].path == f"/v1/{route}"


@pytest.mark.parametrize(
    ("steps", "fault"),
    [
        ([b"HTTP/1.1 500 no\r\ncontent-length: 2\r\n\r\n{}"], "error"),
        ([b"HTTP/1.1 400 no\r\ncontent-length: 2\r\n\r\n{}"], "error"),
        ([b"HTTP/1.1 404 no\r\ncontent-length: 2\r\n\r\n{}"], "error"),
        ([b"HTTP/1.1 504 no\r\ncontent-length: 2\r\n\r\n{}"], "timeout"),
        ([b"HTTP/1.1 200 ok\r\ncontent-length: 99\r\n\r\n{}", CLOSE], "error"),
        ([CLOSE], "error"),
        ([60.0], "timeout"),
    ],
    ids=["500", "400", "404", "504", "half", "closed", "slow"],
)
async def test_what_goes_wrong_with_a_copy_is_the_canarys_fault(steps: list[Step], fault: str) -> None:
    async with desk(always(*steps), shadow_timeout_s=0.5) as here:
        here.offer()
        stable, canary = await here.pair()
    assert (stable.fault, canary.fault) == ("", fault)
    assert here.pools.of("small").in_flight == 0


async def test_a_busy_pool_is_asked_nothing() -> None:
    async with desk(always(whole("Lyon.")), shadow_below_ratio=0.5) as here:
        pool = here.pools.of("small")
        for _ in range(int(FULL_AT / 2)):
            pool.take(pool.slots[0])
        here.offer()
        await here.fate("dropped_busy")
        assert here.shadows.take() == []
        assert here.asked == []
        pool.release(pool.slots[0])
        here.offer()
        await here.fate("compared")


async def test_an_adapter_that_no_engine_has_loaded_is_asked_nothing() -> None:
    async with desk(always(whole("Lyon."))) as here:
        assert here.engine.endpoint is not None
        here.pools.update(Table(2, (here.engine.endpoint,)))
        here.offer()
        await here.fate("dropped_busy")
        unknown = split(canary=Side(9, "small", "small@9-00000000"), ratio=0.0, shadow=1.0)
        here.offer(one=unknown)
        await here.fate("dropped_busy", 2)
        assert here.asked == []


async def test_an_adapter_that_goes_while_its_copy_is_answered_leaves_no_request_counted() -> None:
    async with desk(always(0.3, whole("Lyon."))) as here:
        here.offer()
        await until(lambda: len(here.asked) == 1, 5)
        here.pools.direct(traffic())
        await here.fate("compared")
        await until(lambda: here.pools.of("small").in_flight == 0, 5)


async def test_queue_and_flight_are_bounded() -> None:
    async with desk(always(60.0), shadow_max_queue=2, shadow_max_in_flight=1) as here:
        assert here.offer()
        await until(lambda: len(here.asked) == 1, 5)
        assert [here.offer() for _ in range(4)] == [True, True, False, False]
        assert here.shadows.fates["dropped_queue"] == 2
        assert len(here.asked) == 1
    assert here.pools.of("small").in_flight == 0


@pytest.mark.parametrize("more", [{"may_copy": False}, {"raw": b""}], ids=["forbidden", "too long"])
async def test_some_are_never_copied(more: dict[str, Any]) -> None:
    async with desk(always(whole("Lyon."))) as here:
        assert not here.offer(**more)
        assert not here.offer(one=split(canary=Side(3, "", "", judge="/j")))
        assert here.shadows.fates["unfit"] == 2


async def test_an_answer_without_end_holds_no_memory() -> None:
    event = b'data: {"choices":[{"index":0,"delta":{"content":"la"}}]}\n\n'
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n"
    count = 400_000 // len(event)
    async with desk(always(head, event * count, b"data: [DONE]\n\n", CLOSE)) as here:
        here.offer(QUESTION | {"stream": True})
        _, canary = await here.pair()
    # An event that lies across two reads is not seen.
    assert canary.output_tokens == pytest.approx(count, rel=0.01)
    assert (canary.fault, canary.is_malformed, canary.is_empty) == ("", None, False)


# ---- quality --------------------------------------------------------------------------------------------------------


def prefers(wanted: str, otherwise: str) -> Script:
    """A judge that knows which answer it wants, wherever it stands."""

    def script(request: Request) -> list[Step]:
        material = json.loads(request.body)["messages"][1]["content"]
        first = material.partition("<answer_a>")[2].partition("</answer_a>")[0]
        return [whole(wanted if "Lyon" in first else otherwise)]

    return script


@pytest.mark.parametrize(
    ("judge", "quality"),
    [
        (prefers("A", "B"), 1.0),
        (prefers("B", "A"), 0.0),
        (prefers("A", "A"), 0.5),
        (prefers("C", "C"), 1.0),
        (prefers("hm", "hm"), None),
        (always(CLOSE), None),
    ],
    ids=["better", "worse", "by place", "as good", "no verdict", "away"],
)
async def test_a_judge_model_compares_both_answers_in_either_order(judge: Script, quality: float | None) -> None:
    async with desk(always(whole("Lyon.")), judge, is_judged=True) as here:
        here.offer()
        stable, canary = await here.pair()
    assert (stable.quality, canary.quality) == (None, quality)
    assert here.pools.of("large").in_flight == 0


async def test_the_same_answer_is_as_good_and_a_faulty_one_is_not_compared() -> None:
    async with desk(always(whole("Paris.")), is_judged=True) as here:
        here.offer()
        _, canary = await here.pair()
        assert canary.quality == 1.0
        assert here.judge.requests == []
    async with desk(always(whole("")), is_judged=True) as here:
        here.offer()
        _, canary = await here.pair()
        assert (canary.quality, canary.is_empty) == (None, True)


async def test_a_busy_judge_is_not_asked() -> None:
    async with desk(always(whole("Lyon.")), is_judged=True) as here:
        pool = here.pools.of("large")
        for _ in range(int(FULL_AT)):
            pool.take(pool.slots[0])
        here.offer()
        _, canary = await here.pair()
        assert canary.quality is None
        assert here.judge.requests == []


async def test_without_a_judge_model_or_a_share_nothing_is_compared() -> None:
    for is_judged, ratio in ((False, 1), (True, 0)):
        async with desk(always(whole("Lyon.")), is_judged=is_judged, quality_ratio=ratio) as here:
            here.offer()
            _, canary = await here.pair()
            assert canary.quality is None
            assert here.judge.requests == []
