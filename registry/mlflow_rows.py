"""Versions as they stand in MLflow's registry: rows, tags and aliases, read into our values."""

import contextlib
import hashlib
import tempfile
from pathlib import Path
from typing import Any, Final

from cluster.errors import NotFound, OurFault
from registry.disk import write_durably
from registry.mlflow_session import MlflowSession, pages
from registry.version_files import is_safe_path
from registry.version_tags import ALIASES, FORMAT, FORMAT_TAG, LIST_FILE, files_of
from registry.version_tags import version_of as version_from
from registry.versions import Draft, Version

FILES: Final = "files"
"""The folder of a version's files in its run's artifacts."""
_PAGE: Final = 200


class MlflowRows:
    """Reads versions."""

    def __init__(self, session: MlflowSession, lists_dir: Path) -> None:
        self._session = session
        self._lists_dir = lists_dir

    def read(self, name: str | None = None) -> tuple[tuple[Version, ...], tuple[str, ...]]:
        """All versions, of one name or of all, by name and number; and a sentence for each that was tampered with."""
        wanted = f"name = '{_quoted(name)}'" if name is not None else f"tags.`{FORMAT_TAG}` = '{FORMAT}'"
        rows = self._session.call(lambda client: pages(lambda token: client.search_model_versions(
            wanted, max_results=_PAGE, page_token=token
        )))  # fmt: skip
        rows = [row for row in rows if row.tags.get(FORMAT_TAG) == FORMAT]
        aliases = self._aliases({row.name for row in rows})
        versions, faults = [], []
        for row in rows:
            number = int(row.version)
            own = [alias for alias, to in aliases.get(row.name, {}).items() if int(to) == number]
            try:
                versions.append(self.version_of(row, own))
            except OurFault as error:
                faults.append(str(error))
        return tuple(sorted(versions, key=lambda version: (version.name, version.version))), tuple(faults)

    def create(self, draft: Draft, run: Any, tags: dict[str, str]) -> Any:
        """Make the next version of a name, seen from then on."""
        source, run_id = f"{run.info.artifact_uri}/{FILES}", run.info.run_id
        return self._session.call(
            lambda client: client.create_model_version(
                draft.name, source, run_id, tags=tags, description=draft.note or None, await_creation_for=0
            )
        )

    def row(self, name: str, version: int) -> Any:
        """MLflow's own value for one version. Raises NotFound."""
        try:
            row = self._session.call(lambda client: client.get_model_version(name, str(version)))
        except NotFound:
            row = None
        if row is None or row.tags.get(FORMAT_TAG) != FORMAT:
            raise NotFound(f"{name} has no version {version}; `fenzhen registry list` shows all")
        return row

    def version_of(self, row: Any, aliases: Any) -> Version:
        """A version out of MLflow's value. Raises OurFault if it was tampered with."""
        label = f"{row.name} {row.version}"
        listed, sha256 = row.tags.get("fenzhen.files"), row.tags.get("fenzhen.files_sha256")
        if listed is not None:
            files = files_of(label, listed)
        elif sha256 is not None and is_safe_path(sha256):
            files = files_of(label, self._long_list(row.source, sha256), sha256)
        else:
            raise OurFault(f"{label}: it has no list of files; nothing of it is used")
        return version_from(row.name, int(row.version), row.creation_timestamp / 1000, row.tags, files, aliases)

    def _long_list(self, source: str, sha256: str) -> str:
        kept = self._lists_dir / f"{sha256}.json"
        with contextlib.suppress(OSError):
            text = kept.read_text(encoding="utf-8")
            if hashlib.sha256(text.encode()).hexdigest() == sha256:
                return text
        with tempfile.TemporaryDirectory(prefix="fenzhen-list-") as folder:
            copy = Path(folder) / LIST_FILE
            above = source.removesuffix(f"/{FILES}")
            self._session.call(lambda _: self._session.repository(above)._download_file(LIST_FILE, str(copy)))
            text = copy.read_text(encoding="utf-8", errors="replace")
        with contextlib.suppress(OSError):
            self._lists_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
            write_durably(kept, text)
        return text

    def _aliases(self, names: set[str]) -> dict[str, dict[str, str]]:
        if not names:
            return {}
        models = self._session.call(lambda client: pages(lambda token: client.search_registered_models(
            f"name = '{_quoted(min(names))}'" if len(names) == 1 else None, max_results=_PAGE, page_token=token
        )))  # fmt: skip
        return {model.name: {a: n for a, n in model.aliases.items() if a in ALIASES} for model in models}


def _quoted(name: str) -> str:
    # A name has no quotes, see `version_draft`; one that has is no version's.
    return name.replace("'", "")
