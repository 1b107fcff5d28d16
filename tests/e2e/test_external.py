"""A stack in front of servers that run already: two pools of stand-ins, through the command line."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from cluster.settings import ExternalPool, Model, Settings
from cluster.settings_file import as_yaml, profile
from tests.e2e.conftest import DOWN_TIMEOUT_S, REPOSITORY, RunningStack, free_port

pytestmark = pytest.mark.timeout(300)

# Ray takes about 15 s to start here; the rest is a busy machine.
START_TIMEOUT_S = 150
NOTICED_S = 20


class Servers:
    """Stand-ins for engines as processes, each on a port that stays its own."""

    def __init__(self) -> None:
        self._processes: dict[int, subprocess.Popen[bytes]] = {}

    def start(self, model: str, port: int) -> None:
        """Start one; returns when it answers."""
        words = ["--port", str(port), "--served-model-name", model]
        self._processes[port] = subprocess.Popen(
            [sys.executable, "-m", "tests.fakes.engine", *words], stdout=subprocess.DEVNULL, cwd=REPOSITORY
        )
        deadline_s = time.monotonic() + 20
        while not _answers(port):
            assert time.monotonic() < deadline_s, f"{model} does not listen"
            time.sleep(0.1)

    def kill(self, port: int) -> None:
        """SIGKILL, and gone."""
        process = self._processes.pop(port)
        process.kill()
        process.wait()

    def kill_all(self) -> None:
        for port in list(self._processes):
            self.kill(port)


def _answers(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/health").status_code == 200
    except httpx.TransportError:
        return False


@pytest.fixture(scope="module")
def servers() -> Iterator[Servers]:
    started = Servers()
    yield started
    started.kill_all()


def configured(folder: Path, ports: dict[str, list[int]], first_answer_timeout_s: float = 60) -> RunningStack:
    """A configuration file with one pool a model, the cheaper model first."""
    cards = tuple(
        Model(
            name=name,
            languages=("en", "zh"),
            max_difficulty=0.5 if number + 1 < len(ports) else 1,
            context_tokens=2048,
            parameters_b=number + 1,
        )
        for number, name in enumerate(ports)
    )
    pools = tuple(
        ExternalPool(
            model=name,
            endpoints=tuple(f"http://127.0.0.1:{port}" for port in ports[name]),
            first_answer_timeout_s=first_answer_timeout_s,
        )
        for name in ports
    )
    port, like = free_port(), profile("tiny")
    settings = Settings(
        models=cards,
        pools=pools,
        router=like.router.model_copy(update={"port": port}),
        site=like.site.model_copy(update={"state_dir": folder / "state", "models_dir": folder / "models"}),
    )
    config = folder / "fenzhen.yaml"
    config.write_text(as_yaml(settings), encoding="utf-8")
    return RunningStack(config, f"http://127.0.0.1:{port}", folder / "state")


def ask(stack: RunningStack, model: str) -> httpx.Response:
    body = {"model": model, "messages": [{"role": "user", "content": "Hello there"}]}
    return httpx.post(f"{stack.base_url}/v1/chat/completions", json=body, timeout=20)


def until_answered_with(stack: RunningStack, model: str, status: int) -> httpx.Response:
    deadline_s = time.monotonic() + NOTICED_S
    while (answer := ask(stack, model)).status_code != status:
        assert answer.status_code in (200, 503)
        assert time.monotonic() < deadline_s, f"{model} still answers {answer.status_code}"
        time.sleep(0.2)
    return answer


def test_a_router_stands_before_servers_that_come_and_go(
    tmp_path: Path, servers: Servers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("FENZHEN_PORT", raising=False)
    # Whoever imports vLLM leaves a trace.
    trace = tmp_path / "vllm-was-imported"
    (tmp_path / "path" / "vllm").mkdir(parents=True)
    (tmp_path / "path" / "vllm" / "__init__.py").write_text(f"open({str(trace)!r}, 'w')\n")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path / "path"), os.environ.get("PYTHONPATH", "")]))

    small, small_down, large = free_port(), free_port(), free_port()
    servers.start("small", small)
    servers.start("large", large)
    stack = configured(tmp_path, {"small": [small, small_down], "large": [large]})
    started = stack.run("up", "--detach", timeout_s=START_TIMEOUT_S)
    print(started.stdout, started.stderr, sep="\n")
    try:
        assert started.returncode == 0
        # One of three does not run, and that is no reason to wait.
        status = stack.run("status", "--json")
        assert status.returncode == 3
        states = {row["base_url"]: (row["state"], row["detail"]) for row in stack.status()["engines"]}
        assert states[f"http://127.0.0.1:{small}"] == ("ready", "answers")
        assert ask(stack, "small").json()["choices"][0]["message"]["content"] == "small says: Hello there"
        assert ask(stack, "auto").headers["x-fenzhen-model"] == "small"
        assert ask(stack, "large").headers["x-fenzhen-model"] == "large"

        servers.kill(small)
        refused = until_answered_with(stack, "small", 503)
        assert int(refused.headers["retry-after"]) >= 1
        assert ask(stack, "auto").headers["x-fenzhen-model"] == "large"
        deadline_s = time.monotonic() + NOTICED_S
        while stack.engine("small")["state"] == "ready":
            assert time.monotonic() < deadline_s, "nobody has noticed that the server is dead"
            time.sleep(0.5)

        servers.start("small", small)
        servers.start("small", small_down)
        until_answered_with(stack, "small", 200)
        deadline_s = time.monotonic() + NOTICED_S
        while stack.status()["status"] != "ready":
            assert time.monotonic() < deadline_s, stack.status()
            time.sleep(0.5)
        assert stack.run("status").returncode == 0

        # One process watches, however many pools there are.
        below = psutil.Process(stack.status()["supervisor_pid"]).children(recursive=True)
        replicas = [" ".join(process.cmdline()) for process in below if "ServeReplica:" in " ".join(process.cmdline())]
        assert len(replicas) == 3, replicas
    finally:
        stopped = stack.run("down", timeout_s=DOWN_TIMEOUT_S)
    assert stopped.returncode == 0, stopped.stderr
    assert not trace.exists()
    assert _answers(small), "the servers are not ours to stop"


def test_a_pool_of_which_no_server_answers_ends_the_start_and_says_why(tmp_path: Path, servers: Servers) -> None:
    well, nobody, other = free_port(), free_port(), free_port()
    servers.start("small", well)
    servers.start("something-else", other)
    stack = configured(tmp_path, {"small": [well], "large": [nobody, other]}, first_answer_timeout_s=6)
    failed = stack.run("up", "--detach", timeout_s=START_TIMEOUT_S)
    assert failed.returncode == 3
    assert (
        f"no endpoint of pool large has answered within 6 s (first_answer_timeout_s): "
        f"http://127.0.0.1:{nobody} refuses connections: nothing listens there; "
        f"http://127.0.0.1:{other} has no model large, but something-else; vLLM's option is --served-model-name"
    ) in failed.stderr
    assert "Traceback" not in failed.stderr
    assert stack.run("status").returncode == 3
