"""A router in the hands of Ray Serve: replaced, scaled and killed while clients never rest."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from tests.e2e.conftest import RunningStack
from tests.e2e.router_stack import change, listeners, port_of, replicas, router_stack, update
from tests.fakes.clients import Clients

pytestmark = pytest.mark.timeout(300)

# Stands in each process's path; while the file is there, no router replica can be started.
BREAKER = """\
import sys
from pathlib import Path

class Breaker:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name == "router.deployment" and Path({broken!r}).exists():
            raise ImportError("broken on purpose")

sys.meta_path.insert(0, Breaker())
"""


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("broken") / "yes"


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, broken: Path) -> Iterator[RunningStack]:
    folder = tmp_path_factory.mktemp("router")
    (folder / "sitecustomize.py").write_text(BREAKER.format(broken=str(broken)))
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("FENZHEN_PORT", raising=False)
        patch.setenv("PYTHONPATH", os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")]))
        # So that a dozen clients keep about ten requests in flight.
        with router_stack(folder, "--first-token-delay-s 0.03") as running:
            yield running


def until(is_so: Callable[[], bool], timeout_s: float) -> None:
    deadline_s = time.monotonic() + timeout_s
    while not is_so():
        assert time.monotonic() < deadline_s, "it has not come to be"
        time.sleep(0.05)


def reason(stack: RunningStack) -> str:
    body = {"model": "auto", "messages": [{"role": "user", "content": "Hello there"}]}
    return httpx.post(f"{stack.base_url}/v1/chat/completions", json=body, timeout=20).headers["x-fenzhen-model"]


def test_an_update_of_the_only_replica_loses_no_request_and_takes_effect(stack: RunningStack) -> None:
    (before,) = replicas(stack)
    assert reason(stack) == "small"
    change(stack, "small", max_difficulty=0.0)
    with Clients(port_of(stack)) as clients:
        time.sleep(1)
        said = update(stack)
        time.sleep(1)
    assert set(clients.seen) == {"200"}
    assert clients.seen["200"] > 500
    assert "models.small.max_difficulty: 0.5 → 0.0" in said
    assert "Done in " in said
    assert reason(stack) == "large"
    (after,) = replicas(stack)
    assert after.pid != before.pid
    assert "Nothing to do" in update(stack)
    assert replicas(stack) == [after]


def test_several_replicas_are_replaced_without_a_lost_request(stack: RunningStack) -> None:
    change(stack, "router", replicas=2)
    update(stack)
    before = {process.pid for process in replicas(stack)}
    with Clients(port_of(stack)) as clients:
        time.sleep(0.5)
        assert "Done in " in update(stack, "--force")
        time.sleep(0.5)
    assert set(clients.seen) == {"200"}
    assert len(before) == len(replicas(stack)) == listeners(stack) == 2
    assert before.isdisjoint(process.pid for process in replicas(stack))


def test_a_killed_replica_costs_only_requests_that_may_be_asked_again_and_comes_back(stack: RunningStack) -> None:
    until(lambda: listeners(stack) == 2, 30)
    with Clients(port_of(stack)) as clients:
        time.sleep(0.5)
        os.kill(replicas(stack)[0].pid, signal.SIGKILL)
        until(lambda: listeners(stack) == 1, 5)
        until(lambda: listeners(stack) == 2, 30)
        time.sleep(0.5)
    # On a connection that broke before any byte of an answer a client asks again by itself.
    assert set(clients.seen) <= {"200", "broken before any byte"}
    assert clients.seen["broken before any byte"] <= 12


def test_what_the_engines_need_is_refused_by_name_and_nothing_changes(stack: RunningStack) -> None:
    before, text = replicas(stack), stack.config.read_text(encoding="utf-8")
    change(stack, "router", port=port_of(stack) + 1, drain_s=3)
    refused = stack.run("update")
    stack.config.write_text(text, encoding="utf-8")
    assert refused.returncode == 2
    assert f"router.port: {port_of(stack)} → {port_of(stack) + 1}" in refused.stderr
    assert "`fenzhen down` and `fenzhen up`" in refused.stderr
    assert "drain_s" not in refused.stderr
    assert replicas(stack) == before


def test_new_replicas_that_cannot_start_leave_the_old_ones_in_service(stack: RunningStack, broken: Path) -> None:
    before = replicas(stack)
    broken.touch()
    with Clients(port_of(stack)) as clients:
        failed = stack.run("update", "--force", timeout_s=120)
    assert failed.returncode == 3
    assert "the update failed: its new replicas do not start: " in failed.stderr
    assert "broken on purpose" in failed.stderr
    assert "Traceback" not in failed.stderr
    assert set(clients.seen) == {"200"}
    assert replicas(stack) == before
    broken.unlink()
    assert "Done in " in update(stack, "--force")


def test_load_brings_a_second_replica_and_quiet_takes_it_away(stack: RunningStack) -> None:
    change(stack, "router", replicas=1, max_replicas=2, target_in_flight=4, scale_up_after_s=0, scale_down_after_s=2)
    update(stack)
    # Ray keeps the number that ran before until the load has been low for `scale_down_after_s`.
    until(lambda: len(replicas(stack)) == 1, 40)
    with Clients(port_of(stack)) as clients:
        until(lambda: listeners(stack) == 2, 30)
    until(lambda: listeners(stack) == 1, 40)
    assert set(clients.seen) == {"200"}
