"""One life of an engine: its guard, from the start to the end of everything that it started."""

import asyncio
import os
import signal
import socket
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

from cluster.errors import OurFault
from serving import log
from serving.engine_args import Command
from serving.processes import kill_session, session_members

# The kernel ends a killed process within milliseconds; one that waits for a disk takes longer.
_GONE_S = 10.0


def free_port(host: str) -> int:
    """A port that nobody listens on now. Another may take it first: then the engine's start fails and is repeated."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.bind((host, 0))
        port: int = probe.getsockname()[1]
        return port


def base_url(host: str, port: int) -> str:
    """Where an engine is reached."""
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


@dataclass(frozen=True, slots=True)
class Life:
    """A guard that was started, and where its engine writes."""

    process: asyncio.subprocess.Process
    started_s: float
    """When the guard started, seconds since the epoch, as the kernel says."""
    log_path: Path
    log_from_bytes: int
    """Where this life begins in the log."""
    grace_s: float

    @classmethod
    async def begin(cls, command: Command, log_path: Path, grace_s: float) -> "Life":
        """Start a guard with an engine. Raises OurFault if no process can be started."""
        guard = (sys.executable, "-m", "serving.guard", "--log", str(log_path), "--grace-s", str(grace_s))
        log_from_bytes = log.size_bytes(log_path)
        try:
            process = await asyncio.create_subprocess_exec(
                *guard,
                "--parent-pid",
                str(os.getpid()),
                "--",
                *command.arguments,
                # uvloop takes a dict and nothing else.
                env=dict(command.environment),
                stdin=asyncio.subprocess.DEVNULL,
                # What is in this session is the engine's, whatever it starts; see `serving.processes`.
                start_new_session=True,
            )
        except OSError as error:
            raise OurFault(f"cannot start a process: {error}") from error
        return cls(process, _created_s(process.pid), log_path, log_from_bytes, grace_s)

    @property
    def pid(self) -> int:
        """The guard's, which is also the session's."""
        return self.process.pid

    def last_words(self) -> str:
        """The line of the log that best says why it ended."""
        return log.telling_line(log.last_lines(self.log_path, self.log_from_bytes))

    async def end(self) -> None:
        """Ask politely, wait the grace, then kill; return when nothing is left."""
        if self.process.returncode is None:
            try:
                self.process.send_signal(signal.SIGTERM)
                # The guard kills after the grace by itself, and then takes a moment to sweep.
                async with asyncio.timeout(self.grace_s + 2.0):
                    await self.process.wait()
            except (ProcessLookupError, TimeoutError):
                # It has ended already, or hangs: both are settled by the kill.
                await self.kill()
                return
        await self.kill()

    async def kill(self) -> None:
        """Kill all that this life started and return when nothing is left. Raises OurFault if something stays."""
        kill_session(self.pid)
        try:
            async with asyncio.timeout(_GONE_S):
                await self.process.wait()
                while session_members(self.pid):
                    await asyncio.sleep(0.02)
                    kill_session(self.pid)
        except TimeoutError:
            left = ", ".join(map(str, session_members(self.pid)))
            raise OurFault(f"processes {left} of an engine do not end after SIGKILL") from None


def _created_s(pid: int) -> float:
    try:
        return psutil.Process(pid).create_time()
    except psutil.NoSuchProcess:
        return time.time()
