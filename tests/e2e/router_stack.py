"""A stack that is only a router: Ray, and stand-in engines that run already. Up in 20 s, and no weights are needed."""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import yaml

from cluster.settings import ExternalPool, Router, Settings
from cluster.settings_file import as_yaml, profile
from tests.e2e.conftest import DOWN_TIMEOUT_S, REPOSITORY, RunningStack, free_port
from tests.fakes.stack import card

START_TIMEOUT_S = 150
LOOPBACK = "127.0.0.1"


@contextmanager
def router_stack(folder: Path, engine_options: str = "", **router: object) -> Iterator[RunningStack]:
    """Run a router with these settings in front of one engine of `small` and one of `large`."""
    ports = {"small": free_port(), "large": free_port()}
    engines = [_engine(name, port, engine_options) for name, port in ports.items()]
    stack = RunningStack(folder / "fenzhen.yaml", f"http://{LOOPBACK}:{free_port()}", folder / "state")
    like = profile("tiny")
    settings = Settings(
        models=(card("small", size_b=0.5, max_difficulty=0.5), card("large", size_b=1.5)),
        pools=tuple(ExternalPool(model=name, endpoints=(f"http://{LOOPBACK}:{port}",)) for name, port in ports.items()),
        router=Router.model_validate({"port": port_of(stack), "drain_idle_s": 1} | router),
        site=like.site.model_copy(update={"state_dir": stack.state_dir, "models_dir": folder / "models"}),
    )
    stack.config.write_text(as_yaml(settings), encoding="utf-8")
    try:
        for port in ports.values():
            _wait_for(port)
        started = stack.run("up", "--detach", timeout_s=START_TIMEOUT_S)
        print(started.stdout, started.stderr, sep="\n")
        assert started.returncode == 0
        yield stack
    finally:
        stopped = stack.run("down", timeout_s=DOWN_TIMEOUT_S)
        for engine in engines:
            engine.kill()
            engine.wait()
    assert stopped.returncode == 0, stopped.stderr


def port_of(stack: RunningStack) -> int:
    """The router's."""
    return int(stack.base_url.rpartition(":")[2])


def change(stack: RunningStack, section: str, **values: object) -> None:
    """Change the configuration file: the section `router`, or the card of a model by its name."""
    document: dict[str, Any] = yaml.safe_load(stack.config.read_text(encoding="utf-8"))
    cards = {model["name"]: model for model in document["models"]}
    (cards[section] if section in cards else document[section]).update(values)
    stack.config.write_text(yaml.safe_dump(document), encoding="utf-8")


def update(stack: RunningStack, *words: str) -> str:
    """`fenzhen update`, which must succeed; gives what it said."""
    done = stack.run("update", *words, timeout_s=120)
    if done.returncode:
        log = (stack.state_dir / "logs" / "supervisor.log").read_text(encoding="utf-8")
        pytest.fail(f"fenzhen update ended with {done.returncode}: {done.stderr}\n{log[-4000:]}")
    return done.stderr


def replicas(stack: RunningStack) -> list[psutil.Process]:
    """The router's replicas that run."""
    found = []
    for process in psutil.Process(stack.status()["supervisor_pid"]).children(recursive=True):
        try:
            if "ServeReplica:router" in " ".join(process.cmdline()):
                found.append(process)
        except psutil.NoSuchProcess:
            continue
    return found


def listeners(stack: RunningStack) -> int:
    """How many processes listen on the router's port."""
    rows = [row for row in psutil.net_connections(kind="tcp") if row.status == psutil.CONN_LISTEN]
    return sum(row.laddr[1] == port_of(stack) for row in rows if row.laddr)


def _engine(name: str, port: int, options: str) -> subprocess.Popen[bytes]:
    words = ["--port", str(port), "--served-model-name", name, "--max-num-seqs", "1000", *options.split()]
    return subprocess.Popen(
        [sys.executable, "-m", "tests.fakes.engine", *words], stdout=subprocess.DEVNULL, cwd=REPOSITORY
    )


def _wait_for(port: int) -> None:
    deadline_s = time.monotonic() + 20
    while True:
        try:
            if httpx.get(f"http://{LOOPBACK}:{port}/health", timeout=2).status_code == 200:
                return
        except httpx.TransportError:
            assert time.monotonic() < deadline_s, "a stand-in engine does not listen"
        time.sleep(0.1)
