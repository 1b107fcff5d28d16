"""Engines that die, hang, break off or refuse, and clients that leave: what a caller sees of it."""

import asyncio
import time

import httpx
import openai
import pytest

from tests.fakes.stack import FakeStack, fake_stack, start_engine
from tests.integration.test_router_http import until

HARD = "Prove step by step that the square root of 2 is irrational, and explain why each step follows."


def chat(question: str, model: str = "auto", **more: object) -> dict[str, object]:
    return {"model": model, "messages": [{"role": "user", "content": question}], **more}


async def asked(stack: FakeStack, body: dict[str, object]) -> httpx.Response:
    async with httpx.AsyncClient(base_url=stack.base_url, timeout=10) as client:
        return await client.post("/v1/chat/completions", json=body)


async def test_a_client_that_hangs_up_frees_the_engines_slot() -> None:
    slow = {"small": ["--token-delay-s 0.05"], "large": [""]}
    async with fake_stack(engines=slow) as stack:
        async with httpx.AsyncClient(base_url=stack.base_url) as client:
            body = chat("word " * 200, "small", stream=True, max_tokens=200)
            async with client.stream("POST", "/v1/chat/completions", json=body) as response:
                await anext(response.aiter_bytes())
                assert stack.small.fake.running == 1
        await until(lambda: stack.small.fake.running == 0, 2)
        assert stack.router.in_flight == 0
        async with httpx.AsyncClient(base_url=stack.base_url) as client:
            page = (await client.get("/metrics")).text
    assert 'fenzhen_client_hang_ups_total{model="small"} 1.0' in page


async def test_a_client_that_hangs_up_before_the_first_token_frees_the_slot_too() -> None:
    slow = {"small": ["--first-token-delay-s 30"], "large": [""]}
    async with fake_stack(engines=slow) as stack:
        with pytest.raises(httpx.ReadTimeout):
            async with httpx.AsyncClient(base_url=stack.base_url, timeout=0.5) as client:
                await client.post("/v1/chat/completions", json=chat("hi", "small"))
        await until(lambda: stack.small.fake.running == 0, 2)


async def test_a_dead_engine_is_a_503_for_its_name_while_the_other_goes_on() -> None:
    async with fake_stack() as stack:
        await stack.large.stop()
        named = await asked(stack, chat(HARD, "large"))
        auto = await asked(stack, chat(HARD))
        other = await asked(stack, chat("hi", "small"))
    assert named.status_code == 503
    assert int(named.headers["retry-after"]) >= 1
    assert named.headers["x-fenzhen-model"] == "large"
    assert (auto.status_code, auto.headers["x-fenzhen-model"]) == (200, "small")
    assert other.status_code == 200


async def test_an_engine_that_dies_before_the_first_byte_costs_a_retry_on_its_twin() -> None:
    two = {"small": ["--first-token-delay-s 1"] * 2, "large": [""]}
    async with fake_stack(engines=two) as stack:
        waiting = asyncio.create_task(asked(stack, chat("hi", "small")))
        await until(lambda: any(engine.fake.running for engine in stack.engines["small"]), 2)
        await next(engine for engine in stack.engines["small"] if engine.fake.running).stop()
        answer = await waiting
    assert answer.status_code == 200


async def test_an_engine_that_dies_before_the_first_byte_leaves_auto_to_the_other_model() -> None:
    slow = {"small": [""], "large": ["--first-token-delay-s 5"]}
    async with fake_stack(engines=slow) as stack:
        waiting = asyncio.create_task(asked(stack, chat(HARD)))
        await until(lambda: stack.large.fake.running == 1, 2)
        await stack.large.stop()
        answer = await waiting
    assert (answer.status_code, answer.headers["x-fenzhen-model"]) == (200, "small")
    assert "not ready" in answer.headers["x-fenzhen-reason"]


