import hashlib
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.errors import OurFault, UserError
from registry.digests import folder_sha256
from registry.version_files import content_of, digests_of, is_safe_path, require_whole, whole_sha256
from registry.versions import FileDigest, Kind
from tests.fakes.version_files import adapter_folder, prompt_file, safetensors


def test_the_digest_of_a_version_is_that_of_its_folder(tmp_path: Path) -> None:
    folder = adapter_folder(tmp_path / "a")
    (folder / "b").mkdir()
    # Between `b/x` and `b-x` paths and their parts sort differently.
    (folder / "b" / "x").write_text("1")
    (folder / "b-x").write_text("2")
    assert whole_sha256(digests_of(content_of("model", folder))) == folder_sha256(folder)


def test_an_adapter_that_was_cut_off_is_refused(tmp_path: Path) -> None:
    folder = adapter_folder(tmp_path / "a")
    (folder / "adapter_model.safetensors").write_bytes(safetensors()[:-1])
    with pytest.raises(UserError, match="is damaged: 127 bytes of weights where 128 are announced"):
        content_of("adapter", folder)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("adapter_config.json", b"{", "is not JSON"),
        ("adapter_config.json", b"[]", "does not say"),
        ("adapter_config.json", b'{"peft_type": "IA3", "r": 8}', "other kinds of adapters cannot be loaded"),
        ("adapter_config.json", b'{"peft_type": "LORA", "r": 0}', "r, the rank, must be a whole number from 1, got 0"),
        ("adapter_config.json", b'{"peft_type": "LORA"}', "r, the rank, must be a whole number from 1, got None"),
        ("adapter_config.json", b'{"peft_type": "LORA", "r": 8, "rank_pattern": [1]}', "rank_pattern"),
        ("adapter_model.safetensors", b"", "is not a safetensors file, or it was cut off"),
        ("adapter_model.safetensors", b"\x04" + b"\0" * 7 + b"nope", "its header is not JSON"),
        ("adapter_model.safetensors", b"\x02" + b"\0" * 7 + b"[]", "its header is not an object"),
        ("adapter_model.safetensors", b"\x02" + b"\0" * 7 + b"{}", "holds no weights"),
        ("adapter_model.safetensors", b'\x09\0\0\0\0\0\0\0{"a": {}}', "what it says of a does not hold"),
    ],
)
def test_what_is_no_adapter_is_refused(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    folder = adapter_folder(tmp_path / "a")
    (folder / name).write_bytes(content)
    with pytest.raises(UserError, match=message):
        content_of("adapter", folder)


@pytest.mark.parametrize("name", ["adapter_config.json", "adapter_model.safetensors"])
def test_an_adapter_without_one_of_its_files_is_refused(tmp_path: Path, name: str) -> None:
    folder = adapter_folder(tmp_path / "a")
    (folder / name).unlink()
    with pytest.raises(UserError, match=f"has no {name}"):
        content_of("adapter", folder)


def test_a_link_out_of_the_folder_is_refused_and_one_inside_is_followed(tmp_path: Path) -> None:
    folder = adapter_folder(tmp_path / "a")
    (folder / "copy.json").symlink_to("adapter_config.json")
    assert dict(content_of("adapter", folder))["copy.json"].read_bytes()
    (tmp_path / "secret").write_text("s")
    (folder / "link.json").symlink_to(tmp_path / "secret")
    with pytest.raises(UserError, match=r"link\.json is a link out of the folder"):
        content_of("adapter", folder)


@pytest.mark.parametrize("name", ["weights.bin", "old/optimizer.PT", "a.pkl", "a.pickle", "a.ckpt", "a.pth"])
def test_pickles_are_refused_wherever_they_lie(tmp_path: Path, name: str) -> None:
    path = adapter_folder(tmp_path / "a") / name
    path.parent.mkdir(exist_ok=True)
    path.touch()
    kinds: tuple[Kind, ...] = ("adapter", "model")
    for kind in kinds:
        with pytest.raises(UserError, match="may be a pickle, which runs code"):
            content_of(kind, tmp_path / "a")


def test_a_prompt_is_text_of_a_size_that_fits(tmp_path: Path) -> None:
    path = prompt_file(tmp_path / "p.txt", "字" * 21845)
    assert content_of("prompt", path) == (("prompt.txt", path),)
    prompt_file(path, "字" * 21846)
    with pytest.raises(UserError, match="larger than 64 KiB"):
        content_of("prompt", path)
    path.write_bytes(b"ab\xff")
    with pytest.raises(UserError, match="not UTF-8: byte 3"):
        content_of("prompt", path)
    path.write_bytes(b" \n")
    with pytest.raises(UserError, match="is empty"):
        content_of("prompt", path)


def test_a_folder_with_one_prompt_is_as_good_as_the_prompt(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    path = prompt_file(tmp_path / "folder" / "x.md")
    assert content_of("prompt", tmp_path / "folder") == (("prompt.txt", path),)
    prompt_file(tmp_path / "folder" / "y.md")
    with pytest.raises(UserError, match="has 2 files; a version of kind prompt is one file"):
        content_of("prompt", tmp_path / "folder")


def test_a_judge_says_that_it_is_one(tmp_path: Path) -> None:
    shipped = Path(__file__).parents[3] / "router" / "default.judge"
    assert content_of("judge", shipped) == (("auto.judge", shipped),)
    with pytest.raises(UserError, match="is not a judge"):
        content_of("judge", prompt_file(tmp_path / "p.txt"))


def test_a_folder_is_exactly_its_files_or_not_used(tmp_path: Path) -> None:
    folder = adapter_folder(tmp_path / "a")
    files = digests_of(content_of("adapter", folder))
    require_whole("x 1", folder, files)
    (folder / "more.txt").touch()
    with pytest.raises(OurFault, match=r"x 1 is not what was registered: more\.txt does not belong to it"):
        require_whole("x 1", folder, files)


@pytest.mark.parametrize("path", ["", "/etc/passwd", "../x", "a/../../x", "a\nb", "a\\b", "\0"])
def test_a_path_that_could_leave_the_folder_is_not_safe(path: str) -> None:
    assert not is_safe_path(path)


@given(st.dictionaries(st.text("ab-/.é", min_size=1, max_size=6), st.sampled_from(["0" * 64, "1" * 64]), max_size=5))
def test_the_digest_does_not_depend_on_the_order_of_the_list(files: dict[str, str]) -> None:
    listed = [FileDigest(path, sha256, 1) for path, sha256 in files.items()]
    assert whole_sha256(listed) == whole_sha256(reversed(listed))
    text = "".join(f"{files[path]}  {path}\n" for path in sorted(files, key=os.fsencode))
    assert whole_sha256(listed) == hashlib.sha256(text.encode()).hexdigest()
