"""Rows on the disk: whole lines only, ours only, and never more than allowed."""

import errno
import json
import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from cluster.errors import UserError
from router.learning.rows_file import RowsFile
from router.learning.rows_store import RowsStore, mend, rows_files

ROOT = Path(__file__).parents[4]
ROW: dict[str, object] = {"prompt": "问题", "small": 1.0, "large": 1.0}


class Calendar:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = datetime(2026, 1, 31, 23, 59, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now


def test_a_row_is_a_line_that_only_we_can_read(tmp_path: Path) -> None:
    store = RowsStore(tmp_path / "rows", 1 << 20, Calendar())
    store.append(ROW)
    (path,) = rows_files(tmp_path / "rows")
    assert json.loads(path.read_text(encoding="utf-8")) == ROW | {"at": "2026-01-31T23:59:00+00:00"}
    assert path.name.startswith("20260131-")
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700


def test_each_day_and_each_replica_has_a_file_of_its_own(tmp_path: Path) -> None:
    calendar = Calendar()
    stores = [RowsStore(tmp_path, 1 << 20, calendar) for _ in range(2)]
    for store in stores:
        store.append(ROW)
        store.append(ROW)
    calendar.now = datetime(2026, 2, 1, 0, 0, tzinfo=UTC)
    stores[0].append(ROW)
    assert sorted(len(path.read_text().splitlines()) for path in rows_files(tmp_path)) == [1, 2, 2]
    assert [path.name[:8] for path in rows_files(tmp_path)] == ["20260131", "20260131", "20260201"]


def test_the_oldest_file_goes_when_there_is_too_much(tmp_path: Path) -> None:
    store = RowsStore(tmp_path, 10_000, Calendar())
    for number in range(400):
        store.append(ROW | {"number": number})
    files = rows_files(tmp_path)
    assert len(files) > 2
    assert sum(path.stat().st_size for path in files) <= 10_000
    numbers = [json.loads(line)["number"] for path in files for line in path.read_text().splitlines()]
    assert numbers == list(range(numbers[0], 400))
    assert len(numbers) > 50


def test_a_half_line_is_cut_off_when_a_file_is_opened_or_mended(tmp_path: Path) -> None:
    for number, (left, kept) in enumerate(
        [('{"a":1}\n{"b":', '{"a":1}\n'), ('{"b":', ""), ("", ""), ('{"a":1}\n', '{"a":1}\n'), ("x" * 200_000, "")]
    ):
        opened, mended = tmp_path / f"{number}.jsonl", tmp_path / f"{number}.other.jsonl"
        for path in (opened, mended):
            path.write_text(left)
        RowsFile(opened).close()
        mend([mended, tmp_path / "away.jsonl"])
        assert opened.read_text() == mended.read_text() == kept


def test_a_file_that_is_being_written_is_neither_opened_twice_nor_mended(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    with RowsFile(path) as file:
        file.append(ROW)
        with path.open("a") as other:
            other.write("half")
        mend([path])
        assert path.read_text().endswith("half")
        with pytest.raises(UserError, match="being written by another process"):
            RowsFile(path)
    RowsFile(path).close()
    assert path.read_text().endswith("\n")


def test_a_full_disk_leaves_no_half_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "rows.jsonl"
    write = os.write
    with RowsFile(path) as file:
        file.append(ROW)
        monkeypatch.setattr("os.write", lambda descriptor, line: write(descriptor, line[:10]))
        with pytest.raises(OSError, match="only 10 of"):
            file.append(ROW)

        def full(descriptor: int) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr("os.write", write)
        monkeypatch.setattr("os.fsync", full)
        with pytest.raises(OSError, match="No space"):
            file.append(ROW)
        monkeypatch.undo()
        file.append(ROW)
    assert [json.loads(line) for line in path.read_text().splitlines()] == [ROW, ROW]


def test_a_writer_that_is_killed_leaves_whole_lines(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from router.learning.rows_store import RowsStore\n"
        "store = RowsStore(Path(sys.argv[1]), 1 << 30)\n"
        "while True: store.append({'prompt': '长' * 5000, 'small': 1.0, 'large': 1.0})\n"
    )
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
    for _ in range(3):
        writer = subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], env=env)
        until_s = time.monotonic() + 60
        try:
            while time.monotonic() < until_s and not any(
                path.stat().st_size > 200_000 for path in rows_files(tmp_path)
            ):
                time.sleep(0.02)
        finally:
            writer.send_signal(signal.SIGKILL)
            writer.wait(10)
        mend(rows_files(tmp_path))
        (path,) = rows_files(tmp_path)
        content = path.read_text()
        assert content.endswith("\n")
        assert all(len(json.loads(line)["prompt"]) == 5000 for line in content.splitlines())
        path.unlink()
