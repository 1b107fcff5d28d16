"""`fenzhen router evaluate`: tables, JSON and a picture of a judge on labelled rows."""

import json

import pytest

from tests.unit.fenzhen.router_commands import WRONG_FILES, Desk


def test_the_document_holds_curve_cost_chances_and_rewordings(desk: Desk) -> None:
    png = desk.folder / "curves.png"
    words = ["--judge", desk.judge, "--rows", desk.rows(), "--price", "1", "4", "--png", png, "--json"]
    assert desk.run("evaluate", *words) == 0
    told = json.loads(desk.out)
    (one,) = told["sets"]
    assert {"apgr", "cpt50", "cpt80", "ci_low", "ci_high"} <= set(one)
    assert one["rows"] == 200
    assert [point["cost"] for point in one["curve"]][::5] == pytest.approx([0.25, 0.625, 1])
    assert sum(part["rows"] for part in one["small"]["bins"]) == 200
    assert told["rewording"]["paraphrase"]["cases"] >= 240
    assert told["learned_from"] == []
    assert png.read_bytes().startswith(b"\x89PNG")


def test_people_get_tables(desk: Desk) -> None:
    assert desk.run("evaluate", "--judge", desk.judge, "--rows", desk.rows()) == 0
    for words in ("APGR", "lead recovered", "came true", "paraphrase", "rows.jsonl: 200 rows"):
        assert words in desk.out


def test_margins_are_told_where_they_are_asked_for(desk: Desk) -> None:
    words = ["--judge", desk.judge, "--rows", desk.rows(), "--margins"]
    assert desk.run("evaluate", *words, "--json") == 0
    (one,) = json.loads(desk.out)["margins"]
    moved = {relief["margin"]: relief["moved_ratio"] for relief in one["relief"]}
    assert 0 < moved[0.05] <= moved[0.25]
    assert one["staying"][0]["switched_ratio"] >= one["staying"][-1]["switched_ratio"]
    assert desk.run("evaluate", *words) == 0
    assert "margins round max_difficulty" in desk.out


def test_by_itself_a_price_follows_the_models_sizes(desk: Desk) -> None:
    assert desk.run("evaluate", "--judge", desk.judge, "--rows", desk.rows(), "--json") == 0
    assert json.loads(desk.out)["price_ratio"] == pytest.approx(0.5 / 7, abs=1e-4)


def test_rows_that_the_judge_has_learned_from_are_told(desk: Desk) -> None:
    rows = desk.rows()
    assert desk.run("train", "--rows", rows, "--output", desk.judge) == 0
    assert desk.run("evaluate", "--judge", desk.judge, "--rows", rows) == 0
    assert "has learned from a set of this name" in " ".join(desk.out.split())


@pytest.mark.parametrize("name", WRONG_FILES)
def test_wrong_rows_get_one_sentence_and_no_picture(desk: Desk, name: str) -> None:
    content, says = WRONG_FILES[name]
    path = desk.wrong(content)
    before = desk.files()
    assert desk.run("evaluate", "--judge", desk.judge, "--rows", path, "--png", desk.folder / "a.png") == 2
    assert says in desk.err
    assert desk.err.count("\n") == 1
    assert desk.files() == before


def test_models_that_do_equally_well_leave_nothing_to_gain(desk: Desk) -> None:
    rows = "".join(f'{{"prompt": "{place}", "small": {place % 2}, "large": {place % 2}}}\n' for place in range(40))
    assert desk.run("evaluate", "--judge", desk.judge, "--rows", desk.wrong(rows.encode())) == 2
    assert "equally well" in desk.err
