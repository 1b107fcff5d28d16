"""A fetch that is killed in the middle: `python -m tests.unit.registry.dying_fetch MODELS_DIR CARD EVENTS`.

It kills itself with SIGKILL at the given number of progress events: nothing in it can tidy up.
"""

import os
import signal
import sys
from pathlib import Path

from cluster.settings import Model
from registry.store import ModelStore
from tests.unit.registry.support import copy_as_model


class DyingProgress:
    """A Progress that ends the process at one of its events."""

    def __init__(self, events: int) -> None:
        self._left = events

    def stage(self, title: str, total_bytes: int | None) -> None:
        self._live_on()

    def advance(self, done_bytes: int) -> None:
        self._live_on()

    def note(self, line: str) -> None:
        self._live_on()

    def _live_on(self) -> None:
        self._left -= 1
        if self._left == 0:
            os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    models_dir, card, events = sys.argv[1:]
    store = ModelStore(Path(models_dir), 5, DyingProgress(int(events)), convert=copy_as_model)
    store.fetch(Model.model_validate_json(card))
