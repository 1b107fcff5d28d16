"""One number is changed in `fenzhen.yaml`; every other byte stays, or nothing is written."""

from pathlib import Path

import pytest

from cluster.errors import UserError
from cluster.settings_file import read_settings
from fenzhen.settings_edit import set_max_difficulty
from tests.unit.fenzhen.router_commands import CONFIG


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "fenzhen.yaml"
    path.write_text(CONFIG.format(state_dir=tmp_path))
    return path


def test_a_number_in_a_block_and_one_in_braces(path: Path) -> None:
    before = path.read_text()
    set_max_difficulty(path, "small", 0.437)
    set_max_difficulty(path, "large", 0.9)
    assert path.read_text() == before.replace("0.5  # half way", "0.437  # half way").replace(
        "max_difficulty: 1,", "max_difficulty: 0.9,"
    )
    assert read_settings(path).model("small").max_difficulty == 0.437


def test_windows_line_ends_and_characters_stay(path: Path) -> None:
    text = path.read_text().replace("# Our office.", "# 我们的办公室").replace("\n", "\r\n")
    path.write_bytes(text.encode())
    set_max_difficulty(path, "small", 0.25)
    assert path.read_bytes() == text.replace("0.5  # half", "0.25  # half").encode()


def test_the_mark_at_the_beginning_of_a_windows_file_stays(path: Path) -> None:
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    before = path.read_bytes()
    set_max_difficulty(path, "small", 0.25)
    assert path.read_bytes() == before.replace(b"0.5  # half", b"0.25  # half")


def test_a_number_that_comes_from_elsewhere_is_left_to_a_person(path: Path) -> None:
    text = (
        path.read_text()
        .replace("max_difficulty: 0.5", "max_difficulty: &bar 0.5")
        .replace("max_difficulty: 1,", "max_difficulty: *bar,")
    )
    path.write_text(text)
    for model in ("small", "large"):
        with pytest.raises(UserError, match=f"set max_difficulty: 0.3 of {model} by hand"):
            set_max_difficulty(path, model, 0.3)
        assert path.read_text() == text


def test_a_file_that_is_wrong_already_is_not_touched(path: Path) -> None:
    path.write_text(path.read_text() + "tresholds: 1\n")
    before = path.read_bytes()
    with pytest.raises(UserError, match="tresholds"):
        set_max_difficulty(path, "small", 0.3)
    assert path.read_bytes() == before
    assert [one.name for one in path.parent.iterdir()] == ["fenzhen.yaml"]


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.yaml cannot be read"):
        set_max_difficulty(tmp_path / "none.yaml", "small", 0.3)
