"""Stages of a run that take no time: they note that they were called, and fail or stop where they are told to."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from cluster.settings import Settings
from registry.versions import Gate
from training.evaluation import Evaluation, Figure
from training.fitting import Fitted
from training.plan import Plan
from training.prepared import Prepared
from training.preparing import TokenCounter
from training.recipe import Recipe
from training.rows import Message, Row
from training.run_folder import RunFolder
from training.run_log import RunLog
from training.run_state import BaseNote, RunState
from training.stages import Stages
from training.watch import Step, Watch

PLAN = Plan(
    base="small", rows=1, held_out=1, everyday=0, tokens_per_epoch=5, tokens=15, longest=5, is_sampled=False, steps=3,
    parameters=100, trainable=10, memory_bytes=10, least_memory_bytes=5, available_bytes=10**9, on_gpu=False,
    disk_bytes=10, train_s=1.0, evaluate_s=1.0, workers=1,
)  # fmt: skip


def row(question: str, answer: str) -> Row:
    return Row((Message("user", question), Message("assistant", answer)), f"rows.jsonl:{question}")


PREPARED = Prepared(train=(row("1", "one"),), test=(row("2", "two"),), sha256={"train": "aa"})


@dataclass
class FakeLog:
    """What MLflow would have been told."""

    metrics: list[tuple[int, dict[str, float]]] = field(default_factory=list)
    ended: list[str] = field(default_factory=list)

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        self.metrics.append((step, dict(metrics)))

    def tag(self, tags: Mapping[str, str]) -> None: ...

    def end(self, status: str, files: Sequence[str] = ()) -> None:
        self.ended.append(status)


@dataclass
class ListWatch:
    """Keeps what it is told."""

    lines: list[str] = field(default_factory=list)
    steps: list[int] = field(default_factory=list)

    def began(self, steps: int, first_step: int) -> None: ...

    def step(self, step: Step) -> None:
        self.steps.append(step.number)

    def measured(self, results: Mapping[str, float], step: int) -> None: ...

    def note(self, line: str) -> None:
        self.lines.append(line)


@dataclass
class FakeStages:
    """The stages of one run; a second life is made with the same one."""

    calls: list[str] = field(default_factory=list)
    failing: dict[str, BaseException] = field(default_factory=dict)
    """Raised when a stage of that name is called, once it has been noted."""
    prepared: Prepared = PREPARED
    plan: Plan = PLAN
    base_sha256: str = "bb"
    log: FakeLog = field(default_factory=FakeLog)
    on_fit: Callable[[Watch, Callable[[], bool]], None] = lambda watch, stop: None

    def stages(self) -> Stages:
        return Stages(
            base=self._base,
            require_same=lambda base: self._call("require_same"),
            tokens=lambda base: lambda messages: 5,
            prepare=self._prepare,
            read_prepared=lambda folder: self.prepared,
            plan=self._plan,
            require_measurable=lambda recipe, prepared: None,
            environment=lambda: {"python": "3.11"},
            log=self._log,
            evaluate=self._evaluate,
            write_evaluation=lambda evaluation, path: path.touch(),
            read_evaluation=lambda path: _evaluation(1.0 if "after" in path.name else 2.0),
            fit=self._fit,
            fit_on_cluster=lambda *args: replace(self._fit(*args), stopped_early=True),
            judged=self._judged,
            write_page=self._page,
        )

    def _call(self, name: str) -> None:
        self.calls.append(name)
        if name in self.failing:
            raise self.failing[name]

    def _base(self, recipe: Recipe, settings: Settings) -> BaseNote:
        self._call("base")
        return BaseNote(asked="small", folder=Path("/base"), sha256=self.base_sha256, origin="a fake", parameters=100)

    def _plan(self, *_: object) -> Plan:
        self._call("plan")
        return self.plan

    def _prepare(self, recipe: Recipe, tokens: TokenCounter, into: Path | None) -> Prepared:
        self._call("prepare")
        if into is not None:
            into.mkdir()
            (into / "train.jsonl").write_text("rows")
        return self.prepared

    def _log(
        self, settings: Settings, run: RunFolder, state: RunState, recipe: Recipe, say: Callable[[str], None]
    ) -> RunLog:
        return self.log

    def _evaluate(
        self, recipe: Recipe, prepared: Prepared, base: Path, adapter: Path | None, watch: Watch,
        *, quantise: str | None = None,
    ) -> Evaluation:  # fmt: skip
        self._call("before" if adapter is None else "after")
        return _evaluation(2.0 if adapter is None else 1.0)

    def _fit(
        self, recipe: Recipe, prepared: Prepared, base: Path, run: RunFolder, watch: Watch, stop: Callable[[], bool]
    ) -> Fitted:
        self._call("fit")
        self.on_fit(watch, stop)
        return Fitted(run.adapter, 3, 15, 1.5, 10.0, 1000, 0.5, stopped_early=False)

    def _judged(self, recipe: Recipe, before: Evaluation, after: Evaluation) -> tuple[Gate, ...]:
        self._call("gates")
        loss = after.figures["loss"].value
        return (Gate("loss", "<= 1.5", loss, loss <= 1.5),)

    def _page(
        self, path: Path, recipe: Recipe, prepared: Prepared, before: Evaluation, after: Evaluation,
        gates: tuple[Gate, ...],
    ) -> None:  # fmt: skip
        self._call("page")
        path.write_text("page")


def _evaluation(loss: float) -> Evaluation:
    return Evaluation(figures={"loss": Figure(loss, loss, loss, 1)})
