"""How far a run is and what was found, in one file that is replaced whole; and the lock of its folder."""

import contextlib
import fcntl
import os
import time
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from cluster.errors import NotFound, OurFault, UserError
from registry.disk import write_durably
from registry.versions import Gate
from training.run_folder import RunFolder

Stage = Literal["prepare", "before", "fit", "after", "gates", "page"]
STAGES: Final[tuple[Stage, ...]] = ("prepare", "before", "fit", "after", "gates", "page")
Phase = Literal["running", "interrupted", "failed", "done"]
_FORMAT: Final = 1


class _Note(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class BaseNote(_Note):
    """The base that a run trains on."""

    asked: str
    """As the recipe says it."""
    folder: Path
    sha256: str
    """Of the folder: a base that changes under a run ends it."""
    origin: str
    """Where the weights come from, one line for people."""
    parameters: int


class FittedNote(_Note):
    """What training has made: `training.fitting.Fitted` without its path."""

    steps: int
    tokens: int
    seconds: float
    tokens_per_s: float
    peak_memory_bytes: int
    final_loss: float
    stopped_early: bool


class RunState(_Note):
    """One moment of a run."""

    format: int = _FORMAT
    name: str
    """The recipe's."""
    metric: str
    """The recipe's: which of the results counts most."""
    created_s: float
    """Seconds since the epoch."""
    phase: Phase = "running"
    problem: str = ""
    """Why it failed: one sentence."""
    base: BaseNote
    stages: Mapping[Stage, float] = Field(default_factory=dict)
    """Seconds that each finished stage took."""
    data_sha256: Mapping[str, str] = Field(default_factory=dict)
    rows: Mapping[str, int] = Field(default_factory=dict)
    """How many rows are learnt from, held out and asked of everyday."""
    left_out: Mapping[str, int] = Field(default_factory=dict)
    environment: Mapping[str, str] = Field(default_factory=dict)
    fitted: FittedNote | None = None
    results: Mapping[str, float] = Field(default_factory=dict)
    """The flat names of `training.evaluation.results_of`."""
    gates: tuple[Gate, ...] = ()
    published_version: int | None = None

    @property
    def next_stage(self) -> Stage | None:
        """The first stage that has not finished."""
        return next((stage for stage in STAGES if stage not in self.stages), None)

    @property
    def is_good_enough(self) -> bool:
        """Whether it came to its end and passed its gates."""
        return self.phase == "done" and all(gate.is_passed for gate in self.gates)


def new_run(state_dir: Path, name: str) -> RunFolder:
    """A folder for a new run, not made yet."""
    return RunFolder(runs_dir(state_dir) / f"{name}-{time.strftime('%Y%m%d-%H%M%S')}-{uuid.uuid4().hex[:4]}")


def runs_dir(state_dir: Path) -> Path:
    """Where runs lie unless they are told otherwise."""
    return state_dir.expanduser() / "training"


def run_folders(state_dir: Path) -> tuple[RunFolder, ...]:
    """All runs below the state folder, the oldest first."""
    found = [RunFolder(path.parent) for path in runs_dir(state_dir).glob("*/run.json")]
    return tuple(sorted(found, key=lambda run: (read_state(run).created_s, run.path.name)))


def find_run(state_dir: Path, named: str) -> RunFolder:
    """A run by its folder, its name below the state folder, or the beginning of that. Raises NotFound."""
    for path in (Path(named).expanduser(), runs_dir(state_dir) / named):
        if (path / "run.json").is_file():
            return RunFolder(path.absolute())
    known = sorted(path.parent.name for path in runs_dir(state_dir).glob("*/run.json"))
    near = [name for name in known if named and name.startswith(named)]
    if len(near) == 1:
        return RunFolder((runs_dir(state_dir) / near[0]).absolute())
    if near:
        raise NotFound(f"{len(near)} runs begin with {named!r}: {', '.join(near[-5:])}; write more of the name")
    last = f"; the last ones: {', '.join(known[-3:])}" if known else ""
    raise NotFound(f"there is no run {named!r}{last}; `fenzhen train runs` lists them")


def read_state(run: RunFolder) -> RunState:
    """How far a run is. Raises NotFound, or OurFault if the file is not ours."""
    try:
        return RunState.model_validate_json(run.state.read_bytes())
    except FileNotFoundError as error:
        raise NotFound(f"{run.path} holds no run: it has no run.json") from error
    except (OSError, ValidationError) as error:
        reason = error.strerror if isinstance(error, OSError) else "another version of Fenzhen wrote it"
        raise OurFault(f"{run.state} cannot be read: {reason}") from error


def write_state(run: RunFolder, state: RunState) -> None:
    """Replace the file."""
    write_durably(run.state, state.model_dump_json(indent=1) + "\n")


@contextlib.contextmanager
def locked(run: RunFolder) -> Iterator[None]:
    """Hold the folder of a run, made if need be: no second process works in it. Raises UserError if one does."""
    try:
        run.path.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(run.path / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise UserError(f"{run.path} cannot be written: {error.strerror}") from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UserError(f"another process works on this run: {run.path}; let it end first") from error
        yield
    finally:
        os.close(descriptor)


def is_locked(run: RunFolder) -> bool:
    """Whether a process works on a run now."""
    try:
        descriptor = os.open(run.path / ".lock", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False
