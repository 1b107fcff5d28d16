"""Faults under load, on real processes, sockets and a small disk: done when due, taken back, nobody else is hurt."""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil
import pytest

from cluster.directory import Endpoint
from cluster.errors import UserError
from cluster.stack_state import StackState, process_lives, write_state
from loadtests.faults import kills
from loadtests.faults.breaking import Breaking
from loadtests.faults.fault import parse_fault
from loadtests.records.run import Mark
from tests.e2e.conftest import REPOSITORY

pytestmark = pytest.mark.timeout(240)

URL = "http://127.0.0.1:9"
# What a stack looks like to the operating system: a guard with its engine, and replicas by the names that Ray gives.
SUPERVISOR = """
import json, os, subprocess, sys
engine = [sys.executable, "-c", "import time; time.sleep(600)"]
options = ["--log", sys.argv[1], "--grace-s", "1", "--parent-pid", str(os.getpid()), "--"]
guard = subprocess.Popen([sys.executable, "-m", "serving.guard", *options, *engine], start_new_session=True)
names = ["router:router", "router:router", "rollouts:rollouts", "pool-router:pool-router"]
replicas = [subprocess.Popen(["ray::ServeReplica:" + name, "600"], executable="/bin/sleep") for name in names]
print(json.dumps({"guard": guard.pid, "replicas": [replica.pid for replica in replicas]}), flush=True)
sys.stdin.read()
guard.terminate()
for replica in replicas:
    replica.kill()
    replica.wait()
guard.wait()
"""


@dataclass
class Tree:
    """Processes that look like a stack's."""

    state: StackState
    state_dir: Path
    guard: int
    replicas: list[int]
    """Two of the router, the rollouts' controller, and one of a pool whose name is like the router's."""

    def engine(self) -> psutil.Process:
        return psutil.Process(self.guard).children()[0]

    def lives(self) -> list[bool]:
        return [process_lives(pid, started_s) for pid, started_s in self._started]

    def __post_init__(self) -> None:
        self._started = [(pid, psutil.Process(pid).create_time()) for pid in self.replicas]


def endpoint(model: str, pid: int | None, endpoint_id: str = "", state: Any = "ready") -> Endpoint:
    return Endpoint(
        endpoint_id=endpoint_id or f"pool-{model}#1",
        model=model,
        base_url=URL,
        state=state,
        detail="",
        restarts=0,
        pid=pid,
        pid_started_s=psutil.Process(pid).create_time() if pid else None,
        retry_after_s=0,
    )


