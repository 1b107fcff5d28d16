"""kill -9 on each part of a real stack: what callers see, what comes back by itself, what is left behind."""

import json
import os
import signal
import threading
import time
from pathlib import Path

import httpx
import psutil
import pytest

from cluster.stack_state import read_state
from tests.e2e.conftest import RunningStack

pytestmark = [pytest.mark.engine, pytest.mark.timeout(900)]

SMALL, LARGE = "smollm2-135m", "qwen2.5-0.5b"
# Long enough for a busy machine, far below the router's own first-byte time-out of 300 s: nothing may hang.
ANSWER_WITHIN_S = 60
BACK_WITHIN_S = 180


def ask(stack: RunningStack, model: str, max_tokens: int = 8) -> httpx.Response:
    """Ask for an answer of exactly so many tokens."""
    body = {
        "model": model,
        "messages": [{"role": "user", "content": "Say hello."}],
        "max_tokens": max_tokens,
        "ignore_eos": True,
    }
    return httpx.post(f"{stack.base_url}/v1/chat/completions", json=body, timeout=ANSWER_WITHIN_S)


def wait_ready(stack: RunningStack, model: str) -> None:
    deadline_s = time.monotonic() + BACK_WITHIN_S
    while stack.engine(model)["state"] != "ready":
        assert time.monotonic() < deadline_s, f"{model} did not come back: {stack.engine(model)}"
        time.sleep(1)


def server_of(stack: RunningStack, model: str) -> psutil.Process:
    """The vLLM server process: the guard's child."""
    return psutil.Process(stack.engine(model)["pid"]).children()[0]


@pytest.mark.parametrize("victim", ["server", "core"])
def test_a_killed_engine_comes_back_while_the_other_pool_answers_and_nothing_hangs(
    stack: RunningStack, victim: str
) -> None:
    wait_ready(stack, LARGE)
    before = stack.engine(LARGE)
    in_flight: list[int] = []

    def caller() -> None:
        in_flight.append(ask(stack, LARGE, max_tokens=200).status_code)

    callers = [threading.Thread(target=caller) for _ in range(3)]
    for thread in callers:
        thread.start()
    time.sleep(1)
    server = server_of(stack, LARGE)
    process = (
        server if victim == "server" else next(c for c in server.children() if "EngineCore" in " ".join(c.cmdline()))
    )
    os.kill(process.pid, signal.SIGKILL)
    for thread in callers:
        thread.join(ANSWER_WITHIN_S)
    assert len(in_flight) == 3, "a request hangs"
    assert set(in_flight) <= {200, 503}
    assert 503 in in_flight

    # The replica looks every second, and the table is read as often.
    deadline_s = time.monotonic() + 20
    while stack.engine(LARGE)["state"] == "ready":
        assert time.monotonic() < deadline_s, "nobody has noticed that the engine is dead"
    refused = 0
    while stack.engine(LARGE)["state"] != "ready":
        began_s = time.monotonic()
        named = ask(stack, LARGE)
        other = ask(stack, SMALL)
        auto = ask(stack, "auto")
        assert time.monotonic() - began_s < ANSWER_WITHIN_S
        assert named.status_code in (200, 503)
        if named.status_code == 503:
            refused += 1
            assert int(named.headers["retry-after"]) >= 1
        assert other.status_code == auto.status_code == 200
    assert refused > 0
    wait_ready(stack, LARGE)
    after = stack.engine(LARGE)
    assert after["restarts"] == before["restarts"] + 1
    assert after["pid"] != before["pid"]
    assert ask(stack, LARGE).status_code == 200


def test_a_killed_router_replica_comes_back_by_itself(stack: RunningStack) -> None:
    replica = next(
        process
        for process in psutil.Process(stack.status()["supervisor_pid"]).children(recursive=True)
        if "ServeReplica:router" in " ".join(process.cmdline())
    )
    os.kill(replica.pid, signal.SIGKILL)
    deadline_s = time.monotonic() + 60
    while True:
        try:
            if httpx.get(f"{stack.base_url}/readyz", timeout=2).status_code == 200:
                break
        except httpx.TransportError:
            assert time.monotonic() < deadline_s, "the router did not come back"
        time.sleep(0.2)
    assert ask(stack, SMALL).status_code == 200


def test_what_is_broken_under_load_is_marked_in_the_report(stack: RunningStack, tmp_path: Path) -> None:
    wait_ready(stack, SMALL)
    wait_ready(stack, LARGE)
    faults = (f"kill-engine:{SMALL}@6s", "kill-router@14s", "kill-registry@20s", "slow-link=200ms@26s+6s")
    words = ["loadtest", "run", "smoke", "--set", "stages.0.seconds=40", "--fail-on", "never", "--json"]
    words += ["--output", str(tmp_path / "run"), *(word for fault in faults for word in ("--fault", fault))]
    done = stack.run(*words, timeout_s=600)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert [mark["kind"] for mark in report["marks"]] == ["kill-engine", "kill-router", "kill-registry", "slow-link"]
    assert all(mark["is_done"] for mark in report["marks"]), report["marks"]
    # All are heard of, and most are answered: by the other model, by the router that came back.
    assert report["figures"]["answered"] > report["figures"]["requests"] / 2
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert "kill-engine" in page
    wait_ready(stack, SMALL)


def test_after_a_killed_supervisor_nothing_goes_on_for_long_and_down_confirms_it(stack: RunningStack) -> None:
    state = read_state(stack.state_dir)
    assert state is not None
    os.kill(state.pid, signal.SIGKILL)
    stopped = stack.run("down", timeout_s=120)
    assert stopped.returncode == 0, stopped.stderr
    assert [note for note in state.processes if note.is_alive] == []
