"""Registers files again and again, each time killed one call to MLflow later: `python -m ... URI ARTIFACTS FILES`.

One process imports MLflow; each attempt is a fork of it that opens the database itself. Prints a line for each: after
how many calls it was killed, or `done` when it came to its end before that.
"""

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from registry.mlflow_session import _prepare
from registry.mlflow_store import MlflowStore
from registry.versions import Draft


def attempt(uri: str, artifacts: str, files: Path, calls_left: int) -> None:
    """Register, and die right before the call that is one too many."""
    store = MlflowStore(uri, artifacts, files.parent / "lists", 20)
    pass_on = store._session.call

    def call(what: Callable[[Any], Any], *, file_bytes: int = 0) -> Any:
        nonlocal calls_left
        if calls_left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        calls_left -= 1
        return pass_on(what, file_bytes=file_bytes)

    store._session.call = call  # type: ignore[method-assign]
    store.register(Draft("hotline", "adapter", "small", results={"accuracy": 0.9}), files)


def main(uri: str, artifacts: str, files: Path) -> None:
    """Go on until an attempt lives to its end."""
    _prepare()
    for calls in range(100):
        child = os.fork()
        if child == 0:
            attempt(uri, artifacts, files, calls)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        print("done" if status == 0 else calls, flush=True)
        if status == 0:
            return
        if not os.WIFSIGNALED(status):
            sys.exit(1)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
