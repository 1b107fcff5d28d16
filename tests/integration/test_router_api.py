"""The OpenAI API of the router, over real sockets, with stand-in engines behind it."""

import asyncio
import hashlib
import json

import httpx
import openai
import orjson
import pytest

from tests.fakes.stack import LARGE, FakeStack, card, fake_stack
from tests.integration.test_router_http import said_to

EASY = "What is the capital of France?"
HARD = "Prove step by step that the square root of 2 is irrational, and explain why each step follows."
EASY_ZH = "法国的首都是哪里？"
HARD_ZH = "请一步一步证明根号2是无理数，并解释每一步的理由。"


def client_of(stack: FakeStack) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=f"{stack.base_url}/v1", api_key="none", max_retries=0, timeout=10)


def chat(question: str, model: str = "auto", **more: object) -> dict[str, object]:
    return {"model": model, "messages": [{"role": "user", "content": question}], **more}


@pytest.mark.parametrize(
    ("question", "model"), [(EASY, "small"), (EASY_ZH, "small"), (HARD, "large"), (HARD_ZH, "large")]
)
async def test_auto_sends_easy_questions_to_the_small_model_and_hard_ones_to_the_large(
    question: str, model: str
) -> None:
    async with fake_stack() as stack, httpx.AsyncClient(base_url=stack.base_url) as client:
        answer = await client.post("/v1/chat/completions", json=chat(question))
    assert answer.status_code == 200
    assert answer.headers["x-fenzhen-model"] == model
    assert answer.json()["model"] == model
    assert (float(answer.headers["x-fenzhen-difficulty"]) >= 0.5) == (model == "large")
    assert answer.headers["x-fenzhen-reason"].isascii()
    assert answer.headers["x-request-id"].startswith("req-")


async def test_a_named_model_is_obeyed_however_hard_the_question() -> None:
    async with fake_stack() as stack, httpx.AsyncClient(base_url=stack.base_url) as client:
        answer = await client.post("/v1/chat/completions", json=chat(HARD, "small"))
    assert answer.headers["x-fenzhen-model"] == "small"
    assert answer.headers["x-fenzhen-reason"] == "the request named this model"
    assert "x-fenzhen-difficulty" not in answer.headers


async def test_no_chinese_question_goes_to_a_model_that_does_not_speak_it() -> None:
    english_only = card("small", size_b=0.1, max_difficulty=0.5, languages=("en",))
    async with fake_stack((english_only, LARGE)) as stack, httpx.AsyncClient(base_url=stack.base_url) as client:
        chinese = await client.post("/v1/chat/completions", json=chat(EASY_ZH))
        english = await client.post("/v1/chat/completions", json=chat(EASY))
        told_in_chinese = {
            "model": "auto",
            "messages": [{"role": "system", "content": "用中文回答"}, {"role": "user", "content": EASY}],
        }
        instructed = await client.post("/v1/chat/completions", json=told_in_chinese)
    assert [a.headers["x-fenzhen-model"] for a in (chinese, english, instructed)] == ["large", "small", "large"]
    assert "zh is written" in chinese.headers["x-fenzhen-reason"]


async def test_tools_go_only_to_a_model_that_can_call_them() -> None:
    no_tools = card("small", size_b=0.1, max_difficulty=0.5, tools=False)
    tools = [{"type": "function", "function": {"name": "clock", "parameters": {"type": "object", "properties": {}}}}]
    async with fake_stack((no_tools, LARGE)) as stack, httpx.AsyncClient(base_url=stack.base_url) as client:
        answer = await client.post("/v1/chat/completions", json=chat(EASY, tools=tools))
    assert answer.headers["x-fenzhen-model"] == "large"
    assert "tools are offered" in answer.headers["x-fenzhen-reason"]


async def test_a_conversation_that_is_too_long_for_the_small_model_goes_to_the_large() -> None:
    short = card("small", size_b=0.1, max_difficulty=0.5, context_tokens=512)
    async with fake_stack((short, LARGE)) as stack, httpx.AsyncClient(base_url=stack.base_url) as client:
        past = {"role": "assistant", "content": "word " * 500}
        body = {"model": "auto", "messages": [past, {"role": "user", "content": EASY}]}
        answer = await client.post("/v1/chat/completions", json=body)
    assert answer.headers["x-fenzhen-model"] == "large"
    assert "tokens are needed" in answer.headers["x-fenzhen-reason"]


