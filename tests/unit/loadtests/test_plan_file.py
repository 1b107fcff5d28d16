"""Plans as files: those that come with us work by name, and what is wrong with one is told before anything is sent."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from cluster.errors import NotFound, UserError
from fenzhen.loadtest_plan import plan as plan_command
from loadtests.plan import Plan, Poisson, Trace
from loadtests.plan_file import parse_plan, plan_yaml, read_plan, require_files, shipped_names, shipped_text

GOOD = """\
name: mine
stages:
  - name: all
    seconds: 60
    arrivals: {kind: poisson, rate_per_s: 2}
"""


def wrong(text: str, *overrides: str) -> list[str]:
    with pytest.raises(UserError) as caught:
        parse_plan(text.encode(), "p.yaml", Path("/plans"), overrides)
    return str(caught.value).splitlines()


@pytest.mark.parametrize("name", shipped_names())
def test_what_is_shipped_is_a_plan_by_name_and_survives_being_written(name: str) -> None:
    plan = read_plan(name)

    assert plan.name == name
    assert parse_plan(plan_yaml(plan).encode(), "again", Path("/elsewhere")) == plan
    # The first line is what `--list` says of it.
    assert shipped_text(name).startswith(f"# {name.capitalize()}: ")
    assert len(shipped_text(name).splitlines()[0]) <= 120


def test_the_plans_that_the_docs_speak_of_are_there() -> None:
    assert set(shipped_names()) == {
        "agents", "bursts", "consultations", "mixed", "peak", "quality", "smoke", "trace",
    }  # fmt: skip


def test_the_smoke_plan_asks_everything_of_everybody_and_has_no_limit_on_time() -> None:
    smoke = read_plan("smoke")

    assert smoke.seconds == 60
    assert set(smoke.workload.kinds) == {"chat", "stream", "conversation", "agent"}
    assert set(smoke.workload.languages) == {"zh", "en"}
    assert len(smoke.workload.tenants) > 1
    assert (smoke.slo.ttft_s, smoke.slo.tpot_s, smoke.slo.e2e_s) == (None, None, None)


@pytest.mark.parametrize("name", shipped_names())
def test_no_plan_promises_a_whole_answer_within_the_time_of_a_first_token(name: str) -> None:
    plan = read_plan(name)

    # An answer that is not streamed has its first token when it is whole.
    assert plan.slo.ttft_s is None or "chat" not in plan.workload.kinds


def test_the_promise_for_consultations_is_the_one_that_was_given() -> None:
    consultations = read_plan("consultations")

    assert consultations.slo.ttft_s == 0.5
    assert {stage.people.count for stage in consultations.stages if stage.people} == {2000}


def test_a_file_of_that_name_goes_before_the_plan_that_comes_with_us(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mixed").mkdir()
    assert read_plan("mixed").name == "mixed"

    (tmp_path / "smoke").write_text(GOOD)
    assert read_plan("smoke").name == "mine"
    assert read_plan(Path("./smoke"), ["name=yours"]).name == "yours"


def test_one_stage_may_be_changed_for_one_run() -> None:
    plan = read_plan("mixed", ["stages.1.seconds=30", "stages.1.arrivals.rate_per_s=0.5", "workload.kinds.agent=0"])

    assert plan.stages[1].seconds == 30
    assert plan.stages[1].arrivals == Poisson(rate_per_s=0.5)
    assert plan.workload.kinds == {"stream": 7, "conversation": 2, "agent": 0}


@pytest.mark.parametrize(
    ("text", "overrides", "said"),
    [
        ("", (), "p.yaml is empty; `fenzhen loadtest plan` prints a plan to start from"),
        (GOOD + "slo: {ttft: 1}", (), "p.yaml line 6: slo.ttft: unknown key; did you mean ttft_s?"),
        (
            GOOD.replace("poisson", "poison"),
            (),
            "p.yaml line 5: stages[0].arrivals: kind must be one of 'constant', 'poisson', 'gamma', 'ramp', 'spike', "
            "'day', 'trace', got 'poison'",
        ),
        (
            GOOD.replace("rate_per_s: 2", "rate_per_s: 0"),
            (),
            "p.yaml line 5: stages[0].arrivals.rate_per_s: should be greater than 0, got 0",
        ),
        (
            GOOD + "    people: {count: 3}",
            (),
            "p.yaml line 3: stages[0]: a stage needs either arrivals (open loop) or people (closed loop)",
        ),
        (
            GOOD,
            ("stages.0.second=30",),
            "--set stages.0.second=30: a plan has no key stages.0.second; did you mean stages.0.seconds?",
        ),
        (
            GOOD,
            ("rate_per_s=30",),
            "--set rate_per_s=30: a plan has no key rate_per_s; did you mean stages.0.arrivals.rate_per_s?",
        ),
    ],
)
def test_what_is_wrong_is_told_with_its_line(text: str, overrides: tuple[str, ...], said: str) -> None:
    assert wrong(text, *overrides) == [said]


def test_files_that_a_plan_names_and_that_are_not_there_are_told_before_the_test(tmp_path: Path) -> None:
    plan = read_plan("trace", ["workload.questions=/none.jsonl"])
    path = Path.cwd() / "trace.csv.gz"

    with pytest.raises(UserError) as caught:
        require_files(plan)
    assert str(caught.value).splitlines() == [
        f"{path} does not exist; say where it is: --set stages.0.arrivals.path=FILE",
        "/none.jsonl does not exist; say where it is: --set workload.questions=FILE",
    ]

    (tmp_path / "t.csv").write_text("TIMESTAMP,ContextTokens,GeneratedTokens\n")
    there = read_plan("trace", [f"stages.0.arrivals.path={tmp_path / 't.csv'}"])
    require_files(there)
    assert isinstance(there.stages[0].arrivals, Trace)


def test_a_plan_that_is_nowhere_names_the_way_to_one() -> None:
    with pytest.raises(UserError, match=r"there is no file and no plan 'mix'; did you mean mixed\?"):
        read_plan("mix")
    with pytest.raises(NotFound, match=r"there is no plan 'mix'; choose one of agents, .*, trace"):
        shipped_text("mix")
    assert isinstance(read_plan("quality"), Plan)


def test_the_command_prints_a_plan_its_keys_and_the_names() -> None:
    printed = CliRunner().invoke(plan_command, []).output
    assert printed == shipped_text("mixed")

    names = CliRunner().invoke(plan_command, ["--list"]).output.splitlines()
    assert [line.split()[0] for line in names] == list(shipped_names())

    keys = CliRunner().invoke(plan_command, ["--keys"]).output.splitlines()
    assert "stages.0.seconds  (needed; over 0)" in keys
    assert "slo.ttft_s  (default 0.5)" in keys
