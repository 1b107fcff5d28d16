"""The files of versions as artifacts of MLflow's runs, results as their metrics, and what killed uploads leave.

A run is made first and its version last: a run that no version points to is an orphan.
"""

import contextlib
import hashlib
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

from cluster.errors import FenzhenError, OurFault, TimedOut, UserError
from registry.mlflow_rows import FILES
from registry.mlflow_session import AlreadyThere, MlflowSession, pages
from registry.version_files import Content
from registry.version_tags import FORMAT, FORMAT_TAG, LIST_FILE, is_short, list_text
from registry.versions import Draft, FileDigest, Version

_EXPERIMENT: Final = "fenzhen"
_PAGE: Final = 200


class Orphan(NamedTuple):
    """What a register that did not come to its end has left."""

    run_id: str
    name: str
    began_s: float


class MlflowUploads:
    """Writes, reads and removes the files of versions."""

    def __init__(self, session: MlflowSession, artifacts: str, clock: Callable[[], float]) -> None:
        self._session = session
        self._artifacts = "" if session.is_server else artifacts
        self._clock = clock

    def begin(self, draft: Draft, sha256: str) -> Any:
        """A run for files that are about to come."""
        tags = {FORMAT_TAG: FORMAT, "fenzhen.name": draft.name, "fenzhen.sha256": sha256}
        experiment_id = self._experiment_id()
        run_name = f"{draft.name}-{sha256[:8]}"
        return self._session.call(lambda client: client.create_run(experiment_id, tags=tags, run_name=run_name))

    def upload(
        self, run: Any, content: Content, digests: tuple[FileDigest, ...], on_bytes: Callable[[int], None]
    ) -> None:
        """Bring the files into a run, one after the other."""
        uri = run.info.artifact_uri
        for (relative, path), file in zip(content, digests, strict=True):
            folder, _, name = relative.rpartition("/")
            with _named(path, name) as local:
                self._log(uri, local, "/".join(filter(None, [FILES, folder])), file.size_bytes)
            on_bytes(file.size_bytes)
        if not is_short(listed := list_text(digests)):
            with tempfile.TemporaryDirectory(prefix="fenzhen-list-") as above:
                local = Path(above) / LIST_FILE
                local.write_text(listed, encoding="utf-8")
                self._log(uri, local, None, len(listed))

    def note_results(self, run_id: str, draft: Draft) -> None:
        """For MLflow's pages, where runs are compared by their metrics."""
        at_ms = int(self._clock() * 1000)
        metrics = [(name, value) for name, value in draft.results.items()]
        self._session.call(
            lambda client: client.log_batch(run_id, [self._session.metric(name, one, at_ms) for name, one in metrics])
        )
        self._session.call(lambda client: client.set_terminated(run_id))

    def download(self, version: Version, source: str, file: FileDigest, target: Path) -> None:
        """Bring one file back, unchecked. Raises OurFault if it is not there."""
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._session.call(
                lambda _: self._session.repository(source)._download_file(file.path, str(target)),
                file_bytes=file.size_bytes,
            )
        except TimedOut:
            raise
        except FenzhenError:
            # Each kind of store says in its own way that a file is missing; all can list.
            folder = file.path.rpartition("/")[0]
            there = self._session.call(lambda _: self._session.repository(source).list_artifacts(folder or None))
            if file.path not in {one.path for one in there}:
                raise OurFault(f"{version.name} {version.version}: {file.path} is missing from the registry") from None
            raise

    def orphans(self, min_age_s: float) -> tuple[Orphan, ...]:
        """Uploads that no version points to. Young ones may still be on their way."""
        experiments = self._session.call(
            lambda client: client.search_experiments(filter_string=f"name LIKE '{_EXPERIMENT}%'")
        )
        runs = self._session.call(
            lambda client: (
                pages(
                    lambda token: client.search_runs(
                        [experiment.experiment_id for experiment in experiments],
                        f"tags.`{FORMAT_TAG}` = '{FORMAT}'",
                        max_results=_PAGE,
                        page_token=token,
                    )
                )
                if experiments
                else []
            )
        )
        old = [run for run in runs if self._clock() - run.info.start_time / 1000 >= min_age_s]
        return tuple(
            Orphan(run.info.run_id, run.data.tags.get("fenzhen.name", ""), run.info.start_time / 1000)
            for run in old
            if not self._is_used(run.info.run_id)
        )

    def remove(self, run_id: str) -> None:
        """Remove an upload that no version points to, with its files."""
        run = self._session.call(lambda client: client.get_run(run_id))
        if run.data.tags.get(FORMAT_TAG) == FORMAT and not self._is_used(run_id):
            # The files first: without its run nobody would find them again.
            self._session.call(lambda _: self._session.repository(_folder_of(run)).delete_artifacts())
            self._session.call(lambda client: client.delete_run(run_id))

    def clean_up(self, run: Any, error: BaseException) -> None:
        """Take away what a register that failed has brought; what cannot be taken away now is an orphan."""
        with contextlib.suppress(FenzhenError):
            if isinstance(error, FenzhenError) and not isinstance(error, TimedOut):
                self.remove(run.info.run_id)
            else:
                # A file may still be on its way: the run stays, for `gc` to find that too.
                self._session.call(lambda _: self._session.repository(_folder_of(run)).delete_artifacts())

    def _is_used(self, run_id: str) -> bool:
        return bool(self._session.call(lambda client: client.search_model_versions(f"run_id = '{run_id}'")))

    def _experiment_id(self) -> str:
        # An experiment keeps its place for good: another place, another experiment.
        place = self._artifacts
        name = f"{_EXPERIMENT}-{hashlib.sha256(place.encode()).hexdigest()[:8]}" if place else _EXPERIMENT
        if (found := self._session.call(lambda client: client.get_experiment_by_name(name))) is None:
            if place.startswith("/"):
                Path(place).mkdir(parents=True, exist_ok=True, mode=0o700)
            with contextlib.suppress(AlreadyThere):
                return str(self._session.call(lambda client: client.create_experiment(name, place or None)))
            found = self._session.call(lambda client: client.get_experiment_by_name(name))
        if found.lifecycle_stage != "active":
            raise UserError(f"somebody has deleted the experiment {name} in MLflow; restore it there")
        return str(found.experiment_id)

    def _log(self, uri: str, local: Path, folder: str | None, size_bytes: int) -> None:
        self._session.call(
            lambda _: self._session.repository(uri).log_artifact(str(local), folder), file_bytes=size_bytes
        )


def _folder_of(run: Any) -> str:
    """Where all of a run lies: its artifacts are a folder in it."""
    return str(run.info.artifact_uri).removesuffix("/artifacts")


@contextlib.contextmanager
def _named(path: Path, name: str) -> Iterator[Path]:
    """A file under the name that it shall be kept by."""
    if path.name == name:
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="fenzhen-named-") as folder:
        link = Path(folder) / name
        link.symlink_to(path.absolute())
        yield link
