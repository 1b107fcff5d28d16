"""What the running stack says of itself, in one small file that is replaced whole: `stack.json` in the state folder.

The supervisor writes it; `up`, `status`, `ask` and `down` read it. It is a note, not a truth: whether the supervisor
lives is asked of the operating system, by process id and start time, so that a reused id is not mistaken for it.
"""

import contextlib
import os
from pathlib import Path
from typing import Literal

import psutil
from pydantic import BaseModel, ConfigDict, ValidationError

from cluster.directory import Endpoint
from cluster.settings import Settings

Phase = Literal["ray", "parts", "engines", "ready", "stopping", "stopped", "failed"]


class ProcessNote(BaseModel):
    """One process of the stack, so that it can be found again if the supervisor is gone."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    pid: int
    started_s: float
    """Seconds since the epoch."""
    name: str

    @property
    def is_alive(self) -> bool:
        """Whether it still runs."""
        return process_lives(self.pid, self.started_s)


class StackState(BaseModel):
    """One moment of a stack."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    pid: int
    pid_started_s: float
    """Seconds since the epoch, as the operating system counts them."""
    phase: Phase
    message: str
    base_url: str
    """The router's address, e.g. http://127.0.0.1:8000."""
    settings_from: str
    """Where the configuration came from, for people."""
    models: dict[str, str]
    """Origin of the weights by model."""
    endpoints: tuple[Endpoint, ...] = ()
    processes: tuple[ProcessNote, ...] = ()
    """Everything that the supervisor has started, directly or not."""
    log_dir: Path

    @property
    def is_alive(self) -> bool:
        """Whether the supervisor that wrote this still runs."""
        return process_lives(self.pid, self.pid_started_s)


def process_lives(pid: int, started_s: float) -> bool:
    """Whether the process `pid` that started then still runs (and is not a zombie)."""
    try:
        process = psutil.Process(pid)
        # The two clocks are read at different moments: a whole second covers it, and no id is reused that fast.
        return abs(process.create_time() - started_s) < 1 and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def write_state(state_dir: Path, state: StackState) -> None:
    """Replace the file."""
    fresh = state_dir / "stack.json.new"
    fresh.write_text(state.model_dump_json(indent=1) + "\n", encoding="utf-8")
    fresh.replace(state_dir / "stack.json")


def read_state(state_dir: Path) -> StackState | None:
    """The last state that was written, or None if there is none that can be read."""
    try:
        return StackState.model_validate_json((state_dir / "stack.json").read_bytes())
    except (FileNotFoundError, ValidationError):
        return None


def router_url(settings: Settings) -> str:
    """Where the running stack answers; without one, where it would."""
    state = read_state(settings.site.state_dir)
    if state is not None and state.is_alive:
        return state.base_url
    return f"http://{settings.router.host}:{settings.router.port}"


def processes_below(pid: int) -> tuple[ProcessNote, ...]:
    """All processes that descend from `pid`; none if it is gone."""
    notes = []
    with contextlib.suppress(psutil.NoSuchProcess):
        for process in psutil.Process(pid).children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                notes.append(ProcessNote(pid=process.pid, started_s=process.create_time(), name=process.name()))
    return tuple(notes)


def own_start_s() -> float:
    """When this process started, seconds since the epoch."""
    return psutil.Process(os.getpid()).create_time()
