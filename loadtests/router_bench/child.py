"""Processes of the benchmark: each on its own core, ended with it, whatever happens."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from cluster.errors import OurFault, TimedOut
from loadtests.router_bench.load import Load, Reports

ROOT: Final = Path(__file__).parents[2]
_STOP_TIMEOUT_S: Final = 20.0
# For a client's own start and end, beyond its load.
_CLIENT_MARGIN_S: Final = 30.0


def on_core(core: int, command: Sequence[str]) -> list[str]:
    """The command, kept on one core and killed when its parent is gone."""
    return ["taskset", "--cpu-list", str(core), "setpriv", "--pdeathsig", "KILL", *command]


@contextmanager
def running(
    command: Sequence[str], core: int, log: Path, environment: Mapping[str, str] | None = None, cwd: Path | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """A process for the length of a `with`; its group is ended after it, gently and then hard."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            on_core(core, command),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env={**os.environ, **(environment or {})},
            cwd=cwd,
            # Ctrl-C is for the benchmark alone: it ends its children in order.
            start_new_session=True,
        )
    try:
        yield process
    finally:
        _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the process and its group: told to, then made to; a child may outlive the one that is waited for."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with suppress(subprocess.TimeoutExpired):
            process.wait(_STOP_TIMEOUT_S)


@contextmanager
def stand_in(core: int, ports: int, *more: str) -> Iterator[tuple[int, ...]]:
    """The engines' stand-in on so many free ports. Raises OurFault if it does not start."""
    command = [sys.executable, "-m", "loadtests.router_bench.stand_in", "--free-ports", str(ports), *more]
    process = subprocess.Popen(
        on_core(core, [*command, "--until-stdin-ends"]),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=ROOT,
        start_new_session=True,
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            raise OurFault("the stand-in did not start")
        yield tuple(json.loads(line)["ports"])
    finally:
        _end(process)
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()


def put(load: Load, core: int) -> Reports:
    """Put a load from a client process of its own. Raises TimedOut, OurFault."""
    # It waits for its first connections and for its last answers.
    limit_s = load.seconds + 2 * load.timeout_s + _CLIENT_MARGIN_S
    command = on_core(core, [sys.executable, "-m", "loadtests.router_bench.client"])
    try:
        done = subprocess.run(
            command, input=load.model_dump_json().encode(), capture_output=True, cwd=ROOT, timeout=limit_s, check=False
        )
    except subprocess.TimeoutExpired:
        raise TimedOut(f"the load client did not end within {limit_s:.0f} s") from None
    if done.returncode != 0:
        raise OurFault(f"the load client failed: {done.stderr.decode(errors='replace')[-2000:]}")
    return Reports.model_validate_json(done.stdout)


def free_ports(count: int) -> tuple[int, ...]:
    """Ports of the loopback address that nobody uses now."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return tuple(one.getsockname()[1] for one in sockets)
    finally:
        for one in sockets:
            one.close()


def last_words(log: Path, lines: int = 8) -> str:
    """The end of a log, for an error's sentence."""
    return "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])
