"""Where the files of one run lie, and how they are read back.

plan.yaml      what was asked for, overrides included
samples.jsonl  one request a line, written while the test runs: what a killed run leaves can be read
ticks.jsonl    one second a line
run.json       all else, at the end
report.json, report.html, locust.log
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import orjson
from pydantic import ValidationError

from cluster.closed import Closed
from cluster.errors import NotFound, UserError
from loadtests.plan import Plan
from loadtests.plan_file import parse_plan, plan_yaml
from loadtests.records.gaps import Gaps
from loadtests.records.run import About, EnginesSeen, Mark, Run
from loadtests.records.sample import Sample, read_samples
from loadtests.records.tick import Tick
from registry.disk import write_durably

RUNS: Final = "loadtests"
"""The folder of runs below the state folder."""
_FORMAT: Final = 1


class GapsNote(Closed):
    """The gaps between tokens of one stage and model."""

    stage: int
    model: str
    buckets: dict[int, int]


class RunNote(Closed):
    """What run.json holds."""

    format: int = _FORMAT
    about: About
    marks: tuple[Mark, ...] = ()
    engines: EnginesSeen = EnginesSeen()
    gaps: tuple[GapsNote, ...] = ()


@dataclass(frozen=True, slots=True)
class RunFolder:
    """The folder of one run."""

    path: Path

    @property
    def plan(self) -> Path:
        """The plan as it was run: YAML."""
        return self.path / "plan.yaml"

    @property
    def samples(self) -> Path:
        """`loadtests.records.sample.as_line`, a request a line."""
        return self.path / "samples.jsonl"

    @property
    def ticks(self) -> Path:
        """A second a line."""
        return self.path / "ticks.jsonl"

    @property
    def run(self) -> Path:
        """`RunNote`."""
        return self.path / "run.json"

    @property
    def figures(self) -> Path:
        """The report for programs."""
        return self.path / "report.json"

    @property
    def page(self) -> Path:
        """The report for people."""
        return self.path / "report.html"

    @property
    def log(self) -> Path:
        """What the generator said."""
        return self.path / "locust.log"

    def begin(self, plan: Plan) -> "RunFolder":
        """Make the folder and write the plan down. Raises UserError if a run is there or nothing can be written."""
        if self.run.exists() or self.samples.exists():
            raise UserError(f"{self.path} holds a run already; name another folder with --output")
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            write_durably(self.plan, plan_yaml(plan))
        except OSError as error:
            raise UserError(f"{self.path} cannot be written: {error.strerror}") from error
        return self

    def keep_ticks(self, ticks: Sequence[Tick]) -> None:
        """Add seconds."""
        with self.ticks.open("ab") as file:
            file.writelines(orjson.dumps(list(tick)) + b"\n" for tick in ticks)

    def keep(
        self, about: About, marks: Sequence[Mark], engines: EnginesSeen, gaps: Mapping[tuple[int, str], Gaps]
    ) -> None:
        """Write down all that is not a sample or a tick, whole or not at all."""
        notes = tuple(GapsNote(stage=stage, model=model, buckets=one) for (stage, model), one in gaps.items())
        note = RunNote(about=about, marks=tuple(marks), engines=engines, gaps=notes)
        write_durably(self.run, note.model_dump_json(indent=1) + "\n")


def new_run(state_dir: Path, name: str) -> RunFolder:
    """A folder for a run that begins now; it is not made yet."""
    stamp = time.strftime("%Y%m%d-%H%M%S")
    above = state_dir.expanduser() / RUNS
    path = above / f"{name}-{stamp}"
    number = 2
    while path.exists():
        path = above / f"{name}-{stamp}-{number}"
        number += 1
    return RunFolder(path)


def run_folders(state_dir: Path) -> tuple[RunFolder, ...]:
    """All runs below a state folder, the latest at the end; a search's probes are not among them."""
    above = state_dir.expanduser() / RUNS
    found = [path for path in above.iterdir() if (path / "plan.yaml").exists()] if above.is_dir() else []
    return tuple(RunFolder(path) for path in sorted(found, key=lambda path: path.stat().st_mtime))


def find_run(state_dir: Path, name: str) -> RunFolder:
    """A run by its folder, its name, the beginning of one, or `last`. Raises NotFound, UserError."""
    folder = Path(name).expanduser()
    if (folder / "plan.yaml").exists():
        return RunFolder(folder.absolute())
    runs = run_folders(state_dir)
    if name == "last" and runs:
        return runs[-1]
    fitting = [run for run in runs if run.path.name == name] or [run for run in runs if run.path.name.startswith(name)]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        raise UserError(
            f"{name!r} begins the names of {len(fitting)} runs: {', '.join(run.path.name for run in fitting[-5:])}"
        )
    known = f"there are {', '.join(run.path.name for run in runs[-5:])}" if runs else "there are none"
    raise NotFound(f"there is no run {name!r} and no folder of a run of that name; {known}")


def read_run(folder: RunFolder | Path) -> Run:
    """One run, also one that was killed: then what it wrote until then. Raises UserError."""
    folder = folder if isinstance(folder, RunFolder) else RunFolder(folder)
    try:
        plan = parse_plan(folder.plan.read_bytes(), str(folder.plan), folder.path)
        note = _note_of(folder)
        samples: tuple[Sample, ...] = ()
        if folder.samples.exists():
            with folder.samples.open("rb") as file:
                samples = tuple(read_samples(file))
        ticks: tuple[Tick, ...] = ()
        if folder.ticks.exists():
            # A line that a kill has cut off has no end.
            whole = folder.ticks.read_bytes().rpartition(b"\n")[0]
            ticks = tuple(Tick(*orjson.loads(line)) for line in whole.splitlines())
    except FileNotFoundError as error:
        raise NotFound(f"{folder.path} is no folder of a run: it holds no {Path(str(error.filename)).name}") from error
    except OSError as error:
        raise UserError(f"{folder.path} cannot be read: {error.strerror}") from error
    except (ValueError, TypeError) as error:
        raise UserError(f"{folder.path} holds a damaged run: {str(error).splitlines()[0]}") from error
    return Run(
        plan=plan,
        about=note.about,
        samples=samples,
        ticks=ticks,
        gaps={(one.stage, one.model): one.buckets for one in note.gaps},
        marks=note.marks,
        engines=note.engines,
    )


def _note_of(folder: RunFolder) -> RunNote:
    if not folder.run.exists():
        # Killed: when it began is known from its first file.
        begun_s = folder.plan.stat().st_mtime
        about = About(started_unix_s=begun_s, message="the run was killed before its end", target_url="", tested="")
        return RunNote(about=about)
    try:
        return RunNote.model_validate_json(folder.run.read_bytes())
    except ValidationError as error:
        raise ValueError(f"run.json: {error.errors()[0]['msg']}") from error
