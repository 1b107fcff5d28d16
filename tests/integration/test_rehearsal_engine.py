"""The stand-in engine over real sockets: what it answers, how long it takes, and what it counts."""

import asyncio
import contextlib
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from openai.types.chat import ChatCompletionToolParam
from prometheus_client.parser import text_string_to_metric_families

from cluster.settings import ExternalPool
from cluster.settings_file import read_settings
from loadtests.rehearsal import stand_ins
from loadtests.rehearsal.fitting import Wish, fit_engine
from loadtests.rehearsal.hearing import Engine
from loadtests.rehearsal.timing import Timing, read_timing, write_timing

# Slow enough for a busy machine to keep up with.
BASE_S = 0.02
PREFILL_S = 0.0005
OVERHEAD_S = 0.01
MESSAGES: list[Any] = [{"role": "user", "content": "How do I renew my passport?"}]
TOOL: ChatCompletionToolParam = {
    "type": "function",
    "function": {"name": "find", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}},
}


def timing(base_s: float = BASE_S, **limits: int) -> Timing:
    like = read_timing("small-gpu-assumed")
    values = {
        "request_overhead_s": OVERHEAD_S, "base_s": base_s, "per_prefill_token_s": PREFILL_S, "per_sequence_s": 0.001,
        "per_prefill_token_context_s": 0.0, "per_context_token_s": 0.0, "noise_sigma": 0.0,
        "limits": like.limits.model_copy(update={"schedules_ahead": False, "max_model_len": 4096, **limits}),
    }  # fmt: skip
    return like.model_copy(update=values)


@contextlib.contextmanager
def running(folder: Path, *words: str, count: int = 1, base_s: float = BASE_S, **limits: int) -> Iterator[list[str]]:
    """The addresses of so many engines."""
    path = folder / "timing.json"
    write_timing(timing(base_s, **limits), path)
    with stand_ins.started(["--timing", str(path), "--model", "small", *words], count) as one:
        yield [f"http://127.0.0.1:{port}" for port in one.ports]


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running(tmp_path_factory.mktemp("engine")) as urls:
        yield urls[0]


@pytest.fixture
def client(url: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0, timeout=30) as one:
        yield one


def metrics(url: str) -> dict[str, float]:
    """Every sample by its name, labels apart; several under one name added."""
    found: dict[str, float] = {}
    for family in text_string_to_metric_families(httpx.get(f"{url}/metrics").text):
        for sample in family.samples:
            found[sample.name] = found.get(sample.name, 0) + sample.value
    return found


# ---- what it answers ------------------------------------------------------------------------------------------------


