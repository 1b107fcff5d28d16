"""Runs of training in MLflow: parameters, curves, environment, results. A registry that is down costs a run nothing.

What is to be told goes into a file of the run's folder first (`registry.run_spool`), and from there, in a thread of its
own, to MLflow: at once where it answers, later where it does not.
"""

import contextlib
import hashlib
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal

from cluster.errors import FenzhenError, NotFound, Unavailable, UserError
from registry.mlflow_session import AlreadyThere, MlflowSession
from registry.run_spool import RunSpool

Status = Literal["FINISHED", "FAILED", "KILLED"]
_EXPERIMENT: Final = "fenzhen-training"
# Our own name of a run: a run that was made just before a kill is found by it again.
_NAME_TAG: Final = "fenzhen.training_run"
# MLflow takes 1,000 metrics and 100 parameters at a time.
_MOST_METRICS: Final = 1000
_MOST_PARAMETERS: Final = 100
_MOST_LINES: Final = 100
_LONGEST_VALUE: Final = 500
_SEND_EVERY_S: Final = 2.0
_TRY_AGAIN_AFTER_S: Final = 30.0
# The first contact may have to make MLflow's tables.
_END_S: Final = 90.0


class TrainingRuns:
    """One run's place in MLflow."""

    def __init__(
        self,
        session: MlflowSession,
        artifacts: str,
        folder: Path,
        say: Callable[[str], None],
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`artifacts`: a folder or `s3://`; a server has its own. `folder`: the run's. `say` is told of trouble."""
        self._session = session
        self._artifacts = "" if session.is_server else artifacts
        self._spool = RunSpool(folder)
        self._say = say
        self._clock = clock
        self._has_said = False
        self._is_ending = threading.Event()
        self._thread: threading.Thread | None = None

    def begin(self, name: str, parameters: Mapping[str, str], tags: Mapping[str, str]) -> None:
        """The run of that name begins, or goes on."""
        if self._spool.is_begun:
            self._keep("again", at_ms=self._now_ms())
        else:
            kept = {key: value[:_LONGEST_VALUE] for key, value in parameters.items()}
            self._keep("begin", at_ms=self._now_ms(), name=name, parameters=kept, tags=dict(tags))
        self._thread = threading.Thread(target=self._send_on, daemon=True, name="training-runs")
        self._thread.start()

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        """Figures at a step. Steps that a resumed run takes again are told only once."""
        known = self._spool.last_steps
        if fresh := {name: value for name, value in metrics.items() if step > known.get(name, -1)}:
            self._keep("metrics", at_ms=self._now_ms(), step=step, values=fresh)

    def tag(self, tags: Mapping[str, str]) -> None:
        """Words about the run."""
        self._keep("tags", values=dict(tags))

    def end(self, status: Status, files: Sequence[str] = ()) -> None:
        """The run ends; `files`, relative to its folder, are uploaded. Waits for MLflow only while that answers."""
        self._keep("end", at_ms=self._now_ms(), status=status, files=list(files))
        self._is_ending.set()
        if self._thread is not None:
            self._thread.join(_END_S)

    def send(self) -> bool:
        """Send what was left over, now. False: it cannot be sent now, and `say` was told why."""
        try:
            while self._send_some():
                pass
        except FenzhenError as error:
            self._complain(error)
            return False
        return True

    def _send_on(self) -> None:
        wait_s = 0.0
        while True:
            is_last = self._is_ending.wait(wait_s)
            try:
                while self._send_some():
                    pass
                wait_s = _SEND_EVERY_S
            except FenzhenError as error:
                self._complain(error)
                if not isinstance(error, Unavailable):
                    # Asking again would not help.
                    return
                wait_s = _TRY_AGAIN_AFTER_S
            if is_last:
                return

    def _keep(self, kind: str, **values: Any) -> None:
        try:
            self._spool.append(kind, **values)
        except OSError as error:
            self._complain(f"its figures cannot be kept in {self._spool.folder}: {error.strerror}")

    def _complain(self, what: object) -> None:
        if not self._has_said:
            self._has_said = True
            self._say(f"MLflow: {what}; the run goes on")

    def _send_some(self) -> bool:
        """Send the oldest lines; False when there are none."""
        lines = self._spool.unsent(_MOST_LINES)
        if not lines:
            return False
        run_id = self._spool.sent.run_id or self._run_id(lines[0])
        if lines[0]["kind"] != "metrics":
            self._send_one(run_id, lines[0])
            self._spool.mark(run_id, 1)
            return True
        count = 0
        metrics: list[Any] = []
        for line in lines:
            if line["kind"] != "metrics" or len(metrics) + len(line["values"]) > _MOST_METRICS:
                break
            count += 1
            metrics += [
                self._session.metric(name, value, line["at_ms"], line["step"]) for name, value in line["values"].items()
            ]
        self._ask("log_batch", run_id, metrics=metrics)
        self._spool.mark(run_id, count)
        return True

    def _send_one(self, run_id: str, line: Mapping[str, Any]) -> None:
        match line["kind"]:
            case "begin":
                rest = [self._session.parameter(name, value) for name, value in line["parameters"].items()]
                while rest:
                    part, rest = rest[:_MOST_PARAMETERS], rest[_MOST_PARAMETERS:]
                    self._ask("log_batch", run_id, params=part)
            case "again":
                self._ask("update_run", run_id, status="RUNNING")
            case "tags":
                for name, value in line["values"].items():
                    self._ask("set_tag", run_id, name, value)
            case "end":
                self._upload(run_id, line["files"])
                self._ask("set_terminated", run_id, line["status"], line["at_ms"])

    def _upload(self, run_id: str, files: Sequence[str]) -> None:
        uri = self._ask("get_run", run_id).info.artifact_uri
        for relative in files:
            if (path := self._spool.folder / relative).is_file():
                self._upload_one(uri, path, relative.rpartition("/")[0] or None)

    def _upload_one(self, uri: str, path: Path, folder: str | None) -> None:
        self._session.call(
            lambda _: self._session.repository(uri).log_artifact(str(path), folder), file_bytes=path.stat().st_size
        )

    def _ask(self, method: str, *args: Any, **named: Any) -> Any:
        return self._session.call(lambda client: getattr(client, method)(*args, **named))

    def _run_id(self, begin: Mapping[str, Any]) -> str:
        """The run in MLflow: the one that an earlier life has made, or a new one."""
        experiment_id = self._experiment_id()
        own = self._spool.folder.name.replace("'", "")
        found = self._ask("search_runs", [experiment_id], f"tags.`{_NAME_TAG}` = '{own}'", max_results=1)
        if found:
            return str(found[0].info.run_id)
        tags = {**begin["tags"], _NAME_TAG: own}
        run = self._ask("create_run", experiment_id, begin["at_ms"], tags=tags, run_name=begin["name"])
        return str(run.info.run_id)

    def _experiment_id(self) -> str:
        # An experiment keeps its place for good: another place, another experiment.
        place = self._artifacts
        name = f"{_EXPERIMENT}-{hashlib.sha256(place.encode()).hexdigest()[:8]}" if place else _EXPERIMENT
        if (found := self._ask("get_experiment_by_name", name)) is None:
            if place.startswith("/"):
                Path(place).mkdir(parents=True, exist_ok=True, mode=0o700)
            with contextlib.suppress(AlreadyThere):
                return str(self._ask("create_experiment", name, place or None))
            found = self._ask("get_experiment_by_name", name)
        if found is None:
            raise NotFound(f"the experiment {name} is not in MLflow")
        if found.lifecycle_stage != "active":
            raise UserError(f"somebody has deleted the experiment {name} in MLflow; restore it there")
        return str(found.experiment_id)

    def _now_ms(self) -> int:
        return int(self._clock() * 1000)
