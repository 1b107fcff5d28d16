"""Files are written whole or not at all."""

from pathlib import Path

import pytest

from cluster.errors import UserError
from router.learning.files import write_bytes, write_json


def test_a_file_is_replaced_with_its_rights_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.json"
    write_json(path, {"a": "房"})
    assert path.read_text() == '{\n  "a": "房"\n}\n'
    path.chmod(0o640)
    write_bytes(path, b"b")
    assert path.read_bytes() == b"b"
    assert path.stat().st_mode & 0o777 == 0o640
    assert [one.name for one in path.parent.iterdir()] == ["a.json"]


def test_a_place_that_cannot_be_written_is_one_sentence_and_leaves_nothing(tmp_path: Path) -> None:
    taken = tmp_path / "taken"
    taken.mkdir()
    with pytest.raises(UserError, match=r"taken cannot be written: Is a directory\."):
        write_bytes(taken, b"b")
    (tmp_path / "file").write_text("a")
    with pytest.raises(UserError, match="cannot be written"):
        write_bytes(tmp_path / "file" / "below", b"b")
    assert sorted(one.name for one in tmp_path.iterdir()) == ["file", "taken"]