def test_a_chat_is_answered_whole_with_usage(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(
        model="small", messages=MESSAGES, max_tokens=7, extra_body={"ignore_eos": True}
    )
    assert answer.choices[0].finish_reason == "length"
    assert answer.choices[0].message.content
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 7
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + 7
    assert answer.usage.prompt_tokens_details is not None
    assert answer.usage.prompt_tokens_details.cached_tokens == 0


def test_a_stream_says_the_same_as_the_whole_answer_a_token_a_piece(client: openai.OpenAI) -> None:
    whole = client.chat.completions.create(model="small", messages=MESSAGES, max_completion_tokens=9)
    stream = client.chat.completions.create(
        model="small", messages=MESSAGES, max_tokens=9, stream=True, stream_options={"include_usage": True}
    )
    chunks = list(stream)
    said = [chunk.choices[0].delta.content for chunk in chunks if chunk.choices]
    assert "".join(piece or "" for piece in said) == whole.choices[0].message.content
    # One opens, one ends with usage; each other one is a token.
    assert len(chunks) == 9 + 2
    assert chunks[-2].choices[0].finish_reason == whole.choices[0].finish_reason
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == 9


def test_tokens_that_are_sent_together_say_the_same_in_fewer_pieces(tmp_path: Path, client: openai.OpenAI) -> None:
    long = {"ignore_eos": True}
    asked = client.chat.completions.create(model="small", messages=MESSAGES, max_tokens=10, extra_body=long)
    whole = asked.choices[0].message.content
    with running(tmp_path, stream_interval=4) as urls, openai.OpenAI(base_url=f"{urls[0]}/v1", api_key="none") as other:
        stream = other.chat.completions.create(
            model="small", messages=MESSAGES, max_tokens=10, extra_body=long, stream=True
        )
        pieces = [one.choices[0].delta.content for one in stream if one.choices and one.choices[0].delta.content]
    # One alone, then four, four, and the last.
    assert len(pieces) == 4
    assert "".join(pieces) == whole


def test_a_question_in_chinese_is_answered_in_chinese(client: openai.OpenAI) -> None:
    messages: list[Any] = [{"role": "user", "content": "身份证丢了怎么补办？"}]
    answer = client.chat.completions.create(model="small", messages=messages, max_tokens=8)
    content = answer.choices[0].message.content
    assert content
    assert not content.isascii()


def test_a_tool_is_called_and_after_its_result_words_come(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(model="small", messages=MESSAGES, tools=[TOOL])
    (call,) = answer.choices[0].message.tool_calls or []
    assert answer.choices[0].finish_reason == "tool_calls"
    assert call.type == "function"
    assert call.function.name == "find"
    assert json.loads(call.function.arguments) == {"city": "example"}
    turns = [
        *MESSAGES,
        answer.choices[0].message.to_dict(),
        {"role": "tool", "tool_call_id": call.id, "content": "Room 3"},
    ]
    then = client.chat.completions.create(model="small", messages=turns, tools=[TOOL], max_tokens=5)
    assert then.choices[0].message.content
    assert not then.choices[0].message.tool_calls


def test_a_streamed_call_of_a_tool_can_be_put_together(client: openai.OpenAI) -> None:
    stream = client.chat.completions.create(model="small", messages=MESSAGES, tools=[TOOL], stream=True)
    names, arguments, finishes = [], "", []
    for chunk in stream:
        choice = chunk.choices[0]
        finishes.append(choice.finish_reason)
        for call in choice.delta.tool_calls or []:
            assert call.function is not None
            names.append(call.function.name)
            arguments += call.function.arguments or ""
    assert [name for name in names if name] == ["find"]
    assert json.loads(arguments) == {"city": "example"}
    assert finishes[-1] == "tool_calls"


def test_a_plain_completion_is_answered_streamed_and_whole(client: openai.OpenAI) -> None:
    whole = client.completions.create(model="small", prompt="The office opens at", max_tokens=4)
    stream = client.completions.create(model="small", prompt="The office opens at", max_tokens=4, stream=True)
    assert "".join(chunk.choices[0].text for chunk in stream) == whole.choices[0].text
    by_number = client.completions.create(model="small", prompt=list(range(2000, 2050)), max_tokens=1)
    assert by_number.usage is not None
    assert by_number.usage.prompt_tokens == 50


def test_models_and_health_are_told(client: openai.OpenAI, url: str) -> None:
    assert [model.id for model in client.models.list()] == ["small"]
    assert httpx.get(f"{url}/health").status_code == 200
    assert httpx.get(f"{url}/v1/models").json()["data"][0]["max_model_len"] == 4096


@pytest.mark.parametrize(
    ("body", "status", "field", "words"),
    [
        (b"{nonsense", 400, None, "not JSON"),
        (b"[]", 400, None, "JSON object"),
        ({"messages": MESSAGES, "model": "huge"}, 404, "model", "does not exist"),
        ({"model": "small"}, 400, "messages", "at least one message"),
        ({"model": "small", "messages": MESSAGES, "max_tokens": 0}, 400, "max_tokens", "at least 1"),
        ({"model": "small", "messages": MESSAGES, "max_tokens": 5000}, 400, "messages", "maximum context length"),
        (
            {"model": "small", "messages": [{"role": "user", "content": "x " * 9000}]},
            400,
            "messages",
            "maximum context",
        ),
        ({"model": "small", "messages": MESSAGES, "n": 2}, 400, "n", "one answer"),
    ],
)
def test_errors_have_openais_shape(url: str, body: Any, status: int, field: str | None, words: str) -> None:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    answer = httpx.post(f"{url}/v1/chat/completions", content=data)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["param"]) == (status, status, field)
    assert words in error["message"]


def test_unknown_paths_and_methods_are_refused(url: str) -> None:
    assert httpx.get(f"{url}/v2/whatever").status_code == 404
    assert httpx.get(f"{url}/v1/chat/completions").status_code == 405


def test_a_connection_is_kept_until_the_caller_wants_it_closed(url: str) -> None:
    port = int(url.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), timeout=10) as one:
        # Two at once, answered in order, and then the end.
        one.sendall(b"GET /health HTTP/1.1\r\nhost: x\r\n\r\nGET /v1/models HTTP/1.1\r\nconnection: close\r\n\r\n")
        data = b""
        while part := one.recv(65536):
            data += part
    assert data.count(b"HTTP/1.1 200 OK") == 2
    assert data.endswith(b"}]}")


