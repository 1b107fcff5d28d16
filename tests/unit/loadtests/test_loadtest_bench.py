import json
from pathlib import Path

import orjson
import pytest

from loadtests.arrivals.schedule import arrivals_of
from loadtests.loadtest_bench.__main__ import add
from loadtests.loadtest_bench.agreement import Round, as_document, one_engine
from loadtests.loadtest_bench.engines import brisk, crowded, router_before
from loadtests.loadtest_bench.public_tool import Measured, measured_in, write_rows
from loadtests.loadtest_bench.routing import plan_of
from loadtests.plan import Lengths, People, Plan, Stage, Target, Workload
from loadtests.questions import load
from loadtests.rehearsal.timing import read_timing
from loadtests.workload.crowd import Crowd

MEASURED = Measured(ttft_s=0.2, tpot_s=0.05, requests_per_s=1.0, tokens_per_s=40.0, completed=10, failed=0)


def test_the_public_tool_sends_the_very_prompts_that_ours_sends(tmp_path: Path) -> None:
    plan = Plan(
        target=Target(model="small"),
        workload=Workload(kinds={"stream": 1}, lengths=Lengths(prompt_tokens=32, answer_tokens=8)),
        stages=(Stage(name="two", seconds=10, people=People(count=2)),),
    )
    write_rows(plan, 20, tmp_path / "rows.jsonl")
    rows = [orjson.loads(line) for line in (tmp_path / "rows.jsonl").read_bytes().splitlines()]
    crowd = Crowd(plan, {})
    bodies = [orjson.loads(crowd.begin().body) for _ in range(20)]
    assert [row["prompt"] for row in rows] == [body["messages"][0]["content"] for body in bodies]
    assert {row["output_tokens"] for row in rows} == {8}
    assert len({row["prompt"] for row in rows}) == 20


def test_what_the_public_tool_says_is_read_in_seconds() -> None:
    document = {
        "median_ttft_ms": 200.0,
        "median_tpot_ms": 50.0,
        "request_throughput": 1.0,
        "output_throughput": 40.0,
        "completed": 10.0,
    }
    assert measured_in(document) == MEASURED


def test_a_difference_is_signed_and_relative_to_the_public_tool() -> None:
    slower = Round(
        ours=Measured(ttft_s=0.22, tpot_s=0.05, requests_per_s=1.0, tokens_per_s=38.0, completed=10, failed=0),
        theirs=MEASURED,
    )
    assert slower.difference("ttft_s") == pytest.approx(0.1)
    document = as_document([slower, Round(MEASURED, MEASURED), Round(MEASURED, MEASURED)])
    assert (document["ttft"], document["tpot"], document["throughput"]) == (0, 0, 0)
    assert document["range"]["ttft"] == [0, pytest.approx(0.1)]
    assert document["range"]["throughput"] == [pytest.approx(-0.05), 0]


def test_the_engine_of_the_comparison_remembers_no_prefixes() -> None:
    settings = one_engine()
    (pool,) = settings.pools
    assert pool.model_dump()["engine_args"]["no-enable-prefix-caching"] is True
    assert settings.models[0].max_difficulty == 1


def test_every_labelled_question_is_asked_of_whoever_answers() -> None:
    plan = plan_of("auto")
    crowd = Crowd(plan, {})
    asked = []
    for arrival in arrivals_of(plan):
        if crowd.is_exhausted:
            break
        asked.append(crowd.due(arrival).question)
    assert asked == [question.id for question in load()]


def test_the_stack_of_the_rehearsal_is_a_sound_configuration() -> None:
    settings = router_before(("http://127.0.0.1:1",), ("http://127.0.0.1:2",))
    assert [model.name for model in settings.models] == ["small", "large"]
    assert type(settings).model_validate(settings.model_dump()) == settings


def test_the_engines_of_the_rehearsal_are_no_faster_than_what_was_published() -> None:
    published = read_timing("small-gpu-assumed")
    full = (200, 20_000, 250, 250 * 120)
    assert crowded().step_s(*full) > 1.5 * published.step_s(*full)
    assert brisk().limits.max_num_seqs > crowded().limits.max_num_seqs


def test_a_part_is_added_to_the_report_beside_the_others(tmp_path: Path) -> None:
    report = tmp_path / "bench" / "loadtest.json"
    add(report, {"a": 1})
    add(report, {"b": {"c": 2}})
    whole = json.loads(report.read_text())
    assert (whole["a"], whole["b"]) == (1, {"c": 2})
    assert whole["versions"]["python"]
    assert whole["machine"]["cores"]