async def test_the_body_of_a_named_model_reaches_the_engine_byte_for_byte() -> None:
    raw = json.dumps(chat(EASY, "small", unknown_field={"kept": [1, 2.50]}, top_k=3), indent=3).encode()
    async with fake_stack() as stack, httpx.AsyncClient(base_url=stack.base_url) as client:
        answer = await client.post("/v1/chat/completions", content=raw)
    assert answer.headers["x-seen-body-sha256"] == hashlib.sha256(raw).hexdigest()


async def test_auto_changes_nothing_of_the_body_but_the_model() -> None:
    body = chat(EASY, unknown_field={"kept": [1, 2.5]}, temperature=0.3, stop=["。"])
    async with fake_stack() as stack, httpx.AsyncClient(base_url=stack.base_url) as client:
        answer = await client.post("/v1/chat/completions", json=body)
    expected = orjson.dumps({**body, "model": "small"})
    assert answer.headers["x-seen-body-sha256"] == hashlib.sha256(expected).hexdigest()


async def test_the_callers_key_does_not_reach_the_engine_but_its_request_id_and_trace_do() -> None:
    headers = {"authorization": "Bearer secret", "cookie": "a=b", "x-request-id": "abc-1", "traceparent": "00-1-2-01"}
    async with fake_stack() as stack, httpx.AsyncClient(base_url=stack.base_url) as client:
        answer = await client.post("/v1/chat/completions", json=chat(EASY), headers=headers)
    seen = answer.headers["x-seen-header-names"].split(",")
    assert seen == ["content-length", "content-type", "host", "traceparent", "x-request-id"]
    assert answer.headers["x-request-id"] == answer.headers["x-seen-request-id"] == "abc-1"


async def test_a_request_id_that_could_split_a_log_line_is_replaced() -> None:
    async with fake_stack() as stack, httpx.AsyncClient(base_url=stack.base_url) as client:
        answer = await client.get("/healthz", headers={"x-request-id": "a b\tc"})
    assert answer.headers["x-request-id"].startswith("req-")


async def test_the_openai_client_chats_and_streams() -> None:
    async with fake_stack() as stack, client_of(stack) as client:
        answer = await client.chat.completions.create(
            model="auto", messages=[{"role": "user", "content": "one two three"}]
        )
        stream = await client.chat.completions.create(
            model="auto",
            messages=[{"role": "user", "content": "one two three"}],
            stream=True,
            stream_options={"include_usage": True},
        )
        chunks = [chunk async for chunk in stream]
        old = await client.completions.create(model="auto", prompt="one two three")
    assert answer.choices[0].message.content == "small says: one two three"
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == "small says: one two three"
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == 5
    assert old.choices[0].text == "small says: one two three"


async def test_the_models_are_listed_and_one_is_retrieved() -> None:
    async with fake_stack() as stack, client_of(stack) as client:
        names = [model.id async for model in await client.models.list()]
        one = await client.models.retrieve("large")
        with pytest.raises(openai.NotFoundError, match="auto, small, large"):
            await client.models.retrieve("gpt")
    assert names == ["auto", "small", "large"]
    assert one.id == "large"


async def test_embeddings_get_a_clear_404_where_no_model_makes_them() -> None:
    async with fake_stack() as stack, client_of(stack) as client:
        with pytest.raises(openai.NotFoundError, match="No model here makes embeddings") as caught:
            await client.embeddings.create(model="auto", input="hello")
        with pytest.raises(openai.NotFoundError, match="'small' makes no embeddings"):
            await client.embeddings.create(model="small", input="hello")
    assert caught.value.code == "model_not_found"


