"""Processes of a running stack that may be killed for a test, found by what they are, and killed surely or not at all.

Nothing outside of the stack's own tree of processes is ever struck: a victim is looked for below the supervisor, and
its number is bound to it before it is killed, so that no other process can have got it meanwhile.
"""

import contextlib
import os
import select
import signal
from dataclasses import dataclass
from typing import Final

import psutil

from cluster.errors import TimedOut, UserError
from cluster.stack_state import StackState, process_lives

# What Ray calls the process of a part's replica; its class follows, and what it does now.
_REPLICA: Final = "ray::ServeReplica:{part}:"
_ROUTER: Final = "router"
_ROLLOUTS: Final = "rollouts"
# The kernel takes milliseconds, unless a process waits for a disk.
_GONE_TIMEOUT_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class Victim:
    """One process."""

    pid: int
    started_s: float
    """Seconds since the epoch, as the operating system counts them."""
    words: str
    """What it is, for people."""


def engine(state: StackState, model: str | None) -> Victim:
    """The vLLM server of one engine, of this model if one is named; one that is ready, if any is.

    Raises UserError if the stack runs none, or if it is just being started again.
    """
    own = [endpoint for endpoint in state.endpoints if not endpoint.is_external]
    if not own:
        raise UserError("kill-engine: the stack runs no engine of its own here, and others' servers are left alone")
    wanted = [endpoint for endpoint in own if model in (None, endpoint.model)]
    if not wanted:
        names = ", ".join(sorted({endpoint.model for endpoint in own}))
        raise UserError(f"kill-engine: no engine of {model!r} runs here; engines of: {names}")
    # The same one each time, so that two runs can be compared.
    for endpoint in sorted(wanted, key=lambda one: (one.state != "ready", one.endpoint_id)):
        if endpoint.pid is None or endpoint.pid_started_s is None:
            continue
        with contextlib.suppress(psutil.NoSuchProcess):
            guard = psutil.Process(endpoint.pid)
            if not process_lives(endpoint.pid, endpoint.pid_started_s) or not _is_below(guard, state):
                continue
            # The guard has one child: the server, which starts all others of the engine.
            for server in guard.children():
                words = f"the engine {endpoint.endpoint_id} of {endpoint.model} (its vLLM server, pid {server.pid})"
                return Victim(server.pid, server.create_time(), words)
    raise UserError(
        f"kill-engine: no engine{f' of {model}' if model else ''} has a process now; they are being started"
    )


def router_replica(state: StackState) -> Victim:
    """One replica of the router. Raises UserError if none runs."""
    return _replica(state, _ROUTER, "kill-router", "a replica of the router")


def registry_replica(state: StackState) -> Victim:
    """The controller of rollouts: the part of a stack that speaks to the registry and its database, which themselves
    are no processes of the stack. Raises UserError if it does not run."""
    return _replica(state, _ROLLOUTS, "kill-registry", "the controller of rollouts, which speaks to the registry")


def kill(victim: Victim) -> None:
    """Kill it with SIGKILL and return when it is gone. Raises UserError if it had ended by itself, TimedOut."""
    try:
        handle = os.pidfd_open(victim.pid)
    except ProcessLookupError:
        raise UserError(f"{victim.words} has ended by itself") from None
    try:
        # Looked at after it was opened: the handle cannot come to mean another process any more.
        if not process_lives(victim.pid, victim.started_s):
            raise UserError(f"{victim.words} has ended by itself")
        signal.pidfd_send_signal(handle, signal.SIGKILL)
        if not select.select([handle], [], [], _GONE_TIMEOUT_S)[0]:
            raise TimedOut(f"{victim.words} was killed, but has not ended after {_GONE_TIMEOUT_S:.0f} s")
    finally:
        os.close(handle)


def _replica(state: StackState, part: str, fault: str, what: str) -> Victim:
    title = _REPLICA.format(part=part)
    found: list[Victim] = []
    with contextlib.suppress(psutil.NoSuchProcess):
        for process in psutil.Process(state.pid).children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                if " ".join(process.cmdline()).startswith(title):
                    found.append(Victim(process.pid, process.create_time(), f"{what} (pid {process.pid})"))
    if not found:
        raise UserError(f"{fault}: the stack runs no such process on this machine now")
    return min(found, key=lambda victim: (victim.started_s, victim.pid))


def _is_below(process: psutil.Process, state: StackState) -> bool:
    return any(parent.pid == state.pid for parent in process.parents())
