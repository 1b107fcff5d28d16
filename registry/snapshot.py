"""The hub's library at work in a process of its own: `python -m registry.snapshot probe|download ...`.

Its last line is a sentence for a person; its exit status says whose fault a failure is.
"""

import fnmatch
import json
import os
import signal
import sys
from pathlib import Path

import httpx2
from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

# What vLLM loads: no pickles, which can run code, and no second copy of the weights for another engine.
WANTED = ("*.safetensors", "*.json", "*.txt", "*.jinja", "*.model", "*.tiktoken")
UNWANTED = ("onnx/*", "openvino/*", "coreml/*", "original/*", "runs/*", "consolidated*", "*/consolidated*")
# Statuses of `sysexits.h`: data error, unavailable.
USERS_FAULT, UNAVAILABLE = 65, 69


def is_wanted(path: str) -> bool:
    """Whether a file of a repository belongs into the folder that vLLM loads."""
    if any(fnmatch.fnmatchcase(path, pattern) for pattern in UNWANTED):
        return False
    return any(fnmatch.fnmatchcase(path, pattern) for pattern in WANTED)


def probe(repository: str, revision: str, timeout_s: float, listing: Path) -> None:
    """Write name, size and digest of each wanted file of a revision as JSON, or be killed at the time-out."""
    # No library's time-out covers a hanging name look-up or a proxy that drips bytes; the kernel's timer covers all.
    signal.setitimer(signal.ITIMER_REAL, timeout_s)
    api = HfApi(token=_token())
    info = api.model_info(repository, revision=revision, files_metadata=True)
    files = [
        {
            "path": file.rfilename,
            "size_bytes": file.size,
            "sha256": file.lfs.sha256 if file.lfs else None,
            "git_sha1": file.blob_id,
        }
        for file in info.siblings or ()
        if is_wanted(file.rfilename)
    ]
    listing.write_text(json.dumps(files), encoding="utf-8")


def download(repository: str, revision: str, folder: Path) -> None:
    """Bring the wanted files of a revision into a folder; files that are complete there are kept."""
    snapshot_download(
        repository,
        revision=revision,
        local_dir=folder,
        allow_patterns=list(WANTED),
        ignore_patterns=list(UNWANTED),
        token=_token(),
    )


def _token() -> str | bool:
    """Only from the environment: a token that somebody once saved on this machine is not ours to use."""
    return os.environ.get("HF_TOKEN") or False


def main(arguments: list[str]) -> int:
    """Run one command; return the exit status."""
    try:
        match arguments:
            case ["probe", repository, revision, timeout_s, listing]:
                probe(repository, revision, float(timeout_s), Path(listing))
            case ["download", repository, revision, folder]:
                download(repository, revision, Path(folder))
            case _:
                return _fail(USERS_FAULT, f"unknown arguments {arguments}")
    except GatedRepoError:
        return _fail(USERS_FAULT, "the repository is gated: accept its terms on the hub and set HF_TOKEN")
    except RevisionNotFoundError:
        return _fail(USERS_FAULT, "the repository has no such revision")
    except RepositoryNotFoundError:
        return _fail(USERS_FAULT, "no such repository, or it is private: set HF_TOKEN")
    except HfHubHTTPError as error:
        return _fail(UNAVAILABLE, f"the hub answered {error.response.status_code}")
    except LocalEntryNotFoundError:
        return _fail(UNAVAILABLE, "the hub stopped answering")
    # The library lets its HTTP client's errors through, and calls a cut download an OSError.
    except (httpx2.HTTPError, OSError) as error:
        return _fail(UNAVAILABLE, f"the hub cannot be reached: {type(error).__name__}: {error}")
    return 0


def _fail(code: int, sentence: str) -> int:
    print(" ".join(sentence.split()), flush=True)
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
