"""The generator of load as it is: locust in processes of its own, against servers of our own."""

import asyncio
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import psutil
import pytest

from cluster.errors import OurFault, UserError
from loadtests.generator import LOCUSTFILE, Generated, generate
from loadtests.plan import Constant, Limits, People, Plan, Stage, Target, Workload
from loadtests.records.run_folder import RunFolder
from loadtests.records.sample import Sample, read_samples
from loadtests.records.tick import Tick

ROOT = LOCUSTFILE.parents[1]
LONG_S = 60.0
WAIT_S = 60.0


@pytest.fixture(scope="module")
def engine() -> Iterator[str]:
    """The stand-in that answers at once."""
    command = [sys.executable, "-m", "loadtests.router_bench.stand_in", "--free-ports", "1", "--until-stdin-ends"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}
    ) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        yield f"http://127.0.0.1:{json.loads(process.stdout.readline())['ports'][0]}"
        process.stdin.close()


class SlowServer:
    """Answers every request whole, after `answer_s`, and so many at once."""

    def __init__(self, answer_s: float, at_once: int = 1_000_000) -> None:
        self._answer_s = answer_s
        self._gate = asyncio.Semaphore(at_once)
        self._loop = asyncio.new_event_loop()
        self._end = asyncio.Event()
        self._is_up = threading.Event()
        self._thread = threading.Thread(target=lambda: self._loop.run_until_complete(self._serve()))
        self.port = 0
        self.at_once = 0
        self.most_at_once = 0
        self.keys: set[str] = set()

    def __enter__(self) -> "SlowServer":
        self._thread.start()
        assert self._is_up.wait(WAIT_S)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join()
        self._loop.close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def _serve(self) -> None:
        server = await asyncio.start_server(self._answer, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        self._is_up.set()
        await self._end.wait()
        server.close()
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
        await asyncio.sleep(0.1)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                length = re.search(rb"content-length: (\d+)", head.lower())
                assert length
                await reader.readexactly(int(length[1]))
                self.keys |= {key.decode() for key in re.findall(rb"(?i)authorization: bearer (\S+)", head)}
                self.at_once += 1
                self.most_at_once = max(self.most_at_once, self.at_once)
                async with self._gate:
                    await asyncio.sleep(self._answer_s)
                self.at_once -= 1
                choice = {"message": {"role": "assistant", "content": "yes"}, "finish_reason": "stop", "index": 0}
                usage = {"prompt_tokens": 5, "completion_tokens": 1, "total_tokens": 6}
                body = json.dumps({"model": "slow", "choices": [choice], "usage": usage}).encode()
                head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body)
                writer.write(head + body)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()


def plan_of(
    *stages: Stage,
    kinds: dict[str, float] | None = None,
    limits: Limits = Limits(drain_s=20),  # noqa: B008
    target: Target = Target(),  # noqa: B008
) -> Plan:
    workload = {"max_tokens": 4} | ({"kinds": kinds} if kinds else {})
    return Plan(stages=stages, workload=Workload.model_validate(workload), limits=limits, target=target)


def open_loop(rate: float, seconds: float) -> Stage:
    return Stage(name="open", seconds=seconds, arrivals=Constant(rate_per_s=rate))


def samples_of(folder: RunFolder) -> list[Sample]:
    return list(read_samples(folder.samples.read_bytes().splitlines(keepends=True)))


def begun(path: Path, plan: Plan) -> RunFolder:
    return RunFolder(path / "run").begin(plan)


def locusts_of(process: psutil.Process) -> list[psutil.Process]:
    return [child for child in process.children(recursive=True) if "locust" in " ".join(child.cmdline())]


def await_true(condition: Callable[[], object], what: str) -> None:
    end_s = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < end_s, f"{what} within {WAIT_S} s"
        time.sleep(0.1)


