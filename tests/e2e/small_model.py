"""The small model of the profile `tiny`, and the adapters made for it."""

import subprocess
import sys
from pathlib import Path
from typing import Final

from cluster.settings_file import profile
from registry.progress import Silent
from registry.store import ModelStore

REPOSITORY: Final = Path(__file__).resolve().parents[2]
SMALL: Final = "smollm2-135m"
# Loading the model and one pass over a few chats: 9 s on two idle cores.
_MAKING_S: Final = 180


def model_folder() -> Path:
    """Where its weights lie; fetched if they do not yet."""
    settings = profile("tiny")
    model = next(each for each in settings.models if each.name == SMALL)
    store = ModelStore(settings.site.models_dir, settings.site.hub_timeout_s, Silent())
    return store.fetch(model).folder


def made_adapters(into: Path) -> dict[str, Path]:
    """One adapter of each sort, by name."""
    # As a process: torch and the model's weights are given back when it ends.
    words = [sys.executable, "-m", "tests.fakes.adapters", str(model_folder()), str(into)]
    subprocess.run(words, check=True, timeout=_MAKING_S, cwd=REPOSITORY, stdout=subprocess.DEVNULL)
    return {folder.name: folder for folder in into.iterdir()}
