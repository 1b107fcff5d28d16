"""The choice among models that are busy, or that a conversation has begun with, over real sockets."""

import asyncio
import re
import time
from collections import Counter

import httpx

from cluster.settings import Model
from router.query import Query
from tests.fakes.judges import shipped
from tests.fakes.stack import LARGE, FakeStack, card, fake_stack

NEAR = "Compare the two proposals for the new library building and say which of them you would choose."
DEADLINE_S = 3.0


def difficulty_of(question: str, turns: int = 1) -> float:
    return shipped().estimate(Query(question, turns=turns)).difficulty


def small_with_bar(bar: float) -> Model:
    """A small model whose bar lies where a test wants it, whatever the shipped judge thinks of a question."""
    return card("small", size_b=0.5, max_difficulty=bar)


def chat(*turns: str) -> dict[str, object]:
    """A conversation: question, answer, question ..."""
    roles = ("user", "assistant")
    return {"model": "auto", "messages": [{"role": roles[at % 2], "content": text} for at, text in enumerate(turns)]}


async def metric(client: httpx.AsyncClient, line: str) -> float:
    """One figure of the router's; 0 where it is not there."""
    page = (await client.get("/metrics")).text
    found = re.search(rf"^{re.escape(line)} (\S+)$", page, re.MULTILINE)
    return float(found[1]) if found else 0.0


async def asked_steadily(stack: FakeStack, rate: float, for_s: float) -> Counter[str]:
    """Ask at `rate` a second whatever comes back; who answered, or the status of a refusal."""
    counts: Counter[str] = Counter()

    async def ask(client: httpx.AsyncClient) -> None:
        headers = {"x-fenzhen-deadline-s": str(DEADLINE_S)}
        answer = await client.post("/v1/chat/completions", json=chat(NEAR), headers=headers)
        counts[answer.headers["x-fenzhen-model"] if answer.status_code == 200 else str(answer.status_code)] += 1

    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(base_url=stack.base_url, limits=limits, timeout=30) as client:
        begun_s = time.monotonic()
        async with asyncio.TaskGroup() as group:
            for number in range(round(rate * for_s)):
                await asyncio.sleep(max(0.0, begun_s + number / rate - time.monotonic()))
                group.create_task(ask(client))
    return counts


async def test_a_full_pool_is_relieved_instead_of_letting_callers_time_out() -> None:
    # The large engine answers 5 a second and is asked 10; the question lies just above the border.
    engines = {"small": ["--max-num-seqs 64"], "large": ["--max-num-seqs 2 --first-token-delay-s 0.4"]}
    cards = (small_with_bar(difficulty_of(NEAR) - 0.026), LARGE)
    full_at = {"small": 64, "large": 2}
    async with fake_stack(cards, engines, full_at, max_relief=0) as stack:
        queued = await asked_steadily(stack, 10, 7)
    async with (
        fake_stack(cards, engines, full_at, max_relief=0.03) as stack,
        httpx.AsyncClient(base_url=stack.base_url) as client,
    ):
        eased = await asked_steadily(stack, 10, 7)
        assert await metric(client, 'fenzhen_relief_ratio{model="large"}') > 0
        relieved = await metric(client, 'fenzhen_relieved_total{from="large",to="small"}')
        told = await client.post("/v1/chat/completions", json=chat(NEAR))
        # It shrinks by itself, and then the question goes where it belongs.
        async with asyncio.timeout(60):
            while await metric(client, 'fenzhen_relief_ratio{model="large"}') > 0.0255:
                await asyncio.sleep(0.5)
        belongs = await client.post("/v1/chat/completions", json=chat(NEAR))
    assert queued["504"] > 10
    assert queued["small"] == 0
    assert eased["504"] == 0
    assert eased["small"] > 20
    assert eased["large"] > 5
    assert relieved == eased["small"]
    assert "large is busy and this is near its border: small answers" in told.headers["x-fenzhen-reason"]
    assert belongs.headers["x-fenzhen-model"] == "large"


async def test_a_conversation_stays_with_the_model_that_really_answered() -> None:
    question = NEAR
    follow_up = (question, "The first.", question)
    # Easy by a little, so that each of its turns would go to the small model.
    bar = max(difficulty_of(question), difficulty_of(question, turns=4)) + 0.02
    async with (
        fake_stack((small_with_bar(bar), LARGE)) as stack,
        httpx.AsyncClient(base_url=stack.base_url) as client,
    ):

        async def answered_by(*turns: str) -> str:
            answer = await client.post("/v1/chat/completions", json=chat(*turns))
            assert answer.status_code == 200
            name: str = answer.headers["x-fenzhen-model"]
            return name

        assert await answered_by(question) == "small"
        assert await answered_by(*follow_up) == "small"
        stack.states["small-0"] = "restarting"
        stack.publish()
        # The earlier model is away: another answers, and keeps what follows.
        assert await answered_by(*follow_up, "That one.", question) == "large"
        stack.states["small-0"] = "ready"
        stack.publish()
        assert await answered_by(*follow_up, "That one.", question, "Yes.", question) == "large"
        # The same question in another conversation knows nothing of that.
        assert await answered_by(*follow_up, "This one.", question, "Yes.", question) == "small"
        assert await metric(client, 'fenzhen_conversation_switches_total{from="small",to="large"}') == 1
