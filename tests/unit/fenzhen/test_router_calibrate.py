"""`fenzhen router calibrate`: a wish in words becomes a bar, in the file if asked for."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.unit.fenzhen.router_commands import WRONG_FILES, Desk


def questions(desk: Desk) -> Path:
    path = desk.folder / "questions.txt"
    path.write_text("".join(f"Question {place}: what is {place} times {place * 7}?\n" for place in range(200)))
    return path


def calibrate(desk: Desk, *words: object) -> Any:
    assert desk.run("calibrate", "--judge", desk.judge, "--json", *words) == 0
    return json.loads(desk.out)


def test_a_share_of_labelled_rows(desk: Desk) -> None:
    found = calibrate(desk, "--large-share", "0.3", "--rows", desk.rows())
    share = found["large_share"]
    assert share["value"] == pytest.approx(0.3, abs=0.01)
    assert share["low"] < 0.3 < share["high"]
    assert found["quality_is_measured"] is True
    assert (found["small"], found["large"]) == ("small", "large")


def test_a_quality_of_labelled_rows(desk: Desk) -> None:
    found = calibrate(desk, "--quality", "0.9", "--rows", desk.rows())
    assert found["quality"]["value"] >= 0.9
    assert found["large_share"]["value"] < 1


def test_questions_without_labels_are_told_as_the_judges_belief(desk: Desk) -> None:
    assert calibrate(desk, "--large-share", "0.3", "--questions", questions(desk))["quality_is_measured"] is False
    assert desk.run("calibrate", "--judge", desk.judge, "--large-share", "0.3", "--questions", questions(desk)) == 0
    assert "3 of 10 questions go to large" in desk.out
    assert "as the judge believes of 200 questions" in " ".join(desk.out.split())


def test_rows_that_were_stored_while_serving_are_taken_by_themselves(desk: Desk) -> None:
    stored = desk.state_dir / "rows" / "a.jsonl"
    stored.parent.mkdir(parents=True)
    desk.rows().rename(stored)
    assert calibrate(desk, "--large-share", "0.2")["questions"] == 200


def test_write_changes_one_number_and_keeps_all_else(desk: Desk) -> None:
    before = desk.config.read_text()
    found = calibrate(desk, "--large-share", "0.3", "--questions", questions(desk), "--write")
    bar = found["max_difficulty"]["value"]
    assert desk.config.read_text() == before.replace("0.5  # half way", f"{bar:g}  # half way")
    assert "fenzhen update" in desk.err


@pytest.mark.parametrize("name", WRONG_FILES)
def test_wrong_rows_get_one_sentence_and_the_file_stays(desk: Desk, name: str) -> None:
    content, says = WRONG_FILES[name]
    before = desk.config.read_bytes()
    path = desk.wrong(content)
    files = desk.files()
    assert desk.run("calibrate", "--judge", desk.judge, "--quality", "0.9", "--rows", path, "--write") == 2
    assert says in desk.err
    assert desk.err.count("\n") == 1
    assert desk.config.read_bytes() == before
    assert desk.files() == files


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is empty"),
        ("第一题\n".encode("gb18030") * 30, "line 1: this is not UTF-8"),
        (b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03abc", "is cut off"),
        (b'{"answer": 1}\n', "line 1: the question is missing"),
        (b"why?\n", "1 questions are too few"),
    ],
)
def test_wrong_questions_get_one_sentence(desk: Desk, content: bytes, says: str) -> None:
    path = desk.wrong(content)
    assert desk.run("calibrate", "--judge", desk.judge, "--large-share", "0.3", "--questions", path, "--write") == 2
    assert says in desk.err
    assert desk.err.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "either --large-share or --quality"),
        (["--large-share", "0.3", "--quality", "0.9"], "either --large-share or --quality"),
        (["--large-share", "30"], "30.0 is not in the range 0<x<1"),
        (["--large-share", "0"], "0.0 is not in the range"),
    ],
)
def test_a_wish_must_be_one_and_possible(desk: Desk, words: list[str], says: str) -> None:
    assert desk.run("calibrate", *words) == 2
    assert says in desk.err


def test_one_model_leaves_nothing_to_choose(desk: Desk) -> None:
    lines = desk.config.read_text().splitlines()
    desk.config.write_text("\n".join(line for line in lines if "large" not in line))
    assert desk.run("calibrate", "--large-share", "0.3", "--questions", questions(desk)) == 2
    assert "only small is served" in desk.err
