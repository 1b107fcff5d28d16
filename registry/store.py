"""The models on this machine's disk: found fast, fetched once, never half there.

A fetch works in `.partial-ENTRY` and renames the finished folder to `ENTRY`. An entry is named after the model, the
kind of its source and the beginning of what that is pinned to, so a changed pin never serves old files.
"""

import contextlib
import fcntl
import os
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from cluster.errors import FenzhenError, NotFound, Unavailable, UserError
from cluster.settings import FolderSource, HubSource, Model, PackageSource, Source
from registry.convert import convert_in_child
from registry.digests import folder_sha256, folder_stamp
from registry.disk import publish, require_room
from registry.hub import download_hub, probe_hub
from registry.manifest import Manifest, SourceKind, fits, origin_of, pin_of, read_manifest
from registry.packages import join_packages, room_bytes
from registry.progress import Progress
from registry.work import Work, bytes_below

Converter = Callable[[Path, Work], None]


@dataclass(frozen=True, slots=True)
class StoredModel:
    """A model that an engine can load."""

    model: str
    folder: Path
    origin: str
    """Where the weights come from, one line for people."""
    source_kind: SourceKind
    size_bytes: int
    sha256: str
    """Of the folder."""


class DamagedError(UserError):
    """A stored model's files are not those that were fetched."""


