import subprocess
from pathlib import Path

import pytest

from cluster.errors import UserError
from registry.digests import MANIFEST_NAME, file_sha256, folder_sha256, folder_stamp

FORMULA = (
    "find -L . -type f ! -name fenzhen-model.json -printf '%P\\0' | LC_ALL=C sort -z | xargs -0 sha256sum | sha256sum"
)


def some_folder(folder: Path) -> Path:
    (folder / "sub").mkdir(parents=True)
    (folder / "sub.json").write_text("{}")
    (folder / "sub" / "权重.safetensors").write_bytes(b"1" * 3_000_000)
    (folder / "B").write_text("capital letters sort first")
    (folder / "a").write_text("")
    return folder


def test_the_digest_of_a_folder_is_what_the_documented_command_prints(tmp_path: Path) -> None:
    folder = some_folder(tmp_path / "model")
    (folder / MANIFEST_NAME).write_text("not counted")

    printed = subprocess.run(["bash", "-c", FORMULA], cwd=folder, capture_output=True, text=True, check=True).stdout
    assert printed.split()[0] == folder_sha256(folder)


def test_a_folder_of_links_into_a_hubs_cache_has_the_digest_of_the_files(tmp_path: Path) -> None:
    folder = some_folder(tmp_path / "blobs")
    links = tmp_path / "snapshot"
    (links / "sub").mkdir(parents=True)
    for name in ("sub.json", "sub/权重.safetensors", "B", "a"):
        (links / name).symlink_to(folder / name)

    assert folder_sha256(links) == folder_sha256(folder)


def test_a_link_that_leads_back_up_does_not_make_the_walk_endless(tmp_path: Path) -> None:
    folder = some_folder(tmp_path / "model")
    before = folder_sha256(folder)
    (folder / "sub" / "up").symlink_to(folder)

    assert folder_sha256(folder) == before


def test_a_link_to_nowhere_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").symlink_to(tmp_path / "gone")

    with pytest.raises(UserError, match="link to nowhere"):
        folder_sha256(tmp_path)


@pytest.mark.parametrize("change", ["content", "name", "one more"])
def test_every_change_of_a_folder_changes_its_digest(tmp_path: Path, change: str) -> None:
    folder = some_folder(tmp_path / "model")
    before = folder_sha256(folder)
    match change:
        case "content":
            (folder / "a").write_text("x")
        case "name":
            (folder / "a").rename(folder / "c")
        case _:
            (folder / "c").write_text("")

    assert folder_sha256(folder) != before


def test_hashing_reports_every_byte(tmp_path: Path) -> None:
    folder = some_folder(tmp_path / "model")
    chunks: list[int] = []
    folder_sha256(folder, chunks.append)

    assert sum(chunks) == sum(size for size, _ in folder_stamp(folder).values())


def test_a_file_has_the_digest_that_sha256sum_prints(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"abc")

    assert file_sha256(tmp_path / "f") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
