"""The journal of a schedule survives what happens to files at night."""

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from cluster.errors import Unavailable, UserError
from training.schedule_journal import Entry, Journal, document_of

NOON = datetime(2026, 11, 1, 12, tzinfo=UTC)


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path / "hotline.jsonl")


def test_entries_come_back_as_they_were_written(journal: Journal) -> None:
    assert journal.read() == ()
    entries = (
        Entry(NOON, "begun", "每月 monthly", "r1", "2026-11-01T02:00:00", (3, 4)),
        Entry(NOON + timedelta(hours=1), "published", "version 7", "r1", version=7),
    )
    for entry in entries:
        journal.add(entry)
    assert journal.read() == entries
    assert document_of(entries[1]) == {
        "at": "2026-11-01T13:00:00Z", "what": "published", "why": "version 7", "run": "r1", "version": 7,
    }  # fmt: skip


@pytest.mark.parametrize("left", [1, 10, 40])
def test_a_line_that_a_killed_writer_left_half_does_not_count_and_spoils_nothing(
    journal: Journal, tmp_path: Path, left: int
) -> None:
    file = tmp_path / "hotline.jsonl"
    journal.add(Entry(NOON, "watching", "a"))
    whole = file.read_bytes()
    file.write_bytes(whole + whole[:left])
    assert len(journal.read()) == 1
    journal.add(Entry(NOON, "begun", "b", "r1"))
    assert [entry.what for entry in journal.read()] == ["watching", "begun"]


def test_a_line_that_is_no_entry_is_told_with_its_number(journal: Journal, tmp_path: Path) -> None:
    journal.add(Entry(NOON, "watching", "a"))
    with (tmp_path / "hotline.jsonl").open("a") as file:
        file.write('{"at": "noon"}\n')
    with pytest.raises(UserError, match=r"hotline.jsonl line 2"):
        journal.read()


def test_a_time_without_its_zone_is_no_entry(journal: Journal, tmp_path: Path) -> None:
    (tmp_path / "hotline.jsonl").write_text('{"at": "2026-11-01T12:00:00", "what": "watching", "why": ""}\n')
    with pytest.raises(UserError, match="line 1"):
        journal.read()


def test_two_processes_do_not_act_by_one_journal(journal: Journal, tmp_path: Path) -> None:
    other = Journal(tmp_path / "hotline.jsonl")
    with journal.held(), pytest.raises(Unavailable, match="another process"), other.held():
        pass
    with other.held():
        pass


def test_only_its_owner_may_read_it(journal: Journal, tmp_path: Path) -> None:
    journal.add(Entry(NOON, "watching", "a"))
    assert (tmp_path / "hotline.jsonl").stat().st_mode & 0o077 == 0


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(UserError, match="cannot be written"):
        Journal(tmp_path / "a.jsonl").add(Entry(NOON, "watching", "a"))
