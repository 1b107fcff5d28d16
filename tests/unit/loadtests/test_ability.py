"""Asking, counting and reporting, against an answerer that lives in this process."""

import io
import json
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from cluster.errors import UserError
from loadtests.ability import MODEL_HEADER, ask_all, body_of, limited, main, models_of, table_of
from loadtests.counting import Outcome, as_json, report, tally
from loadtests.questions import Number, Question, load

SUM = Question("sum-en", "en", "arithmetic", "easy", "3 + 5?", Number(8))
TASK = Question("task-zh", "zh", "arithmetic", "hard", "多少？", Number(132))


def outcome(model: str, right: bool, level: str = "easy", answered_by: str = "small", error: str = "") -> Outcome:
    return Outcome("x", "en", level, model, answered_by, right, 2.0, "", error)


def answerer(request: httpx.Request) -> httpx.Response:
    """The large model knows both answers, the small one only the easy one; `auto` sends the hard one to the large."""
    body = json.loads(request.content)
    hard = body["messages"][-1]["content"] == TASK.question
    if body["model"] == "broken":
        return httpx.Response(503, text="no engine")
    who = ("large" if hard else "small") if body["model"] == "auto" else body["model"]
    text = "132" if hard and who == "large" else "8"
    headers = {MODEL_HEADER: who}
    return httpx.Response(200, headers=headers, json={"choices": [{"message": {"content": text}}]})


async def asked_of(models: tuple[str, ...]) -> list[Outcome]:
    seen: list[Outcome] = []
    async with httpx.AsyncClient(base_url="http://fake/v1/", transport=httpx.MockTransport(answerer)) as client:
        outcomes = await ask_all(client, (SUM, TASK), models, 200, seen.append)
    assert seen == outcomes
    return outcomes


async def test_every_question_is_asked_of_every_model_and_marked() -> None:
    outcomes = await asked_of(("small", "large", "auto"))
    assert [report(model, outcomes).overall.right for model in ("small", "large", "auto")] == [1, 2, 2]


async def test_the_routers_choice_is_read_from_its_header() -> None:
    chosen = report("auto", await asked_of(("auto",)), large="large")
    assert chosen.answered_by == {"large": 1, "small": 1}
    assert chosen.large_share_ratio == 0.5


async def test_a_failure_is_an_error_and_a_wrong_answer() -> None:
    failed = report("broken", await asked_of(("broken",)))
    assert (failed.errors, failed.overall.right, failed.overall.asked) == (2, 0, 2)
    assert failed.answered_by == {}


def test_a_question_is_asked_at_temperature_zero_in_its_own_language() -> None:
    body = body_of(TASK, "small", 77)
    assert (body["model"], body["temperature"], body["max_tokens"]) == ("small", 0, 77)
    assert "答案" in str(body["messages"])
    assert "Answer:" in str(body_of(SUM, "small", 77)["messages"])


def test_the_interval_is_wilsons() -> None:
    # By hand: 8 of 10 gives 0.4902 to 0.9433.
    counted = tally([outcome("m", place < 8) for place in range(10)])
    assert (round(counted.low_ratio, 4), round(counted.high_ratio, 4)) == (0.4902, 0.9433)


def test_nothing_asked_says_nothing() -> None:
    nothing = tally([])
    assert (nothing.right_ratio, nothing.low_ratio, nothing.high_ratio) == (0, 0, 1)
    assert report("m", []).mean_latency_s == 0


@given(st.lists(st.booleans(), min_size=1))
def test_the_interval_holds_the_share(marks: list[bool]) -> None:
    counted = tally([outcome("m", mark) for mark in marks])
    assert 0 <= counted.low_ratio <= counted.right_ratio + 1e-9
    assert counted.right_ratio - 1e-9 <= counted.high_ratio <= 1


def test_a_report_splits_by_level_and_counts_latency_over_answers_only() -> None:
    one = report("m", [outcome("m", True), outcome("m", False, "hard", error="HTTP 503"), outcome("other", True)])
    assert (one.by_level["easy"].right, one.by_level["hard"].right, one.errors, one.mean_latency_s) == (1, 0, 1, 2.0)


def test_the_table_and_the_json_show_the_share_of_the_large_model() -> None:
    outcomes = [outcome("auto", True, answered_by="large"), outcome("auto", True)]
    reports = [report("auto", outcomes, large="large")]
    console = Console(file=io.StringIO(), width=160)
    console.print(table_of(reports))
    assert isinstance(console.file, io.StringIO)
    assert "50% large" in console.file.getvalue()
    assert json.loads(json.dumps(as_json(reports, outcomes)))["reports"][0]["large_share_ratio"] == 0.5


def test_a_limit_keeps_both_levels_and_languages() -> None:
    few = limited(load(), 8)
    assert len(few) == 8
    assert {question.level_of_difficulty for question in few} == {"easy", "hard"}
    assert {question.language for question in few} == {"zh", "en"}
    assert limited(load(), None) == load()


@pytest.mark.parametrize("text", ["", " , ", "a,a"])
def test_models_must_be_named_once_each(text: str) -> None:
    with pytest.raises(UserError, match="--models"):
        models_of(text)


def test_an_address_where_nobody_answers_ends_in_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "out.json"
    arguments = ["--base-url", "http://127.0.0.1:9/v1", "--models", "a", "--limit", "1", "--json", str(path)]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 1
    assert "no question was answered" in result.output
    assert json.loads(path.read_text(encoding="utf-8"))["reports"][0]["errors"] == 1