def test_the_schedule_is_sent_to_the_last_request(engine: str, tmp_path: Path) -> None:
    plan = plan_of(open_loop(100, 2))
    ticks: list[Tick] = []
    begins: list[float] = []
    generated = generate(plan, engine, begun(tmp_path, plan), on_ticks=ticks.extend, on_begin=begins.append)
    samples = samples_of(RunFolder(tmp_path / "run"))
    assert generated == Generated("finished", "", None, generated.gaps, 1)
    assert len(samples) == 200
    assert {sample.error for sample in samples} == {""}
    # Due every 10 ms, by the plan and not by what was sent.
    assert [round(sample.at_s, 3) for sample in sorted(samples)] == [round(number / 100, 3) for number in range(200)]
    assert sum(tick.due for tick in ticks) == sum(tick.done for tick in ticks) == 200
    assert [tick.at_s for tick in ticks] == list(range(len(ticks)))
    assert sum(tick.tokens for tick in ticks) > 0
    assert abs(begins[0] - time.time()) < WAIT_S
    assert sum(count for gaps in generated.gaps.values() for count in gaps.values()) > 0


def test_a_slow_server_cannot_hide_its_queue(tmp_path: Path) -> None:
    plan = plan_of(open_loop(50, 2), kinds={"chat": 1})
    with SlowServer(answer_s=3) as server:
        generated = generate(plan, server.url, begun(tmp_path, plan))
        samples = samples_of(RunFolder(tmp_path / "run"))
        assert generated.outcome == "finished"
        assert len(samples) == 100
        # It had all of them at once: nobody waited for an answer before sending the next.
        assert server.most_at_once == 100


def test_people_of_a_closed_loop_wait_for_their_answers(tmp_path: Path) -> None:
    plan = plan_of(Stage(name="people", seconds=2, people=People(count=4, ramp_s=0.4)), kinds={"chat": 1})
    with SlowServer(answer_s=0.2) as server:
        generated = generate(plan, server.url, begun(tmp_path, plan))
        assert server.most_at_once <= 4
    samples = samples_of(RunFolder(tmp_path / "run"))
    assert generated.outcome == "finished"
    assert 4 <= len(samples) <= 40
    assert {(sample.error, sample.lag_s) for sample in samples} == {("", 0.0)}


def test_two_processes_send_the_same_schedule_and_each_sample_once(engine: str, tmp_path: Path) -> None:
    plan = plan_of(open_loop(100, 2))
    come: list[int] = []
    ticks: list[Tick] = []
    folder = begun(tmp_path, plan)
    generated = generate(plan, engine, folder, processes=2, on_workers=come.append, on_ticks=ticks.extend)
    samples = samples_of(folder)
    assert (generated.outcome, generated.message, generated.workers) == ("finished", "", 2)
    assert [round(sample.at_s, 3) for sample in sorted(samples)] == [round(number / 100, 3) for number in range(200)]
    assert {sample.worker for sample in samples} == {0, 1}
    assert len({sample.person for sample in samples if sample.kind in ("chat", "stream")}) == len(
        [sample for sample in samples if sample.kind in ("chat", "stream")]
    )
    assert sum(tick.done for tick in ticks) == 200
    assert come[-1] == 2


def test_workers_come_from_elsewhere_and_end_with_the_run(engine: str, tmp_path: Path) -> None:
    plan = plan_of(open_loop(60, 2), target=Target(api_key_env="WORKERS_KEY"))
    folder = begun(tmp_path, plan)
    port = free_port()
    command = [sys.executable, "-m", "fenzhen", "loadtest", "worker", "--master", f"127.0.0.1:{port}"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "WORKERS_KEY": "sesame"}
    workers = [
        subprocess.Popen([*command, *more], env=environment, cwd=tmp_path, stderr=subprocess.PIPE)
        for more in ([], ["--processes", "2"])
    ]
    come: list[int] = []
    # The leader has no key: each worker takes it from its own environment.
    generated = generate(plan, engine, folder, expect_workers=3, bind=("127.0.0.1", port), on_workers=come.append)
    for worker in workers:
        _, said = worker.communicate(timeout=WAIT_S)
        assert worker.returncode == 0, said
        assert b"the master at 127.0.0.1" in said
    samples = samples_of(folder)
    assert (generated.outcome, generated.message, generated.workers, come[-1]) == ("finished", "", 3, 3)
    assert [round(sample.at_s, 3) for sample in sorted(samples)] == [round(number / 60, 3) for number in range(120)]
    assert {sample.worker for sample in samples} == {0, 1, 2}


