"""The fallback: requests come through Ray's own HTTP proxy, and are answered as on the router's own port."""

import json
import time
from collections.abc import Callable, Iterator

import httpx
import psutil
import pytest

from tests.e2e.conftest import RunningStack
from tests.e2e.router_stack import change, listeners, port_of, replicas, router_stack, update
from tests.fakes.clients import Clients

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("FENZHEN_PORT", raising=False)
        options = "--token-delay-s 0.05"
        with router_stack(tmp_path_factory.mktemp("ingress"), options, ingress="ray", max_body_bytes=3_000_000) as it:
            yield it


@pytest.fixture
def client(stack: RunningStack) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=stack.base_url, timeout=20) as client:
        yield client


def chat(question: str, **more: object) -> dict[str, object]:
    return {"model": "small", "messages": [{"role": "user", "content": question}], **more}


def until(is_so: Callable[[], bool], timeout_s: float) -> None:
    deadline_s = time.monotonic() + timeout_s
    while not is_so():
        assert time.monotonic() < deadline_s, "it has not come to be"
        time.sleep(0.05)


def in_flight(client: httpx.Client) -> float:
    page = client.get("/metrics").text
    lines = [line for line in page.splitlines() if line.startswith("fenzhen_in_flight ")]
    assert len(lines) == 1
    return float(lines[0].split()[1])


def test_the_router_s_replicas_listen_on_loopback_ports_of_their_own(stack: RunningStack) -> None:
    assert listeners(stack) == 1
    (replica,) = replicas(stack)
    own = [c.laddr for c in replica.net_connections("tcp") if c.status == psutil.CONN_LISTEN]
    assert port_of(stack) not in {address.port for address in own}
    assert any(address.ip == "127.0.0.1" for address in own)


def test_an_answer_comes_with_its_headers_and_none_of_them_twice(client: httpx.Client) -> None:
    headers = {"x-request-id": "ours-1", "connection": "x-secret", "x-secret": "1", "traceparent": "00-1-1-01"}
    answer = client.post("/v1/chat/completions", json=chat("hello"), headers=headers)
    assert answer.status_code == 200
    assert answer.json()["choices"][0]["message"]["content"] == "small says: hello"
    assert answer.headers["x-fenzhen-model"] == "small"
    assert answer.headers.get_list("x-request-id") == ["ours-1"]
    assert answer.headers["x-seen-request-id"] == "ours-1"
    assert "traceparent" in answer.headers["x-seen-header-names"]
    for name in ("date", "content-length", "content-type"):
        assert len(answer.headers.get_list(name)) == 1


def test_a_stream_arrives_word_by_word(client: httpx.Client) -> None:
    arrived_s = []
    with client.stream("POST", "/v1/chat/completions", json=chat("one two three four", stream=True)) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        lines = []
        for line in answer.iter_lines():
            if line:
                lines.append(line)
                arrived_s.append(time.monotonic())
    assert lines[-1] == "data: [DONE]"
    words = [json.loads(line.removeprefix("data: "))["choices"][0]["delta"].get("content", "") for line in lines[:-1]]
    assert "".join(words) == "small says: one two three four"
    # Six words, 50 ms each: they have not been held back until the end.
    assert arrived_s[-1] - arrived_s[0] > 0.15


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "words"),
    [
        ("POST", "/v1/chat/completions", chat("hello", max_tokens=-1), 400, "max_tokens"),
        ("POST", "/v1/chat/completions", chat("hello") | {"model": "none"}, 404, "Models that exist"),
        ("GET", "/v1/chat/completions", None, 405, "takes POST"),
        ("GET", "/nowhere?a=b", None, 404, "Nothing is at this address"),
    ],
)
def test_errors_keep_their_status_and_their_words(
    client: httpx.Client, method: str, path: str, body: object, status: int, words: str
) -> None:
    answer = client.request(method, path, json=body)
    assert answer.status_code == status
    assert words in answer.json()["error"]["message"]


def test_a_head_request_gets_no_body(client: httpx.Client) -> None:
    answer = client.head("/healthz")
    assert (answer.status_code, answer.content) == (200, b"")


def test_a_big_body_passes_whole_and_one_that_is_too_big_is_refused(client: httpx.Client) -> None:
    question = "x" * 2_900_000
    answer = client.post("/v1/chat/completions", json=chat(question))
    assert answer.status_code == 200
    assert answer.json()["choices"][0]["message"]["content"] == f"small says: {question}"
    refused = client.post("/v1/chat/completions", json=chat("x" * 3_100_000))
    assert refused.status_code == 413
    assert "bytes" in refused.json()["error"]["message"]


@pytest.mark.parametrize("is_stream", [True, False])
def test_a_client_that_hangs_up_frees_the_engine(client: httpx.Client, stack: RunningStack, is_stream: bool) -> None:
    body = chat("w " * 300, stream=is_stream, max_tokens=400)
    with httpx.Client(base_url=stack.base_url, timeout=httpx.Timeout(20, read=20 if is_stream else 1)) as hasty:
        if is_stream:
            with hasty.stream("POST", "/v1/chat/completions", json=body) as answer:
                # Kept: an iterator that is let go of hangs up by itself.
                lines = answer.iter_lines()
                next(lines)
                assert in_flight(client) == 1
        else:
            with pytest.raises(httpx.ReadTimeout):
                hasty.post("/v1/chat/completions", json=body)
    # Its 300 words would have taken 15 s.
    until(lambda: in_flight(client) == 0, 4)


def test_an_update_loses_no_request(stack: RunningStack) -> None:
    (before,) = replicas(stack)
    change(stack, "router", drain_s=20)
    with Clients(port_of(stack)) as clients:
        time.sleep(1)
        assert "Done in " in update(stack)
        time.sleep(1)
    assert set(clients.seen) == {"200"}
    (after,) = replicas(stack)
    assert after.pid != before.pid