@pytest.fixture
def tree(tmp_path: Path) -> Iterator[Tree]:
    process = subprocess.Popen(
        [sys.executable, "-c", SUPERVISOR, str(tmp_path / "engine.log")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=REPOSITORY,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        said = json.loads(process.stdout.readline())
        until(lambda: psutil.Process(said["guard"]).children(), "the guard has started its engine")
        state = StackState(
            pid=process.pid,
            pid_started_s=psutil.Process(process.pid).create_time(),
            phase="ready",
            message="",
            base_url=URL,
            settings_from="a test",
            models={"small": "here", "large": "elsewhere"},
            endpoints=(endpoint("large", None, "large@127.0.0.1:9"), endpoint("small", said["guard"])),
            log_dir=tmp_path,
        )
        write_state(tmp_path, state)
        yield Tree(state, tmp_path, said["guard"], said["replicas"])
    finally:
        process.stdin.close()
        process.wait(30)
        process.stdout.close()


def until(is_so: Callable[[], object], what: str) -> None:
    deadline_s = time.monotonic() + 60
    while not is_so():
        assert time.monotonic() < deadline_s, f"not within 60 s: {what}"
        time.sleep(0.01)


def broken(tree: Tree, *texts: str) -> tuple[Mark, ...]:
    """Do these faults at once, and give the marks once each of them has one."""
    breaking = Breaking([parse_fault(text) for text in texts], tree.state, tree.state_dir, URL)
    with breaking:
        breaking.begin(time.time())
        until(lambda: len(breaking.marks) == len(texts), "all faults are done")
        return breaking.marks


def test_a_killed_engine_is_the_guards_child_and_nobody_elses(tree: Tree) -> None:
    engine = tree.engine()
    bystander = subprocess.Popen(["ray::ServeReplica:router:router", "600"], executable="/bin/sleep")
    try:
        (mark,) = broken(tree, "kill-engine:small@0")
        assert mark.is_done
        assert mark.text == f"killed the engine pool-small#1 of small (its vLLM server, pid {engine.pid})"
        assert mark.until_s is None
        until(lambda: not psutil.pid_exists(tree.guard) or not psutil.Process(tree.guard).children(), "it is gone")
        assert tree.lives() == [True] * 4
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


def test_a_router_replica_of_the_stack_is_killed_and_not_one_outside_nor_of_a_pool(tree: Tree) -> None:
    bystander = subprocess.Popen(["ray::ServeReplica:router:router", "600"], executable="/bin/sleep")
    try:
        (mark,) = broken(tree, "kill-router@0")
        assert mark.text == f"killed a replica of the router (pid {tree.replicas[0]})"
        assert tree.lives() == [False, True, True, True]
        assert tree.engine().is_running()
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


def test_the_registry_is_its_controller(tree: Tree) -> None:
    (mark,) = broken(tree, "kill-registry@0")
    assert mark.is_done
    assert f"the controller of rollouts, which speaks to the registry (pid {tree.replicas[2]})" in mark.text
    assert tree.lives() == [True, True, False, True]


def test_several_faults_each_come_at_their_moment(tree: Tree) -> None:
    marks = broken(tree, "kill-router@600ms", "kill-engine@300ms", "kill-registry@0")
    assert [mark.kind for mark in marks] == ["kill-registry", "kill-engine", "kill-router"]
    assert all(mark.at_s >= due_s for mark, due_s in zip(marks, (0, 0.3, 0.6), strict=True))


def test_an_engine_that_was_started_again_meanwhile_is_found(tree: Tree) -> None:
    stale = tree.state.model_copy(update={"endpoints": (endpoint("small", os.getpid()),)})
    # What the parent of a run has read before it began; the file knows better by now.
    with pytest.raises(UserError, match="has a process now"):
        kills.engine(stale, None)
    fault = parse_fault("kill-engine@0")
    breaking = Breaking([fault], tree.state, tree.state_dir, URL)
    write_state(tree.state_dir, tree.state.model_copy(update={"endpoints": (endpoint("small", tree.guard),)}))
    with breaking:
        breaking.begin(time.time())
        until(lambda: breaking.marks, "the fault is done")
    assert breaking.marks[0].is_done


def test_a_pid_that_another_process_has_by_now_is_left_alone() -> None:
    other = subprocess.Popen(["/bin/sleep", "600"])
    try:
        victim = kills.Victim(other.pid, psutil.Process(other.pid).create_time() - 60, "the engine")
        with pytest.raises(UserError, match="has ended by itself"):
            kills.kill(victim)
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()
    with pytest.raises(UserError, match="has ended by itself"):
        kills.kill(kills.Victim(other.pid, 0.0, "the engine"))


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("kill-engine:medium@0", "no engine of 'medium' runs here; engines of: small"),
        ("kill-engine:large@0", "no engine of 'large' runs here; engines of: small"),
        ("slow-link:127.0.0.1:1=1s@0", "no link of yours listens on 127.0.0.1:1"),
    ],
)
def test_what_does_not_exist_is_refused_before_the_run(tree: Tree, text: str, complaint: str) -> None:
    with pytest.raises(UserError, match=complaint):
        Breaking([parse_fault(text)], tree.state, tree.state_dir, URL)


@pytest.mark.parametrize("text", ["kill-engine@0", "kill-router@0", "kill-registry@0"])
def test_without_a_stack_there_is_nothing_to_kill(tree: Tree, text: str) -> None:
    gone = tree.state.model_copy(update={"pid_started_s": 0.0})
    for state in (None, gone):
        with pytest.raises(UserError, match="nothing to kill"):
            Breaking([parse_fault(text)], state, tree.state_dir, URL)


def test_a_stack_of_others_servers_has_no_engine_to_kill(tree: Tree) -> None:
    external = tree.state.model_copy(update={"endpoints": tree.state.endpoints[:1]})
    with pytest.raises(UserError, match="others' servers are left alone"):
        Breaking([parse_fault("kill-engine@0")], external, tree.state_dir, URL)