def test_a_worker_without_the_key_ends_the_run_with_a_sentence(engine: str, tmp_path: Path) -> None:
    plan = plan_of(open_loop(5, LONG_S), target=Target(api_key_env="WORKERS_KEY"))
    port = free_port()
    command = [sys.executable, "-m", "fenzhen", "loadtest", "worker", "--master", f"127.0.0.1:{port}"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, env=environment, cwd=tmp_path, stderr=subprocess.DEVNULL) as worker:
        with pytest.raises(UserError, match="WORKERS_KEY, which is not set"):
            generate(plan, engine, begun(tmp_path, plan), expect_workers=1, bind=("127.0.0.1", port))
        assert worker.wait(WAIT_S) == 0


def test_a_worker_that_nobody_awaits_says_so(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "fenzhen", "loadtest", "worker", "--master", f"127.0.0.1:{free_port()}"]
    done = subprocess.run(
        [*command, "--wait", "1"], capture_output=True, text=True, timeout=WAIT_S, check=False, cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 3
    assert "nobody has waited for workers at 127.0.0.1:" in done.stderr


def test_a_port_that_is_taken_is_named(engine: str, tmp_path: Path) -> None:
    plan = plan_of(open_loop(5, 1))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=f"workers cannot be awaited on 127.0.0.1:{port}"):
            generate(plan, engine, begun(tmp_path, plan), expect_workers=1, bind=("127.0.0.1", port))


def test_a_killed_worker_is_missed_and_the_run_goes_on(engine: str, tmp_path: Path) -> None:
    plan = plan_of(open_loop(20, 12))
    folder = begun(tmp_path, plan)
    killed: list[int] = []

    def kill_one(ticks: Sequence[Tick]) -> None:
        if not killed:
            # Locust's master has started the workers: the processes below it.
            victim = next(one for one in locusts_of(psutil.Process()) if one.ppid() != os.getpid())
            victim.kill()
            killed.append(victim.pid)

    generated = generate(plan, engine, folder, processes=2, on_ticks=kill_one)
    assert generated.outcome == "finished"
    assert re.match(r"1 of 2 workers went away after \d+ s: their load is missing since\.", generated.message)
    samples = samples_of(folder)
    counts = sorted(len([sample for sample in samples if sample.worker == worker]) for worker in (0, 1))
    assert counts[0] < 120 == counts[1]


def test_without_its_parent_the_generator_ends(engine: str, tmp_path: Path) -> None:
    with started(plan_of(open_loop(20, LONG_S)), engine, tmp_path, processes=2) as parent:
        children = locusts_of(psutil.Process(parent.pid))
        assert len(children) == 3
        parent.kill()
        parent.wait(WAIT_S)
        await_true(lambda: not any(child.is_running() for child in children), "all processes of locust end")
    # What was there by then is whole.
    assert samples_of(RunFolder(tmp_path / "run"))


def test_an_interrupt_ends_the_load_and_keeps_the_samples(engine: str, tmp_path: Path) -> None:
    with started(plan_of(open_loop(20, LONG_S)), engine, tmp_path) as parent:
        parent.send_signal(signal.SIGINT)
        output, _ = parent.communicate(timeout=WAIT_S)
    assert parent.returncode == 0
    assert json.loads(output.splitlines()[-1])["outcome"] == "interrupted"
    assert samples_of(RunFolder(tmp_path / "run"))


def test_a_generator_that_is_told_to_end_says_so(engine: str, tmp_path: Path) -> None:
    with started(plan_of(open_loop(20, LONG_S)), engine, tmp_path) as parent:
        (child,) = locusts_of(psutil.Process(parent.pid))
        child.terminate()
        output, _ = parent.communicate(timeout=WAIT_S)
    assert json.loads(output.splitlines()[-1])["outcome"] == "interrupted"


def test_beyond_the_limit_nothing_is_sent_and_what_hangs_is_cut(tmp_path: Path) -> None:
    limits = Limits(max_in_flight=10, drain_s=0.5)
    plan = plan_of(open_loop(30, 1), kinds={"chat": 1}, limits=limits)
    with SlowServer(answer_s=LONG_S) as server:
        generated = generate(plan, server.url, begun(tmp_path, plan))
        assert server.most_at_once == 10
    errors = [sample.error for sample in samples_of(RunFolder(tmp_path / "run"))]
    assert generated.outcome == "finished"
    assert (errors.count("not_sent"), errors.count("timeout"), len(errors)) == (20, 10, 30)