async def test_embeddings_come_from_a_model_that_makes_them_named_or_not() -> None:
    vectors = card("vectors", size_b=0.1, task="embed")
    async with fake_stack((vectors, LARGE)) as stack, client_of(stack) as client:
        for model in ("auto", "vectors"):
            answer = await client.embeddings.create(model=model, input=["one", "two"], encoding_format="float")
            assert [row.embedding for row in answer.data] == [[0.5, -0.5]] * 2
        chat_answer = await client.chat.completions.create(model="auto", messages=[{"role": "user", "content": "hi"}])
        with pytest.raises(openai.NotFoundError, match="makes embeddings only"):
            await client.chat.completions.create(model="vectors", messages=[{"role": "user", "content": "hi"}])
    assert chat_answer.model == "large"


async def test_a_model_that_does_not_exist_is_a_404_that_names_those_that_do() -> None:
    async with fake_stack() as stack, client_of(stack) as client:
        with pytest.raises(openai.NotFoundError, match="auto, small, large") as caught:
            await client.chat.completions.create(model="gpt-9", messages=[{"role": "user", "content": "hi"}])
    assert (caught.value.param, caught.value.code) == ("model", "model_not_found")


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"messages": []}, "messages"),
        ({"messages": "hi"}, "messages"),
        ({"messages": [{"role": "robot", "content": "hi"}]}, "messages[0].role"),
        ({"messages": [{"role": "user"}]}, "messages[0].content"),
        ({"messages": ["hi"]}, "messages[0]"),
        ({"model": 3}, "model"),
        ({"temperature": 3}, "temperature"),
        ({"temperature": "warm"}, "temperature"),
        ({"top_p": 1.5}, "top_p"),
        ({"n": 0}, "n"),
        ({"n": True}, "n"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_completion_tokens": 1.5}, "max_completion_tokens"),
        ({"stream": "yes"}, "stream"),
        ({"stop": [1]}, "stop"),
        ({"seed": "x"}, "seed"),
        ({"tools": {}}, "tools"),
        ({"response_format": "json"}, "response_format"),
        ({"logprobs": 1}, "logprobs"),
        ({"top_logprobs": 21}, "top_logprobs"),
        ({"logit_bias": []}, "logit_bias"),
        ({"stream_options": []}, "stream_options"),
    ],
)
async def test_a_wrong_field_is_a_400_that_names_it(change: dict[str, object], field: str) -> None:
    async with fake_stack() as stack, httpx.AsyncClient(base_url=stack.base_url) as client:
        answer = await client.post("/v1/chat/completions", json=chat("hi") | change)
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["param"] == field
    assert field in error["message"]


@pytest.mark.parametrize(
    "raw", [b"", b"{", b"[]", b'"hi"', b"\xff", b'{"model":"auto"}', b'{"messages":[]}', b"[" * 5000]
)
async def test_a_body_that_is_no_chat_is_a_400(raw: bytes) -> None:
    async with fake_stack() as stack, httpx.AsyncClient(base_url=stack.base_url) as client:
        answer = await client.post("/v1/chat/completions", content=raw)
    assert answer.status_code == 400
    assert answer.json()["error"]["type"] == "invalid_request_error"


async def test_the_engines_own_400_is_passed_on() -> None:
    refusing = {"small": ["--refuse 400"], "large": [""]}
    async with fake_stack(engines=refusing) as stack, client_of(stack) as client:
        with pytest.raises(openai.BadRequestError, match="told to refuse"):
            await client.chat.completions.create(model="small", messages=[{"role": "user", "content": "hi"}])


async def test_a_body_over_the_limit_is_a_413_even_while_the_client_still_sends() -> None:
    async with fake_stack(max_body_bytes=1000) as stack, httpx.AsyncClient(base_url=stack.base_url) as client:
        whole = await client.post("/v1/chat/completions", json=chat("x" * 5_000_000))

        async def pieces() -> object:
            for _ in range(20):
                yield b"x" * 100

        chunked = await client.post("/v1/chat/completions", content=pieces())  # type: ignore[arg-type]
    assert whole.status_code == chunked.status_code == 413
    assert "1000 bytes" in whole.json()["error"]["message"]


