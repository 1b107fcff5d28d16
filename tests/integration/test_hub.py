"""The real hub library against a small hub on this machine."""

import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.errors import Unavailable, UserError
from registry.digests import folder_sha256
from registry.store import ModelStore
from tests.fakes.hub import FakeHub
from tests.unit.registry.support import (
    REVISION,
    RecordedProgress,
    card,
    copy_as_model,
    fill_model_folder,
    folder_source,
    hub_environment,
    hub_source,
    store,
)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    with FakeHub("fenzhen/tiny", REVISION) as hub:
        for name, value in hub_environment(hub.url).items():
            monkeypatch.setenv(name, value)
        yield hub


def impatient_store(folder: Path) -> ModelStore:
    """A store that gives a hub half a second."""
    return ModelStore(folder, 0.5, RecordedProgress(), convert=copy_as_model, sleep=lambda _: None)


def test_only_what_an_engine_loads_is_fetched(hub: FakeHub, tmp_path: Path) -> None:
    stored = store(tmp_path).fetch(card(hub_source()))

    names = sorted(path.name for path in stored.folder.iterdir())
    assert names == ["config.json", "fenzhen-model.json", "model.safetensors", "tokenizer.json"]
    assert not [asked for asked in hub.asked if ".bin" in asked or "onnx" in asked]


def test_a_hub_that_drips_its_answer_is_given_up_at_the_time_out(hub: FakeHub, tmp_path: Path) -> None:
    hub.drips = True
    started_s = time.monotonic()

    with pytest.raises(Unavailable, match=r"the hub did not answer within 0\.5 s"):
        impatient_store(tmp_path).fetch(card(hub_source()))
    # Half a second, and the start of a process on a busy machine.
    assert time.monotonic() - started_s < 10


def test_a_hub_that_nobody_answers_for_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        for name, value in hub_environment(f"http://127.0.0.1:{unused.getsockname()[1]}").items():
            monkeypatch.setenv(name, value)

        with pytest.raises(Unavailable, match="the hub cannot be reached: ConnectError"):
            store(tmp_path).fetch(card(hub_source()))


def test_a_hub_that_is_switched_off_is_not_asked(hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")

    with pytest.raises(Unavailable, match="switched off by HF_HUB_OFFLINE=1"):
        store(tmp_path).fetch(card(hub_source()))
    assert hub.asked == []


def test_without_a_hub_the_next_source_is_used_and_the_reason_said(
    hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    own = fill_model_folder(tmp_path / "own")
    progress = RecordedProgress()
    stored = store(tmp_path / "models", progress).fetch(
        card(hub_source(), folder_source(own, folder_sha256(own))),
    )

    assert stored.source_kind == "folder"
    assert progress.notes == [
        "tiny: not from the hub, fenzhen/tiny: the hub is switched off by HF_HUB_OFFLINE=1",
    ]


def test_a_revision_that_the_hub_does_not_have_is_the_users_to_mend(hub: FakeHub, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such revision"):
        store(tmp_path).fetch(card(hub_source("0" * 40)))


def test_a_repository_that_the_hub_does_not_have_is_the_users_to_mend(hub: FakeHub, tmp_path: Path) -> None:
    hub.repository = "fenzhen/other"

    with pytest.raises(UserError, match="no such repository, or it is private: set HF_TOKEN"):
        store(tmp_path).fetch(card(hub_source()))


def test_a_hub_in_trouble_is_a_hub_that_is_not_there_now(hub: FakeHub, tmp_path: Path) -> None:
    hub.status = 503

    with pytest.raises(Unavailable, match="the hub answered 503"):
        store(tmp_path).fetch(card(hub_source()))


def test_a_repository_without_safetensors_is_refused(hub: FakeHub, tmp_path: Path) -> None:
    del hub.files["model.safetensors"]

    with pytest.raises(UserError, match=r"has no \*\.safetensors"):
        store(tmp_path).fetch(card(hub_source()))


def test_a_download_that_is_cut_is_taken_up(hub: FakeHub, tmp_path: Path) -> None:
    hub.cuts_left = 1
    stored = store(tmp_path).fetch(card(hub_source()))

    assert (stored.folder / "model.safetensors").read_bytes() == hub.files["model.safetensors"]


def test_a_small_file_that_is_not_what_the_commit_holds_is_refused(hub: FakeHub, tmp_path: Path) -> None:
    hub.spoilt["tokenizer.json"] = b'{"model": []}'

    with pytest.raises(UserError, match=r"tokenizer\.json from the hub has digest .{40}, expected was .{40}"):
        store(tmp_path).fetch(card(hub_source()))


def test_a_refused_file_is_fetched_anew_when_the_hub_has_mended_it(hub: FakeHub, tmp_path: Path) -> None:
    hub.spoilt["model.safetensors"] = b"x" * len(hub.files["model.safetensors"])
    with pytest.raises(UserError):
        store(tmp_path).fetch(card(hub_source()))
    hub.spoilt.clear()

    assert store(tmp_path).fetch(card(hub_source()))


def test_a_token_comes_from_the_environment_and_is_never_told(
    hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    hub.status = 503
    progress = RecordedProgress()

    with pytest.raises(Unavailable) as raised:
        store(tmp_path, progress).fetch(card(hub_source()))
    assert hub.tokens == {"Bearer hf_secret"}
    assert "hf_secret" not in f"{raised.value} {progress.notes}"
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and b"hf_secret" in path.read_bytes()]


def test_a_token_that_lies_on_this_machine_is_not_used(
    hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "token").write_text("hf_saved")
    monkeypatch.setenv("HF_TOKEN_PATH", str(tmp_path / "token"))
    store(tmp_path / "models").fetch(card(hub_source()))

    assert hub.tokens == {None}
