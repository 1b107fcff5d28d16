"""Rows: each mistake in a file is answered with one sentence that names the line to mend."""

import gzip
import json
from pathlib import Path

import pytest

from cluster.errors import UserError
from router.learning.labelled_rows import MIN_ROWS, read_rows, read_stored


def written(path: Path, rows: list[dict[str, object]]) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def good(count: int = MIN_ROWS) -> list[dict[str, object]]:
    return [{"prompt": f"第{place}题", "small": place % 2, "large": float(place % 3 > 0)} for place in range(count)]


def test_good_rows_are_read_plain_or_gzipped(tmp_path: Path) -> None:
    path = written(tmp_path / "rows.jsonl", good())
    rows = read_rows(path)
    assert (len(rows), rows.small[1], rows.prompts[1]) == (MIN_ROWS, 1.0, "第1题")
    packed = tmp_path / "rows.jsonl.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    assert read_rows(packed).prompts == rows.prompts


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"small": None}, r"line 3: small must be a number from 0 to 1, got None"),
        ({"large": 7}, r"line 3: large must be a number from 0 to 1, got 7"),
        ({"large": float("nan")}, r"line 3: large must be a number"),
        ({"prompt": " "}, r"line 3: prompt must be a text that is not empty"),
        ({"prompt": ["a"]}, r"line 3: prompt must be a text"),
    ],
)
def test_a_wrong_value_is_named_with_its_line(tmp_path: Path, change: dict[str, object], says: str) -> None:
    rows = good()
    rows[2] |= change
    with pytest.raises(UserError, match=says):
        read_rows(written(tmp_path / "rows.jsonl", rows))


def test_a_missing_column_is_named(tmp_path: Path) -> None:
    rows = good()
    del rows[4]["large"]
    with pytest.raises(UserError, match=r"line 5: the column 'large' is missing; a row has prompt, small and large"):
        read_rows(written(tmp_path / "rows.jsonl", rows))


def test_one_class_only_is_refused(tmp_path: Path) -> None:
    rows = [row | {"small": 1} for row in good()]
    with pytest.raises(UserError, match="small is 1 in every row"):
        read_rows(written(tmp_path / "rows.jsonl", rows))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is empty"),
        (b"\n \n", "is empty"),
        ('{"prompt": "房"}\n'.encode("gb18030"), "line 1: this is not UTF-8"),
        (b'{"prompt": "a", "small": 0, "large": 1}\n{"prompt"', "line 2: this is not JSON"),
        (b"[1, 2]\n", "line 1: a row is a JSON object"),
        (gzip.compress(b"{}\n" * 1000)[:-12], "cut off"),
        (b'{"prompt": "a", "small": 0, "large": 1}\n', "1 rows are too few"),
    ],
)
def test_a_wrong_file_gets_one_sentence(tmp_path: Path, content: bytes, says: str) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(content)
    with pytest.raises(UserError, match=says) as caught:
        read_rows(path)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.jsonl cannot be read"):
        read_rows(tmp_path / "none.jsonl")


def test_where_the_large_model_is_the_measure_it_is_always_right(tmp_path: Path) -> None:
    rows = [row | {"large": 1} for row in good()]
    assert read_rows(written(tmp_path / "rows.jsonl", rows)).large.mean() == 1
    with pytest.raises(UserError, match="large is 0 in every row"):
        read_rows(written(tmp_path / "rows.jsonl", [row | {"large": 0} for row in good()]))


def test_stored_files_are_one_set_and_may_end_in_half_a_row(tmp_path: Path) -> None:
    first = written(tmp_path / "1.jsonl", good()[:15])
    second = written(tmp_path / "2.jsonl", good()[15:])
    second.write_bytes(second.read_bytes() + b'{"prompt": "half')
    begun = tmp_path / "3.jsonl"
    begun.touch()
    assert list(read_stored([first, second, begun]).prompts) == [row["prompt"] for row in good()]


def test_too_few_stored_rows_are_told_with_their_folder(tmp_path: Path) -> None:
    path = written(tmp_path / "1.jsonl", good()[:5])
    with pytest.raises(UserError, match="5 rows are too few"):
        read_stored([path])
