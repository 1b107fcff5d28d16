"""The main job on real engines: an easy and a hard question, through the official client and the command line."""

import json
import socket
import ssl
import time
from pathlib import Path
from typing import Literal

import httpx
import openai
import psutil
import pytest
from openai.types.chat import ChatCompletionFunctionToolParam
from pydantic import BaseModel

from cluster.stack_state import processes_below, read_state
from tests.e2e.conftest import RunningStack

pytestmark = [pytest.mark.engine, pytest.mark.timeout(900)]

SMALL, LARGE = "smollm2-135m", "qwen2.5-0.5b"
EASY = "What is the capital of France?"
HARD = "Prove step by step that the square root of 2 is irrational, and explain why each step follows."


def client_of(stack: RunningStack) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{stack.base_url}/v1", api_key="none", max_retries=0, timeout=120)


def ask(stack: RunningStack, question: str, model: str = "auto", max_tokens: int = 16) -> httpx.Response:
    body = {
        "model": model,
        "messages": [{"role": "user", "content": question}],
        "max_tokens": max_tokens,
        "temperature": 0,
    }
    return httpx.post(f"{stack.base_url}/v1/chat/completions", json=body, timeout=120)


@pytest.mark.parametrize(
    ("question", "model"),
    [(EASY, SMALL), (HARD, LARGE), ("北京是哪个国家的首都？", LARGE), ("请一步一步证明根号2是无理数。", LARGE)],
)
def test_the_right_model_answers_and_says_why(stack: RunningStack, question: str, model: str) -> None:
    answer = ask(stack, question)
    assert answer.status_code == 200
    assert answer.headers["x-fenzhen-model"] == answer.json()["model"] == model
    assert 0 <= float(answer.headers["x-fenzhen-difficulty"]) <= 1
    assert answer.headers["x-fenzhen-reason"]
    assert answer.headers["x-request-id"]
    assert answer.json()["choices"][0]["message"]["content"]


def test_the_command_line_asks_streams_and_explains(stack: RunningStack) -> None:
    asked = stack.run("ask", "--explain", "--max-tokens", "16", EASY, timeout_s=120)
    assert asked.returncode == 0, asked.stderr
    assert f"model       {SMALL}" in asked.stdout
    assert "because     easy" in asked.stdout
    document = json.loads(stack.run("ask", "--json", "--max-tokens", "8", HARD, timeout_s=120).stdout)
    assert document["model"] == LARGE
    assert document["answer_tokens"] == 8
    assert document["difficulty"] > 0.5


def test_status_shows_every_engine_and_a_second_start_changes_nothing(stack: RunningStack) -> None:
    status = stack.status()
    assert status["status"] == status["router"] == "ready"
    assert {engine["model"]: engine["state"] for engine in status["engines"]} == {SMALL: "ready", LARGE: "ready"}
    assert all(engine["memory_bytes"] > 500e6 for engine in status["engines"])
    again = stack.run("up", "--detach")
    assert again.returncode == 0
    assert "Already running" in again.stderr


def test_the_official_client_streams_with_usage(stack: RunningStack) -> None:
    with client_of(stack) as client:
        stream = client.chat.completions.create(
            model="auto",
            messages=[{"role": "user", "content": EASY}],
            stream=True,
            stream_options={"include_usage": True},
            max_tokens=12,
        )
        chunks = list(stream)
    assert chunks[-1].usage is not None
    assert 0 < chunks[-1].usage.completion_tokens <= 12
    assert any(chunk.choices and chunk.choices[0].delta.content for chunk in chunks)


def test_the_official_client_gets_n_answers_with_seed_stop_and_logprobs(stack: RunningStack) -> None:
    with client_of(stack) as client:
        answer = client.chat.completions.create(
            model=LARGE,
            messages=[{"role": "user", "content": "Count from one to five in words, separated by commas."}],
            n=2,
            seed=7,
            stop=["three"],
            logprobs=True,
            top_logprobs=2,
            max_tokens=12,
        )
    assert len(answer.choices) == 2
    assert all("three" not in (choice.message.content or "") for choice in answer.choices)
    logprobs = answer.choices[0].logprobs
    assert logprobs is not None
    assert logprobs.content
    assert len(logprobs.content[0].top_logprobs) == 2


TOOL: ChatCompletionFunctionToolParam = {
    "type": "function",
    "function": {
        "name": "opening_hours",
        "description": "Look up the opening hours of a public library",
        "parameters": {
            "type": "object",
            "properties": {"library": {"type": "string"}},
            "required": ["library"],
            "additionalProperties": False,
        },
    },
}


@pytest.mark.parametrize("tool_choice", ["auto", "required"])
def test_the_official_client_calls_a_tool(stack: RunningStack, tool_choice: Literal["auto", "required"]) -> None:
    question = "When does the central library open? Look it up."
    with client_of(stack) as client:
        answer = client.chat.completions.create(
            model="auto",
            messages=[{"role": "user", "content": question}],
            tools=[TOOL],
            tool_choice=tool_choice,
            temperature=0,
            max_tokens=80,
        )
    assert answer.model == LARGE
    calls = answer.choices[0].message.tool_calls
    assert calls, answer.choices[0].message.content
    assert calls[0].type == "function"
    assert calls[0].function.name == "opening_hours"
    assert set(json.loads(calls[0].function.arguments)) == {"library"}
    assert answer.choices[0].finish_reason == "tool_calls"


class Place(BaseModel):
    """A structured answer."""

    city: str
    country: str