async def test_an_engine_that_breaks_off_in_the_middle_of_a_stream_is_told_inside_the_stream() -> None:
    breaking = {"small": ["--break-after-tokens 3"], "large": [""]}
    async with fake_stack(engines=breaking) as stack:
        async with openai.AsyncOpenAI(base_url=f"{stack.base_url}/v1", api_key="none", max_retries=0) as client:
            stream = await client.chat.completions.create(
                model="small", messages=[{"role": "user", "content": "one two three four"}], stream=True
            )
            seen: list[str | None] = []

            async def read_to_the_end() -> None:
                async for chunk in stream:
                    seen.append(chunk.choices[0].delta.content)  # noqa: PERF401 - what came before the error counts

            with pytest.raises(openai.APIError, match="in the middle of the answer"):
                await read_to_the_end()
    assert "".join(part or "" for part in seen) == "small says: one"


async def test_an_engines_own_500_is_tried_elsewhere_and_does_not_close_the_pool() -> None:
    sick = {"small": ["--refuse 500", ""], "large": [""]}
    async with fake_stack(engines=sick) as stack:
        answers = [await asked(stack, chat("hi", "small")) for _ in range(4)]
    assert [answer.status_code for answer in answers] == [200] * 4


async def test_an_engine_that_only_answers_500_is_a_503() -> None:
    sick = {"small": ["--refuse 500"], "large": [""]}
    async with fake_stack(engines=sick) as stack:
        answer = await asked(stack, chat("hi", "small"))
    assert answer.status_code == 503
    assert "answered 500" in answer.json()["error"]["message"]


async def test_an_engine_that_never_begins_is_a_504_within_the_time_out() -> None:
    hung = {"small": ["--first-token-delay-s 60"], "large": [""]}
    async with fake_stack(engines=hung, first_byte_timeout_s=0.5) as stack:
        began_s = time.monotonic()
        answer = await asked(stack, chat("hi", "small"))
        took_s = time.monotonic() - began_s
        await until(lambda: stack.small.fake.running == 0, 2)
    assert answer.status_code == 504
    assert "0.5 s" in answer.json()["error"]["message"]
    assert took_s < 2


async def test_an_engine_that_falls_silent_in_the_middle_is_told_and_let_go() -> None:
    stalls = {"small": ["--token-delay-s 20"], "large": [""]}
    async with fake_stack(engines=stalls, stall_timeout_s=0.5) as stack:
        answer = await asked(stack, chat("hi", "small", stream=True))
        await until(lambda: stack.small.fake.running == 0, 2)
    assert "fell silent for 0.5 s" in answer.text


async def test_a_connection_that_the_engine_closed_while_idle_is_no_failure() -> None:
    async with fake_stack() as stack, httpx.AsyncClient(base_url=stack.base_url) as client:
        assert (await client.post("/v1/chat/completions", json=chat("hi", "small"))).status_code == 200
        for writer in stack.small.writers:
            # Half-closed: the router cannot have noticed when it sends.
            writer.write_eof()
        assert (await client.post("/v1/chat/completions", json=chat("hi", "small"))).status_code == 200
        page = (await client.get("/metrics")).text
    assert 'fenzhen_engine_failures_total{model="small"} 0.0' in page
    assert 'fenzhen_retries_total{model="small"} 0.0' in page


async def test_load_without_a_conversation_is_spread_over_the_engines_of_a_pool_by_what_is_in_flight() -> None:
    two = {"small": ["--token-delay-s 0.1", "--token-delay-s 0.1"], "large": [""]}
    async with fake_stack(engines=two) as stack, httpx.AsyncClient(base_url=stack.base_url, timeout=10) as client:
        body = {"model": "small", "prompt": ["hi"]}
        waiting = [asyncio.create_task(client.post("/v1/completions", json=body)) for _ in range(6)]
        await until(lambda: stack.router.in_flight == 6, 2)
        await asyncio.sleep(0.1)
        assert [engine.fake.running for engine in stack.engines["small"]] == [3, 3]
        await asyncio.gather(*waiting)


