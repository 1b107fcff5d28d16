"""Stand-in engines as processes of their own, which end with whoever started them."""

import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cluster.errors import OurFault, TimedOut

_START_TIMEOUT_S: Final = 30.0
_STOP_TIMEOUT_S: Final = 10.0
_ROOT: Final = Path(__file__).resolve().parent.parent.parent


@dataclass(frozen=True, slots=True)
class StandIns:
    """One process that runs."""

    process: subprocess.Popen[bytes]
    ports: tuple[int, ...]


@contextmanager
def started(words: Sequence[str], count: int) -> Iterator[StandIns]:
    """Run `count` engines in one process on free ports; `words`: further options of the server. Raises OurFault."""
    command = [sys.executable, "-m", "loadtests.rehearsal.server", *words]
    environment = os.environ | {
        # The module is found wherever we were started from.
        "PYTHONPATH": os.pathsep.join([str(_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    }
    process = subprocess.Popen(
        [*command, "--free-ports", str(count), "--until-stdin-ends"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment,
        # Ctrl-C is for whoever started us: he ends the engines once what asks them has ended.
        start_new_session=True,
    )
    try:
        yield StandIns(process, _ports_of(process))
    finally:
        _stop(process)


def _ports_of(process: subprocess.Popen[bytes]) -> tuple[int, ...]:
    assert process.stdout is not None
    end_s = time.monotonic() + _START_TIMEOUT_S
    line = b""
    while not line.endswith(b"\n"):
        if not select.select([process.stdout], [], [], max(0.0, end_s - time.monotonic()))[0]:
            raise TimedOut(f"stand-in engines have not begun within {_START_TIMEOUT_S:g} s")
        part = os.read(process.stdout.fileno(), 65536)
        if not part:
            raise OurFault("stand-in engines have ended at once; what they said stands above")
        line += part
    return tuple(json.loads(line)["ports"])


def _stop(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.close()
    try:
        process.wait(_STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    process.stdout.close()
