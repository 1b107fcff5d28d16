"""The page of a plan's keys."""

from pathlib import Path

from loadtests.plan_reference import keys_text, reference

PAGE = Path(__file__).resolve().parents[3] / "docs" / "load-plan.md"


def test_the_page_in_the_docs_is_the_one_that_the_plan_makes() -> None:
    assert PAGE.read_text(encoding="utf-8") == reference(), "run `make docs`"


def test_every_key_says_what_it_is_for() -> None:
    rows = [line for line in reference().splitlines() if line.startswith("| `") and not line.startswith("| `kind`")]
    assert len(rows) > 50
    assert [row for row in rows if row.split("|")[-2].strip() == ""] == []


def test_the_keys_are_told_as_one_writes_them_after_set() -> None:
    lines = keys_text().splitlines()

    assert "workload.max_turns  (default 4; at least 1, at most 32)" in lines
    assert "workload.tenants.0.share  (default 1.0; over 0)" in lines
    assert "workload.kinds  (default {stream: 7, conversation: 2, agent: 1})" in lines
    assert "stages.0.arrivals.burstiness  (needed; over 0)" in lines