def test_the_official_client_gets_structured_output(stack: RunningStack) -> None:
    with client_of(stack) as client:
        answer = client.chat.completions.parse(
            model=LARGE,
            messages=[{"role": "user", "content": "Paris is the capital of France. Give city and country as JSON."}],
            response_format=Place,
            temperature=0,
            max_tokens=60,
        )
    assert answer.choices[0].message.parsed == Place(city="Paris", country="France")


def test_the_official_client_completes_text_and_lists_models(stack: RunningStack) -> None:
    with client_of(stack) as client:
        text = client.completions.create(model=SMALL, prompt="The capital of France is", max_tokens=4, temperature=0)
        names = [model.id for model in client.models.list()]
    assert text.choices[0].text
    assert names == ["auto", SMALL, LARGE]


def test_errors_come_as_the_official_clients_own_exceptions(stack: RunningStack) -> None:
    message = {"role": "user", "content": "hi"}
    with client_of(stack) as client:
        with pytest.raises(openai.NotFoundError, match=f"auto, {SMALL}, {LARGE}"):
            client.chat.completions.create(model="gpt-4o", messages=[message])  # type: ignore[list-item]
        with pytest.raises(openai.BadRequestError, match="temperature") as ours:
            client.chat.completions.create(model="auto", messages=[message], temperature=9)  # type: ignore[list-item]
        # Too much for the model: only the engine knows its tokenizer, and its word is passed on.
        long = {"role": "user", "content": "word " * 9000}
        with pytest.raises(openai.BadRequestError):
            client.chat.completions.create(model=SMALL, messages=[long])  # type: ignore[list-item]
        with pytest.raises(openai.NotFoundError, match="No model here makes embeddings"):
            client.embeddings.create(model="auto", input="hello")
    assert ours.value.param == "temperature"


def test_a_client_that_hangs_up_frees_the_engines_slot(stack: RunningStack) -> None:
    running = "vllm:num_requests_running"
    body = {
        "model": LARGE,
        "messages": [{"role": "user", "content": "Write a very long story."}],
        "stream": True,
        "max_tokens": 2000,
        "ignore_eos": True,
    }
    with httpx.stream("POST", f"{stack.base_url}/v1/chat/completions", json=body, timeout=60) as response:
        # Held in a name: a forgotten iterator is closed at once, and the connection with it.
        lines = response.iter_lines()
        next(lines)
        assert stack.engine_metric(LARGE, running) == 1
    deadline_s = time.monotonic() + 10
    while stack.engine_metric(LARGE, running) != 0:
        assert time.monotonic() < deadline_s, "the engine still generates for a client that is gone"
        time.sleep(0.2)


def test_a_minute_of_everything_under_load_fails_no_request(stack: RunningStack, tmp_path: Path) -> None:
    # How fast it is decides nothing here: the exit code speaks of failed requests only.
    words = ("loadtest", "run", "smoke", "--fail-on", "errors", "--json", "--output", str(tmp_path / "smoke"))
    done = stack.run(*words, timeout_s=600)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    figures = report["figures"]
    assert figures["requests"] == figures["answered"] > 20
    assert figures["errors"] == {}
    assert set(report["slices"]["kind"]) == {"chat", "stream", "conversation", "agent"}
    assert set(report["slices"]["model"]) <= {SMALL, LARGE}
    assert set(report["slices"]["language"]) == {"zh", "en"}
    assert json.loads((tmp_path / "smoke" / "report.json").read_bytes()) == report
    page = (tmp_path / "smoke" / "report.html").read_text(encoding="utf-8")
    assert "</html>" in page
    assert LARGE in page


def test_what_listens_beyond_the_loopback_address_takes_no_stranger(stack: RunningStack) -> None:
    """Ray Serve opens a port on all interfaces for calls between replicas: it must ask for this start's certificate."""
    state = read_state(stack.state_dir)
    assert state is not None
    ours = {state.pid, *(note.pid for note in processes_below(state.pid))}
    listening = [c.laddr for c in psutil.net_connections("inet") if c.status == psutil.CONN_LISTEN and c.pid in ours]
    assert len(listening) > 3
    open_to_all = [a.port for a in listening if a and a.ip.removeprefix("::ffff:") != "127.0.0.1"]
    tls = stack.state_dir / "tls"
    for port in open_to_all:
        assert first_words(port, None) == b""
        # The same words from one of us are answered: so it is the missing certificate that was refused.
        assert first_words(port, tls) != b""


def first_words(port: int, tls: Path | None) -> bytes:
    """What an HTTP/2 server answers to a client's first words, with or without the certificate in `tls`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    if tls is not None:
        context.load_cert_chain(tls / "ray.crt", tls / "ray.key")
    with socket.create_connection(("127.0.0.1", port), timeout=5) as plain, context.wrap_socket(plain) as secure:
        secure.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0]))
        return secure.recv(64)


def test_down_stops_everything_and_leaves_nothing(stack: RunningStack) -> None:
    state = read_state(stack.state_dir)
    assert state is not None
    assert len(state.processes) > 5
    stopped = stack.run("down", timeout_s=120)
    assert stopped.returncode == 0, stopped.stderr
    for part in ("router", f"pool-{SMALL}", f"pool-{LARGE}", "Ray"):
        assert f"stopping {part}" in stopped.stderr
    assert not state.is_alive
    assert [note for note in state.processes if note.is_alive] == []
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{stack.base_url}/healthz")
    assert stack.run("status").returncode == 3
    asked = stack.run("ask", EASY)
    assert asked.returncode == 3
    assert "`fenzhen up` starts it" in asked.stderr
