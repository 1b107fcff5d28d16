"""Weights from a Hugging Face hub, pinned by commit and checked file by file against the hub's own digests.

The hub's library runs in a child process (`registry.snapshot`), so that `HF_ENDPOINT` counts and a hang can be ended.
"""

import hashlib
import os
import shutil
import signal
from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel, ConfigDict, TypeAdapter

from cluster.errors import OurFault, TimedOut, Unavailable, UserError
from cluster.settings import HubSource
from registry.digests import CHUNK_BYTES, file_sha256
from registry.work import Finished, Work, bytes_below, own_modules

# Python and the library start in 0.3 s; a machine that is busy with an engine may need many times that.
START_S = 60.0
# The library itself gives up on a silent connection after 10 s, five times over.
SILENCE_S = 180.0
# Exit statuses of `registry.snapshot`, which is not imported here: the library it imports is for the child.
USERS_FAULT, UNAVAILABLE = 65, 69


class HubFile(BaseModel):
    """One file as the hub describes it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: str
    size_bytes: int
    sha256: str | None
    """Of a large file's content."""
    git_sha1: str | None
    """Of a small file's git blob."""


def probe_hub(source: HubSource, timeout_s: float, work: Work) -> tuple[HubFile, ...]:
    """List the files to fetch. Unavailable if the hub does not answer within `timeout_s` or is switched off."""
    for switch in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
        if os.environ.get(switch, "").upper() in {"1", "ON", "YES", "TRUE"}:
            raise Unavailable(f"the hub is switched off by {switch}={os.environ[switch]}")
    listing = work.folder / "listing.json"
    listing.unlink(missing_ok=True)
    finished = work.run(
        ["-m", "registry.snapshot", "probe", source.repository, source.revision, str(timeout_s), str(listing)],
        env=_environment(work),
        silence_s=START_S + timeout_s,
    )
    if finished.code == -signal.SIGALRM:
        raise TimedOut(f"the hub did not answer within {timeout_s:g} s")
    _check(finished)
    files = TypeAdapter(tuple[HubFile, ...]).validate_json(listing.read_bytes())
    if not any(file.path.endswith(".safetensors") for file in files):
        raise UserError(f"{source.repository} has no *.safetensors")
    return files


def download_hub(source: HubSource, files: tuple[HubFile, ...], work: Work) -> None:
    """Leave the files in `work.result`, each as the hub describes it."""
    work.progress.stage(f"{work.name}: downloading {source.repository}", sum(file.size_bytes for file in files))

    def attempt() -> None:
        finished = work.run(
            ["-m", "registry.snapshot", "download", source.repository, source.revision, str(work.result)],
            env=_environment(work),
            silence_s=SILENCE_S,
            measure=lambda: bytes_below(work.result),
            report=work.progress.advance,
        )
        _check(finished)
        missing = [file.path for file in files if not (work.result / file.path).is_file()]
        # The library is content with what lies there when the hub vanishes halfway.
        if missing:
            raise Unavailable(f"the hub stopped answering before {missing[0]} was here")

    work.retry(attempt)
    for file in files:
        _verify(work.result / file.path, file)
    shutil.rmtree(work.result / ".cache", ignore_errors=True)


def _environment(work: Work) -> Mapping[str, str]:
    return {
        **own_modules(),
        # Its caches and settings stay in our folder and go with it; a saved token lies in neither.
        "HF_HOME": str(work.folder / "hf"),
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
    }


def _check(finished: Finished) -> None:
    if finished.code == 0:
        return
    sentence = finished.last_line
    if token := os.environ.get("HF_TOKEN"):
        # An address in a library's message may carry it.
        sentence = sentence.replace(token, "***")
    if finished.code == USERS_FAULT:
        raise UserError(sentence)
    if finished.code == UNAVAILABLE:
        raise Unavailable(sentence, retry_after_s=60)
    raise OurFault(f"the hub's library failed: {sentence}")


def _verify(path: Path, file: HubFile) -> None:
    if file.sha256:
        found, expected = file_sha256(path), file.sha256
    elif file.git_sha1:
        found, expected = _git_sha1(path), file.git_sha1
    else:
        raise UserError(f"the hub gives no digest of {file.path}")
    if found != expected:
        # Kept, it would be taken as complete by the next fetch.
        path.unlink()
        raise UserError(f"{file.path} from the hub has digest {found}, expected was {expected}")


def _git_sha1(path: Path) -> str:
    """Git's name of a file's content."""
    digest = hashlib.sha1(f"blob {path.stat().st_size}\0".encode(), usedforsecurity=False)
    with path.open("rb") as content:
        while chunk := content.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()