class ModelStore:
    """All models under one folder."""

    def __init__(
        self,
        models_dir: Path,
        hub_timeout_s: float,
        progress: Progress,
        convert: Converter = convert_in_child,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        # Children read paths in their own way: pip, for one, expands a `~` that we would take as a name.
        self._models_dir = models_dir.expanduser().absolute()
        self._hub_timeout_s = hub_timeout_s
        self._progress = progress
        self._convert = convert
        self._sleep = sleep

    def find(self, model: Model) -> StoredModel | None:
        """The model as an earlier fetch left it, from the first of its sources; None if it was not fetched yet.

        Takes milliseconds unless sizes or times of files have changed; then all is hashed. Raises `DamagedError`.
        """
        for source in model.sources:
            if stored := self._find_from(model, source, rehash=False):
                return stored
        return None

    def verify(self, model: Model) -> StoredModel:
        """Hash every file of a fetched model. Raises `DamagedError`, or `NotFound` if it was not fetched."""
        for source in model.sources:
            if stored := self._find_from(model, source, rehash=True):
                return stored
        raise NotFound(f"{model.name} is not in {self._models_dir}: `fenzhen models fetch {model.name}` brings it")

    def fetch(self, model: Model) -> StoredModel:
        """The model from the disk, else from the first source that gives it."""
        with self._locked(model) as lock_fd:
            if stored := self._find_or_clear(model):
                return stored
            failures: list[FenzhenError] = []
            for source in model.sources:
                try:
                    stored = self._fetch_from(model, source, lock_fd)
                except FenzhenError as error:
                    failure = error
                except OSError as error:
                    failure = UserError(f"{error.filename or self._models_dir}: {error.strerror or error}")
                else:
                    self._clear_partials(model)
                    return stored
                failures.append(failure)
                self._progress.note(f"{model.name}: not from {_name(source)}: {failure}")
        lines = [f"  {_name(source)}: {failure}" for source, failure in zip(model.sources, failures, strict=True)]
        message = "\n".join([f"{model.name} could not be fetched:", *lines])
        if any(isinstance(failure, Unavailable) for failure in failures):
            raise Unavailable(message, retry_after_s=60)
        raise UserError(message)

    def _entry(self, model: Model, source: Source) -> Path:
        return self._models_dir / f"{model.name}--{source.kind}-{pin_of(source)[:12]}"

    def _find_from(self, model: Model, source: Source, *, rehash: bool) -> StoredModel | None:
        entry = self._entry(model, source)
        try:
            manifest = read_manifest(entry)
        except UserError as error:
            raise DamagedError(f"{error}; {_fetch_again(model)}") from error
        if manifest is None or not fits(manifest, source):
            return None
        folder = source.path if isinstance(source, FolderSource) else entry
        try:
            require_loadable(folder)
            stamp = dict(folder_stamp(folder))
        except UserError as error:
            raise DamagedError(f"{model.name} is damaged: {error}; {_fetch_again(model)}") from error
        if rehash or stamp != manifest.stamp:
            found = self._hash(model, folder, stamp)
            if found != manifest.sha256:
                raise DamagedError(
                    f"{model.name} is damaged: {folder} has sha256 {found}, expected was {manifest.sha256}; "
                    f"{_fetch_again(model)}"
                )
        if stamp != manifest.stamp:
            # A store that we may only read is as good; it is hashed each time.
            with contextlib.suppress(OSError):
                manifest.model_copy(update={"stamp": stamp}).write(entry)
        return StoredModel(
            model=model.name,
            folder=folder,
            origin=origin_of(source),
            source_kind=source.kind,
            size_bytes=manifest.size_bytes,
            sha256=manifest.sha256,
        )

    def _hash(self, model: Model, folder: Path, stamp: dict[str, tuple[int, int]]) -> str:
        self._progress.stage(f"{model.name}: checking", sum(size for size, _ in stamp.values()))
        done_bytes = 0

        def count(chunk_bytes: int) -> None:
            nonlocal done_bytes
            done_bytes += chunk_bytes
            self._progress.advance(done_bytes)

        return folder_sha256(folder, count)

    def _find_or_clear(self, model: Model) -> StoredModel | None:
        """Find the model; an entry that is damaged is removed, so that it can be fetched again."""
        for source in model.sources:
            try:
                if stored := self._find_from(model, source, rehash=False):
                    return stored
            except DamagedError as error:
                self._progress.note(str(error))
                # Only what is ours: of a folder source the entry holds nothing but the manifest.
                shutil.rmtree(self._entry(model, source))
        return None

    def _fetch_from(self, model: Model, source: Source, lock_fd: int) -> StoredModel:
        partial = self._partial(self._entry(model, source))
        partial.mkdir(exist_ok=True)
        work = Work(model.name, partial, lock_fd, self._progress, self._sleep)
        match source:
            case HubSource():
                files = probe_hub(source, self._hub_timeout_s, work)
                require_room(partial, sum(file.size_bytes for file in files) - bytes_below(work.result))
                download_hub(source, files, work)
            case PackageSource():
                require_room(partial, room_bytes(source, partial) + model.disk_bytes)
                gguf = join_packages(source, work)
                shutil.rmtree(work.result, ignore_errors=True)
                self._convert(gguf, work)
            case FolderSource():
                work.result.mkdir(exist_ok=True)
        folder = source.path if isinstance(source, FolderSource) else work.result
        require_loadable(folder)
        stamp = dict(folder_stamp(folder))
        sha256 = self._hash(model, folder, stamp)
        if isinstance(source, FolderSource) and sha256 != source.sha256:
            raise UserError(f"{folder} has sha256 {sha256}, expected was {source.sha256}")
        size_bytes = sum(size for size, _ in stamp.values())
        manifest = Manifest(
            model=model.name,
            source_kind=source.kind,
            pin=pin_of(source),
            origin=origin_of(source),
            sha256=sha256,
            size_bytes=size_bytes,
            stamp=stamp,
        )
        manifest.write(work.result)
        entry = self._entry(model, source)
        # What stands there is of no use: `find` looked at it.
        shutil.rmtree(entry, ignore_errors=True)
        publish(work.result, entry)
        stored = self._find_from(model, source, rehash=False)
        assert stored is not None
        return stored

    def _partial(self, entry: Path) -> Path:
        return entry.with_name(f".partial-{entry.name}")

    def _clear_partials(self, model: Model) -> None:
        """Give back the room of fetches that are done, or were given up for another source."""
        for source in model.sources:
            shutil.rmtree(self._partial(self._entry(model, source)), ignore_errors=True)

    @contextlib.contextmanager
    def _locked(self, model: Model) -> Iterator[int]:
        """Hold the model's lock; the second of two fetches waits and then finds what the first has brought."""
        try:
            self._models_dir.mkdir(parents=True, exist_ok=True)
            lock_fd = os.open(self._models_dir / f".lock-{model.name}", os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise UserError(f"site.models_dir {self._models_dir} cannot be written: {error.strerror}") from error
        try:
            try:
                fcntl.flock(lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                self._progress.note(f"{model.name}: another process is fetching it; waiting for that to end")
                fcntl.flock(lock_fd, fcntl.LOCK_EX)
            yield lock_fd
        finally:
            os.close(lock_fd)


def require_loadable(folder: Path) -> None:
    """Refuse a folder that vLLM cannot load, in words that say what is missing."""
    if not folder.is_dir():
        raise UserError(f"{folder} is not a folder")
    if not (folder / "config.json").is_file():
        raise UserError(f"{folder} has no config.json: it is not a folder that vLLM can load")
    if not any(folder.glob("*.safetensors")):
        raise UserError(f"{folder} has no *.safetensors: weights in other formats are not loaded")


def _name(source: Source) -> str:
    match source:
        case HubSource():
            return f"the hub, {source.repository}"
        case PackageSource():
            return f"packages, {source.weights}"
        case _:
            return f"the folder {source.path}"


def _fetch_again(model: Model) -> str:
    return f"`fenzhen models fetch {model.name}` gets it again"