async def test_all_turns_of_a_conversation_go_to_one_engine_and_to_another_when_that_dies() -> None:
    async with fake_stack(engines={"small": [""] * 4, "large": [""]}) as stack:
        served: list[list[int]] = []

        def count_of_writers() -> list[int]:
            return [len(engine.writers) for engine in stack.engines["small"]]

        body = chat("Where is the counter?", "small")
        turns = body["messages"]
        assert isinstance(turns, list)
        for number in range(5):
            assert (await asked(stack, body)).status_code == 200
            turns += [{"role": "assistant", "content": "Here."}, {"role": "user", "content": f"And then? {number}"}]
            served.append(count_of_writers())
        assert sorted(served[0]) == [0, 0, 0, 1]
        assert served[-1] == served[0]
        await stack.engines["small"][served[0].index(1)].stop()
        assert (await asked(stack, body)).status_code == 200
        assert sorted(count_of_writers()) == [0, 0, 1, 1]


async def test_an_engine_that_only_fails_is_left_alone_while_its_twin_answers() -> None:
    two = {"small": ["--refuse 500", ""], "large": [""]}
    async with fake_stack(engines=two) as stack, httpx.AsyncClient(base_url=stack.base_url, timeout=10) as client:
        for _ in range(40):
            answer = await client.post("/v1/completions", json={"model": "small", "prompt": ["hi"]})
            assert answer.status_code == 200
        page = (await client.get("/metrics")).text
    failures = next(
        line for line in page.splitlines() if line.startswith('fenzhen_engine_failures_total{model="small"')
    )
    assert 5 <= float(failures.split()[-1]) <= 8


@pytest.mark.parametrize("deadline", ["0", "-1", "soon", "nan", "inf", "1e9", ""])
async def test_a_deadline_that_is_none_is_refused(deadline: str) -> None:
    async with fake_stack() as stack, httpx.AsyncClient(base_url=stack.base_url) as client:
        answer = await client.post("/v1/chat/completions", json=chat("hi"), headers={"x-fenzhen-deadline-s": deadline})
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "x-fenzhen-deadline-s"


async def test_an_answer_that_misses_the_callers_deadline_is_a_504_and_frees_the_engine() -> None:
    slow = {"small": ["--first-token-delay-s 30"], "large": [""]}
    async with fake_stack(engines=slow) as stack, httpx.AsyncClient(base_url=stack.base_url, timeout=10) as client:
        asked_s = time.monotonic()
        answer = await client.post(
            "/v1/chat/completions", json=chat("hi", "small"), headers={"x-fenzhen-deadline-s": "0.3"}
        )
        assert answer.status_code == 504
        assert "0.3 s" in answer.json()["error"]["message"]
        assert time.monotonic() - asked_s < 2
        await until(lambda: stack.small.fake.running == 0, 2)


async def test_a_stream_that_misses_the_callers_deadline_ends_with_an_error() -> None:
    slow = {"small": ["--token-delay-s 0.1"], "large": [""]}
    async with fake_stack(engines=slow) as stack, httpx.AsyncClient(base_url=stack.base_url, timeout=10) as client:
        body = chat("word " * 200, "small", stream=True, max_tokens=200)
        answer = await client.post("/v1/chat/completions", json=body, headers={"x-fenzhen-deadline-s": "0.5"})
        assert "0.5 s" in answer.text.splitlines()[-2]
        assert '"error"' in answer.text
        await until(lambda: stack.small.fake.running == 0, 2)


async def test_an_engine_that_came_back_at_another_address_is_used_at_once() -> None:
    async with fake_stack() as stack:
        await stack.small.stop()
        assert (await asked(stack, chat("hi", "small"))).status_code == 503
        stack.engines["small"] = [await start_engine("small", 0, "")]
        stack.publish()
        assert (await asked(stack, chat("hi", "small"))).status_code == 200
