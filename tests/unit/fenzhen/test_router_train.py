"""`fenzhen router train`: rows become a judge, or one sentence and nothing else."""

import json

import pytest

from router.estimate import Judge
from router.judge_file import load
from router.query import Query
from tests.unit.fenzhen.router_commands import WRONG_FILES, Desk


def test_rows_become_a_judge_and_the_same_rows_the_same_bytes(desk: Desk) -> None:
    first, second = desk.folder / "first.judge", desk.folder / "second.judge"
    for path in (first, second):
        assert desk.run("train", "--rows", desk.rows(), "--output", path, "--name", "ours") == 0
    assert first.read_bytes() == second.read_bytes()
    judge = Judge(load(first))
    assert judge.card.name == "ours"
    assert judge.card.made_by == "fenzhen router train --rows rows.jsonl --name ours"
    assert [one.name for one in judge.card.trained_on] == ["rows.jsonl", "own_rows"]
    easy, hard = (
        judge.estimate(Query(text)).difficulty
        for text in ("What is the capital of France?", "A shop sells 31 pears and 5 plums. How many are left?")
    )
    assert easy < hard


def test_a_candidate_lies_where_the_stack_looks_for_it(desk: Desk) -> None:
    rows = desk.state_dir / "rows" / "20261122-a.jsonl"
    rows.parent.mkdir(parents=True)
    desk.rows().rename(rows)
    assert desk.run("train", "--candidate", "--json") == 0
    document = json.loads(desk.out)
    assert document["path"] == str(desk.state_dir / "judges" / "candidate.judge")
    assert document["trained_on"][0] | {"source": ""} == {
        "name": "stored rows", "rows": 200, "licence": "yours", "source": ""
    }  # fmt: skip
    assert load(desk.state_dir / "judges" / "candidate.judge").border == pytest.approx(document["border"], abs=1e-5)


@pytest.mark.parametrize("name", WRONG_FILES)
def test_wrong_rows_get_one_sentence_and_leave_nothing(desk: Desk, name: str) -> None:
    content, says = WRONG_FILES[name]
    path = desk.wrong(content)
    before = desk.files()
    assert desk.run("train", "--rows", path, "--output", desk.folder / "new.judge") == 2
    assert says in desk.err
    assert desk.err.startswith(f"fenzhen: {path}")
    assert desk.err.count("\n") == 1
    assert desk.out == ""
    assert desk.files() == before


def test_a_judge_that_stood_there_stays_if_the_rows_are_wrong(desk: Desk) -> None:
    before = desk.judge.read_bytes()
    assert desk.run("train", "--rows", desk.wrong(b"{}"), "--output", desk.judge) == 2
    assert desk.judge.read_bytes() == before


def test_public_sets_that_are_not_there_are_named(desk: Desk) -> None:
    assert desk.run("train", "--public", desk.folder / "none", "--output", desk.folder / "new.judge") == 2
    assert "none/routellm_mmlu.jsonl.gz cannot be read" in desk.err


def test_without_rows_it_is_said_where_they_come_from(desk: Desk) -> None:
    assert desk.run("train", "--candidate") == 2
    assert "judging.learn_ratio" in desk.err


@pytest.mark.parametrize("words", [[], ["--candidate", "--output", "a.judge"]])
def test_where_it_goes_must_be_said_once(desk: Desk, words: list[str]) -> None:
    assert desk.run("train", "--rows", desk.rows(), *words) == 2
    assert "either --output PATH or --candidate" in desk.err


def test_a_place_that_cannot_be_written_is_named(desk: Desk) -> None:
    assert desk.run("train", "--rows", desk.rows(), "--output", desk.config / "a.judge") == 2
    assert "cannot be written" in desk.err
    assert desk.run("train", "--rows", desk.rows(), "--output", desk.folder) == 2
    assert "is a folder" in desk.err