def test_a_stack_that_ends_while_a_fault_waits_is_told_in_the_mark(tree: Tree) -> None:
    for pid in tree.replicas[:2]:
        psutil.Process(pid).suspend()
    breaking = Breaking([parse_fault("kill-router@300ms")], tree.state, tree.state_dir, URL)
    for pid in tree.replicas[:2]:
        os.kill(pid, signal.SIGKILL)
    with breaking:
        breaking.begin(time.time())
        until(lambda: breaking.marks, "the fault is noted")
    (mark,) = breaking.marks
    assert not mark.is_done
    assert "runs no such process" in mark.text


def test_a_run_that_ends_early_says_what_was_not_broken(tree: Tree) -> None:
    faults = [parse_fault("kill-engine@10m"), parse_fault("kill-router@5m")]
    never_begun = Breaking(faults, tree.state, tree.state_dir, URL)
    with never_begun:
        pass
    begun = Breaking(faults, tree.state, tree.state_dir, URL)
    with begun:
        begun.begin(time.time())
    expected = [("kill-router", 300.0), ("kill-engine", 600.0)]
    for breaking in (never_begun, begun):
        assert [(mark.kind, mark.at_s) for mark in breaking.marks] == expected
        assert {(mark.text, mark.is_done) for mark in breaking.marks} == {("the run ended before", False)}
    assert tree.engine().is_running()


@pytest.fixture
def echo() -> Iterator[str]:
    """The address of a server that sends back what it gets."""

    def serve(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            while data := connection.recv(65536):
                connection.sendall(data)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)
    thread.join(10)


def round_trip_s(url: str) -> float:
    began_s = time.monotonic()
    with socket.create_connection(("127.0.0.1", urlsplit(url).port or 0), timeout=60) as client:
        client.sendall(b"x")
        assert client.recv(1) == b"x"
    return time.monotonic() - began_s


def test_the_way_to_the_router_is_slow_for_a_while(echo: str) -> None:
    breaking = Breaking([parse_fault("slow-link=1500ms@0+4s")], None, None, echo)
    with breaking:
        assert breaking.url != echo
        assert round_trip_s(breaking.url) < 1.5
        breaking.begin(time.time())
        until(lambda: breaking.marks, "the delay is there")
        assert round_trip_s(breaking.url) >= 1.5
        until(lambda: breaking.marks[0].until_s is not None, "the delay is taken back")
        assert round_trip_s(breaking.url) < 1.5
    (mark,) = breaking.marks
    assert mark.text == "1500 ms more between callers and the address under test"
    assert mark.until_s is not None
    assert mark.until_s - mark.at_s >= 4
    with pytest.raises(ConnectionRefusedError):
        round_trip_s(breaking.url)


def test_an_interrupt_takes_everything_back(echo: str) -> None:
    breaking = Breaking([parse_fault("slow-link=1s@0")], None, None, echo)

    def run() -> None:
        with breaking:
            breaking.begin(time.time())
            until(lambda: breaking.marks, "the delay is there")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run()
    assert breaking.marks[0].until_s is not None
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("fault ")]
    with pytest.raises(ConnectionRefusedError):
        round_trip_s(breaking.url)


def test_without_a_slow_link_callers_go_straight() -> None:
    with Breaking([], None, None, "https://router.example") as breaking:
        assert breaking.url == "https://router.example"