def test_what_is_no_http_is_refused(url: str) -> None:
    port = int(url.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), timeout=10) as one:
        one.sendall(b"\x16\x03\x01 this is TLS\r\n\r\n")
        assert one.recv(65536).startswith(b"HTTP/1.1 400 ")
        assert one.recv(65536) == b""


# ---- how long it takes ----------------------------------------------------------------------------------------------


def test_a_stream_takes_the_time_that_the_model_says(url: str) -> None:
    async def ask() -> list[Any]:
        engine = Engine(url, "small")
        return [await engine.ask(list(range(1000 + number, 1400 + number)), 20) for number in range(5)]

    heard = asyncio.run(ask())
    wanted_s = OVERHEAD_S + BASE_S + 400 * PREFILL_S
    # Never sooner, but for the timers' millisecond; later only by what this machine adds.
    assert min(one.ttft_s for one in heard) > wanted_s - 0.005
    assert min(one.ttft_s for one in heard) < wanted_s + 0.1
    assert statistics.median(one.tpot_s for one in heard) == pytest.approx(BASE_S + 0.001, rel=0.25)


def test_those_who_find_no_place_wait_for_one(tmp_path: Path) -> None:
    async def ask(url: str) -> list[Any]:
        engine = Engine(url, "small")
        return await asyncio.gather(*(engine.ask([2000 + number], 10) for number in range(4)))

    with running(tmp_path, max_num_seqs=2) as urls:
        first = sorted(one.ttft_s for one in asyncio.run(ask(urls[0])))
        seen = metrics(urls[0])
    assert first[2] > first[1] + 9 * BASE_S
    assert seen["vllm:request_queue_time_seconds_count"] == 4
    assert seen["vllm:request_queue_time_seconds_sum"] > 2 * 9 * BASE_S


def test_a_prompt_that_was_asked_before_is_answered_sooner(url: str) -> None:
    body = {"model": "small", "messages": [{"role": "user", "content": "What of it? " * 400}], "max_tokens": 1}
    took = []
    for _ in range(2):
        begin_s = time.perf_counter()
        answer = httpx.post(f"{url}/v1/chat/completions", json=body).json()
        took.append(time.perf_counter() - begin_s)
    assert answer["usage"]["prompt_tokens_details"]["cached_tokens"] > 1000
    # 1,200 tokens take 0.6 s, the rest of a block nearly nothing.
    assert took[1] < took[0] - 0.3


# ---- what it counts -------------------------------------------------------------------------------------------------


def test_metrics_bear_vllms_names_and_add_up(tmp_path: Path) -> None:
    with running(tmp_path) as (url,):
        for _ in range(3):
            httpx.post(
                f"{url}/v1/completions",
                json={"model": "small", "prompt": [7] * 40, "max_tokens": 5, "ignore_eos": True},
            )
        seen = metrics(url)
    assert seen["vllm:request_success_total"] == 3
    assert seen["vllm:generation_tokens_total"] == 15
    assert seen["vllm:prompt_tokens_total"] == 120
    assert seen["vllm:prefix_cache_queries_total"] == 120
    assert seen["vllm:prefix_cache_hits_total"] == 64
    assert seen["vllm:time_to_first_token_seconds_count"] == 3
    assert seen["vllm:inter_token_latency_seconds_count"] == 12
    assert seen["vllm:iteration_tokens_total_count"] == seen["rehearsal:steps_total"] == 15
    assert seen["vllm:num_requests_running"] == seen["vllm:num_requests_waiting"] == 0
    assert seen["vllm:kv_cache_usage_perc"] == 0
    assert 0 <= seen["rehearsal:late_ratio"] <= 1