def test_a_queue_that_only_grows_ends_the_load(tmp_path: Path) -> None:
    limits = Limits(stop_when_saturated=True, drain_s=0.5, max_in_flight=4000)
    plan = plan_of(open_loop(40, LONG_S * 2), kinds={"chat": 1}, limits=limits)
    # Of 40 requests a second it answers ten.
    with SlowServer(answer_s=0.3, at_once=3) as server:
        generated = generate(plan, server.url, begun(tmp_path, plan))
    assert generated.outcome == "saturated"
    assert generated.message
    assert generated.saturated_at_s is not None
    assert generated.saturated_at_s < LONG_S


def test_keys_reach_the_server_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCUST_RUN_TIME", "1s")
    plan = plan_of(open_loop(5, 3), kinds={"chat": 1}, target=Target(api_key_env="SOME_KEY"))
    with SlowServer(answer_s=0.01) as server:
        generate(plan, server.url, begun(tmp_path, plan), keys={"SOME_KEY": "sesame-7"})
        assert server.keys == {"sesame-7"}
    folder = RunFolder(tmp_path / "run")
    assert len(samples_of(folder)) == 15
    for path in folder.path.iterdir():
        assert b"sesame-7" not in path.read_bytes()


def test_a_plan_that_cannot_be_asked_is_told_in_one_sentence(engine: str, tmp_path: Path) -> None:
    plan = plan_of(open_loop(5, 1), target=Target(api_key_env="NO_SUCH_KEY"))
    with pytest.raises(UserError, match="NO_SUCH_KEY"):
        generate(plan, engine, begun(tmp_path, plan))


def test_a_generator_that_dies_leaves_its_last_words(engine: str, tmp_path: Path) -> None:
    plan = plan_of(open_loop(5, LONG_S))

    def kill(ticks: Sequence[Tick]) -> None:
        for one in locusts_of(psutil.Process()):
            one.kill()

    with pytest.raises(OurFault, match="the generator has ended too early"):
        generate(plan, engine, begun(tmp_path, plan), on_ticks=kill)


def test_plain_locust_prints_our_rows(engine: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "locust", "-f", str(LOCUSTFILE), "--headless", "-u", "4", "-r", "4", "-t", "4s"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "FENZHEN_LOAD_MODEL": "small", "FENZHEN_LOAD_MAX_TOKENS": "4"}
    done = subprocess.run(
        [*command, "--host", engine, "--only-summary", "Stream", "Agent"], capture_output=True, text=True,
        timeout=WAIT_S, env=environment, cwd=tmp_path, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for row in (r"POST +stream (easy|hard)", r"TTFT +stream (easy|hard)", r"TPOT +stream (easy|hard)", r"POST +agent"):
        assert re.search(row, done.stderr), done.stderr
    assert "chat" not in done.stderr


def test_plain_locust_names_what_is_wrong_with_a_plan(tmp_path: Path) -> None:
    (tmp_path / "plan.yaml").write_text("stages: []\n")
    command = [sys.executable, "-m", "locust", "-f", str(LOCUSTFILE), "--headless", "--plan", "plan.yaml"]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=WAIT_S, env={**os.environ, "PYTHONPATH": str(ROOT)},
        cwd=tmp_path, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "plan.yaml" in done.stderr.splitlines()[-1]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def started(plan: Plan, url: str, path: Path, processes: int = 1) -> subprocess.Popen[str]:
    """A parent of its own that runs the plan, once second 0 is over; it prints the outcome."""
    begun(path, plan)
    program = (
        "import json, sys\n"
        "from pathlib import Path\n"
        "from loadtests.generator import generate\n"
        "from loadtests.plan_file import read_plan\n"
        "from loadtests.records.run_folder import RunFolder\n"
        f"folder = RunFolder(Path({str(path / 'run')!r}))\n"
        f"done = generate(read_plan(folder.plan), {url!r}, folder, processes={processes},\n"
        "    on_ticks=lambda ticks: print('tick', flush=True))\n"
        "print(json.dumps({'outcome': done.outcome, 'message': done.message}))\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "tick\n"
    return process