async def test_a_pool_that_starts_is_a_503_with_retry_after_and_auto_uses_the_other() -> None:
    async with fake_stack() as stack, httpx.AsyncClient(base_url=stack.base_url) as client:
        stack.states["large-0"] = "starting"
        stack.publish()
        named = await client.post("/v1/chat/completions", json=chat(HARD, "large"))
        auto = await client.post("/v1/chat/completions", json=chat(HARD))
        stack.states["small-0"] = "starting"
        stack.publish()
        nobody = await client.post("/v1/chat/completions", json=chat(EASY))
        readiness = await client.get("/readyz")
    assert (named.status_code, named.headers["retry-after"]) == (503, "7")
    assert named.json()["error"]["code"] == "model_not_ready"
    assert auto.headers["x-fenzhen-model"] == "small"
    assert "large would answer but is not ready, so small does" in auto.headers["x-fenzhen-reason"]
    assert (nobody.status_code, nobody.headers["retry-after"]) == (503, "7")
    assert (readiness.status_code, readiness.json()["status"]) == (503, "starting")


async def test_retry_after_is_that_of_a_model_that_may_answer_not_of_one_that_is_ready_but_may_not() -> None:
    english_only = card("small", size_b=0.1, max_difficulty=0.5, languages=("en",))
    async with fake_stack((english_only, LARGE)) as stack, httpx.AsyncClient(base_url=stack.base_url) as client:
        stack.states["large-0"] = "starting"
        stack.publish()
        answer = await client.post("/v1/chat/completions", json=chat(EASY_ZH))
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "7")


async def test_health_readiness_and_metrics_answer_get_and_head_only() -> None:
    async with fake_stack() as stack, httpx.AsyncClient(base_url=stack.base_url) as client:
        assert (await client.get("/healthz")).json() == {"status": "ok"}
        ready = await client.get("/readyz")
        assert ready.json() == {"status": "ready", "models": {"small": "ready", "large": "ready"}}
        head = await client.head("/v1/models")
        assert (head.status_code, head.content) == (200, b"")
        assert int(head.headers["content-length"]) > 50
        wrong = await client.post("/healthz")
        assert (wrong.status_code, wrong.headers["allow"]) == (405, "GET, HEAD")
        assert (await client.get("/v1/chat/completions")).headers["allow"] == "POST"
        nothing = await client.get("/v1/nothing")
        assert nothing.status_code == 404
        assert "/v1/chat/completions" in nothing.json()["error"]["message"]


async def test_metrics_count_by_model_and_never_by_a_callers_words() -> None:
    async with fake_stack() as stack, httpx.AsyncClient(base_url=stack.base_url) as client:
        await client.post("/v1/chat/completions", json=chat(EASY))
        await client.post("/v1/chat/completions", json=chat(EASY, "large"))
        await client.post("/v1/chat/completions", json=chat(EASY, "no-such-model"))
        page = (await client.get("/metrics")).text
    assert 'fenzhen_requests_total{model="small",status="200"} 1.0' in page
    assert 'fenzhen_choices_total{by="auto",model="small"} 1.0' in page
    assert 'fenzhen_choices_total{by="caller",model="large"} 1.0' in page
    assert 'fenzhen_requests_total{model="",status="404"} 1.0' in page
    assert "fenzhen_in_flight 0.0" in page
    assert "no-such-model" not in page


async def test_requests_beyond_the_limit_are_turned_away_and_not_queued() -> None:
    slow = {"small": ["--token-delay-s 0.3"], "large": [""]}
    async with fake_stack(engines=slow, max_in_flight=2) as stack:
        async with httpx.AsyncClient(base_url=stack.base_url) as client:
            answers = await asyncio.gather(
                *(client.post("/v1/chat/completions", json=chat("hi", "small")) for _ in range(4))
            )
    assert sorted(answer.status_code for answer in answers) == [200, 200, 503, 503]


async def test_the_server_as_a_whole_tells_its_methods() -> None:
    async with fake_stack() as stack:
        answer = await said_to(stack, b"OPTIONS * HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b"allow: GET, HEAD, POST, OPTIONS\r\n" in answer


async def test_nobody_on_the_way_may_keep_what_changes() -> None:
    async with fake_stack() as stack, httpx.AsyncClient(base_url=stack.base_url) as client:
        for path in ("/healthz", "/readyz", "/metrics", "/v1/models", "/v1/models/auto"):
            assert (await client.get(path)).headers["cache-control"] == "no-store"