def test_a_caller_who_hangs_up_frees_his_place(tmp_path: Path) -> None:
    body = {"model": "small", "messages": MESSAGES, "max_tokens": 2000, "ignore_eos": True, "stream": True}
    with running(tmp_path, max_num_seqs=1) as (url,):
        with httpx.stream("POST", f"{url}/v1/chat/completions", json=body) as stream:
            pieces = stream.iter_bytes()
            next(pieces)
            assert metrics(url)["vllm:num_requests_running"] == 1
        # 40 s of answering were left.
        answer = httpx.post(f"{url}/v1/chat/completions", json={**body, "max_tokens": 3, "stream": False}, timeout=10)
        assert answer.status_code == 200
        seen = metrics(url)
    assert seen["vllm:num_requests_running"] == 0
    assert seen["vllm:request_success_total"] == 2


def test_a_full_queue_is_refused_with_503(tmp_path: Path) -> None:
    async def ask(url: str) -> list[int]:
        body = {"model": "small", "messages": MESSAGES, "max_tokens": 20, "ignore_eos": True}
        async with httpx.AsyncClient(timeout=30) as client:
            answers = await asyncio.gather(
                *(client.post(f"{url}/v1/chat/completions", json=body) for _ in range(5)),
            )
        assert all("queue is full" in one.json()["error"]["message"] for one in answers if one.status_code == 503)
        return sorted(one.status_code for one in answers)

    with running(tmp_path, "--max-waiting", "1", max_num_seqs=1) as (url,):
        assert asyncio.run(ask(url)) == [200, 200, 503, 503, 503]
        assert metrics(url)["vllm:admission_rejections_total"] == 3


def test_engines_of_one_process_know_nothing_of_each_other(tmp_path: Path) -> None:
    with running(tmp_path, count=2) as (one, other):
        httpx.post(f"{one}/v1/completions", json={"model": "small", "prompt": "x", "max_tokens": 1})
        assert metrics(one)["vllm:request_success_total"] == 1
        assert metrics(other)["vllm:request_success_total"] == 0


# ---- a cluster of them -----------------------------------------------------------------------------------------------


def test_a_whole_cluster_runs_until_ctrl_c_and_its_configuration_names_it(tmp_path: Path) -> None:
    config = tmp_path / "city.yaml"
    words = [sys.executable, "-m", "fenzhen", "loadtest", "engines", "city", "--set", "models.0.engines=2"]
    process = subprocess.Popen(
        [*words, "--json", "--write", str(config), "--processes", "2"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
    )
    try:
        assert process.stdout is not None
        lines: list[str] = []
        while not lines or lines[-1] != "}\n":
            line = process.stdout.readline()
            assert line, process.communicate()
            lines.append(line)
        engines = json.loads("".join(lines))["engines"]
        assert {model: len(urls) for model, urls in engines.items()} == {"small": 2, "large": 4}
        answers = [httpx.get(f"{url}/v1/models").json()["data"][0]["id"] for urls in engines.values() for url in urls]
        assert answers == ["small"] * 2 + ["large"] * 4
        pools = [pool for pool in read_settings(config).pools if isinstance(pool, ExternalPool)]
        assert [list(pool.endpoints) for pool in pools] == [engines["small"], engines["large"]]
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)
    assert process.returncode == 0
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{engines['small'][0]}/health")


# ---- the fit --------------------------------------------------------------------------------------------------------


def test_a_fit_of_an_engine_whose_timing_is_known_comes_near_it(tmp_path: Path) -> None:
    said: list[str] = []
    limits = {"max_num_seqs": 4, "max_num_batched_tokens": 2048, "max_model_len": 1024, "kv_tokens": 65536}
    with running(tmp_path, base_s=0.01, **limits) as (url,):
        # Without held-out traffic: what it says depends on how busy this machine is.
        found = asyncio.run(fit_engine(Engine(url, "small"), Wish("again", seconds=0), said.append))
    assert found.limits.max_num_seqs == 4
    assert (found.limits.max_model_len, found.limits.kv_tokens, found.limits.block_tokens) == (1024, 65536, 16)
    # A busy machine makes the stand-in itself late, so this is generous.
    assert found.per_prefill_token_s == pytest.approx(PREFILL_S, rel=0.4)
    assert found.step_s(0, 0, 1, 100) == pytest.approx(timing(0.01).step_s(0, 0, 1, 100), rel=0.4)
    assert found.provenance.kind == "measured"
    assert any("max_num_batched_tokens" in note for note in found.provenance.notes)
    assert said