def test_a_link_that_runs_by_itself_is_slowed_and_let_go(echo: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with tempfile.TemporaryDirectory(prefix="fz") as short:
        monkeypatch.setenv("TMPDIR", short)
        monkeypatch.setattr(tempfile, "tempdir", short)
        words = ["-c", "from fenzhen.loadtest_link import link; link()", "--to", urlsplit(echo).netloc]
        process = subprocess.Popen([sys.executable, *words], stderr=subprocess.PIPE, text=True, cwd=REPOSITORY)
        assert process.stderr is not None
        try:
            address = process.stderr.readline().split()[0]
            url = f"http://{address}"
            assert round_trip_s(url) < 1.5
            breaking = Breaking([parse_fault(f"slow-link:{address}=1500ms@0")], None, None, URL)
            with breaking:
                assert breaking.url == URL
                breaking.begin(time.time())
                until(lambda: breaking.marks, "the delay is there")
                assert breaking.marks[0].text == f"1500 ms more on the link {address}"
                assert round_trip_s(url) >= 1.5
            until(lambda: round_trip_s(url) < 1.5, "the delay is taken back")
            assert breaking.marks[0].until_s is not None
        finally:
            process.send_signal(signal.SIGINT)
            assert process.wait(30) == 0
            process.stderr.close()
        assert not list(Path(short).rglob("*.sock"))


def test_a_disk_that_others_use_is_not_filled_unless_that_is_meant(tmp_path: Path) -> None:
    fault = parse_fault("fill-disk@0")
    with pytest.raises(UserError, match=r"would fill the whole disk of .*temporary files are on it.*--may-fill-disk"):
        Breaking([fault], None, tmp_path, URL)
    # Confirmed, it is taken; nothing is filled before the run begins.
    Breaking([fault], None, tmp_path, URL, confirm_shared_disk=True)
    with pytest.raises(UserError, match="nothing could be kept"):
        Breaking([fault], None, tmp_path, URL, confirm_shared_disk=True, run_folder=tmp_path / "loadtests" / "new")
    with pytest.raises(UserError, match="does not exist"):
        Breaking([fault], None, tmp_path / "none", URL, confirm_shared_disk=True)
    with pytest.raises(UserError, match="no disk of its own"):
        Breaking([fault], None, None, URL)


def on_a_small_disk(folder: Path, script: str) -> str:
    """Run a script in a mount namespace with a disk of 8 MB at `folder`/small; skip where that is not allowed."""
    if shutil.which("unshare") is None:
        pytest.skip("unshare is not here")
    (folder / "small").mkdir()
    mount = 'mount -t tmpfs -o size=8m tmpfs small || exit 77; exec "$0" -c "$1"'
    done = subprocess.run(
        ["unshare", "-rm", "sh", "-c", mount, sys.executable, script],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    if done.returncode == 77 or "unshare failed" in done.stderr:
        pytest.skip(f"no disk can be mounted here: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr
    return done.stdout


ROOM = """
import errno, time
from pathlib import Path

small = Path("small").absolute()

def has_room():
    try:
        (small / "probe").write_bytes(bytes(100_000))
    except OSError as error:
        assert error.errno == errno.ENOSPC
        return False
    finally:
        (small / "probe").unlink(missing_ok=True)
    return True

def until(is_so):
    deadline_s = time.monotonic() + 30
    while not is_so():
        assert time.monotonic() < deadline_s
        time.sleep(0.02)
"""


def test_a_disk_of_its_own_is_filled_and_has_room_again(tmp_path: Path) -> None:
    said = on_a_small_disk(
        tmp_path,
        ROOM
        + """
from loadtests.faults.breaking import Breaking
from loadtests.faults.fault import parse_fault
(small / "log").write_bytes(bytes(1 << 20))
breaking = Breaking([parse_fault("fill-disk@0")], None, small, "http://127.0.0.1:9", run_folder=Path.cwd() / "run")
with breaking:
    assert has_room()
    breaking.begin(time.time())
    until(lambda: breaking.marks)
    assert not has_room()
    assert [path.name for path in small.iterdir()] == ["log"], "the ballast has no name"
    # What others give back is taken as well.
    (small / "log").unlink()
    until(lambda: not has_room())
    assert breaking.marks[0].until_s is None
assert has_room()
assert breaking.marks[0].until_s is not None
print(breaking.marks[0].text)
""",
    )
    assert said.startswith(f"filled the disk of {tmp_path / 'small'} with 7,")
    assert said.endswith(" bytes\n")


def test_a_full_disk_has_room_again_when_the_filler_is_killed(tmp_path: Path) -> None:
    on_a_small_disk(
        tmp_path,
        ROOM
        + '''
import subprocess, sys
filler = subprocess.Popen([sys.executable, "-c", """
import sys, threading, time
from pathlib import Path
from loadtests.faults.ballast import Ballast
ballast = Ballast(Path("small"), threading.Event())
ballast.fill()
print("full", flush=True)
time.sleep(60)
"""], stdout=subprocess.PIPE)
assert filler.stdout.readline() == b"full\\n"
assert not has_room()
filler.kill()
filler.wait()
until(has_room)
''',
    )
