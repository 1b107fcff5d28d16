"""The real guard around the stand-in engine: whatever is killed, nothing is left."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from serving.life import free_port
from serving.processes import kill_session, session_members

GRACE_S = 0.5


def guard_words(log: Path, parent_pid: int | str, *command: str) -> list[str]:
    options = ["--log", str(log), "--grace-s", str(GRACE_S), "--parent-pid", str(parent_pid)]
    return [sys.executable, "-m", "serving.guard", *options, "--", *command]


def engine_words(port: int, *options: str) -> list[str]:
    return [sys.executable, "-m", "tests.fakes.engine", f"--port={port}", "--served-model-name=small", *options]


@asynccontextmanager
async def guarded(tmp_path: Path, *options: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """A guard whose engine answers; killed with all that it started at the end, whatever the test did."""
    port = free_port("127.0.0.1")
    words = guard_words(tmp_path / "log", os.getpid(), *engine_words(port, *options))
    guard = await asyncio.create_subprocess_exec(*words, start_new_session=True)
    try:
        await answers(port)
        yield guard
    finally:
        kill_session(guard.pid)
        await guard.wait()


async def answers(port: int) -> None:
    def ask() -> None:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2):
            pass

    async with asyncio.timeout(20):
        while True:
            with contextlib.suppress(OSError):
                return await asyncio.to_thread(ask)
            await asyncio.sleep(0.05)


async def nothing_left(session_id: int, within_s: float) -> None:
    async with asyncio.timeout(within_s):
        while True:
            if not session_members(session_id):
                return
            await asyncio.sleep(0.02)


def children_of(pid: int, session_id: int) -> list[int]:
    members = session_members(session_id)
    return [member for member in members if f"\nPPid:\t{pid}\n" in Path(f"/proc/{member}/status").read_text()]


async def test_the_guard_ends_with_the_engine_s_own_status(tmp_path: Path) -> None:
    words = guard_words(tmp_path / "log", os.getpid(), sys.executable, "-c", "print('bye'); raise SystemExit(7)")
    guard = await asyncio.create_subprocess_exec(*words, start_new_session=True)
    async with asyncio.timeout(10):
        assert await guard.wait() == 7
    assert (tmp_path / "log").read_text() == "bye\n"


async def test_a_command_that_does_not_exist_is_said_in_the_log(tmp_path: Path) -> None:
    words = guard_words(tmp_path / "log", os.getpid(), "/does/not/exist")
    guard = await asyncio.create_subprocess_exec(*words, start_new_session=True)
    async with asyncio.timeout(10):
        assert await guard.wait() == 127
    assert "cannot start /does/not/exist" in (tmp_path / "log").read_text()


async def test_an_engine_that_is_killed_leaves_no_process_behind_and_its_signal_is_told(tmp_path: Path) -> None:
    async with guarded(tmp_path, "--spawn-child") as guard:
        (engine,) = children_of(guard.pid, guard.pid)
        assert len(session_members(guard.pid)) == 3
        os.kill(engine, signal.SIGKILL)
        async with asyncio.timeout(5):
            assert await guard.wait() == 128 + signal.SIGKILL
        assert session_members(guard.pid) == ()


async def test_sigterm_reaches_the_engine(tmp_path: Path) -> None:
    async with guarded(tmp_path) as guard:
        guard.terminate()
        async with asyncio.timeout(5):
            assert await guard.wait() == 0


async def test_an_engine_that_ignores_sigterm_is_killed_after_the_grace_with_its_children(tmp_path: Path) -> None:
    async with guarded(tmp_path, "--ignore-sigterm", "--spawn-child") as guard:
        guard.terminate()
        async with asyncio.timeout(GRACE_S + 5):
            assert await guard.wait() == 128 + signal.SIGKILL
        assert session_members(guard.pid) == ()


async def test_a_killed_guard_takes_its_engine_with_it(tmp_path: Path) -> None:
    async with guarded(tmp_path) as guard:
        guard.kill()
        await nothing_left(guard.pid, within_s=5)


async def test_a_killed_parent_is_noticed_and_everything_ends(tmp_path: Path) -> None:
    port = free_port("127.0.0.1")
    words = guard_words(tmp_path / "log", "$$", *engine_words(port, "--spawn-child", "--ignore-sigterm"))
    line = " ".join(word if word == "$$" else f"'{word}'" for word in words)
    # The shell is the guard's parent; the guard's pid, which names its session, is what the shell prints.
    parent = await asyncio.create_subprocess_exec(
        "bash", "-c", f"setsid {line} & echo $!; wait", stdout=subprocess.PIPE
    )
    assert parent.stdout is not None
    guard_pid = int(await parent.stdout.readline())
    try:
        await answers(port)
        assert len(session_members(guard_pid)) == 3
        parent.kill()
        await parent.wait()
        await nothing_left(guard_pid, within_s=5)
    finally:
        kill_session(guard_pid)
