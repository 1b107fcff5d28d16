import dataclasses
import math

import numpy as np
import pytest

from cluster.errors import UserError
from loadtests.judging.comparison import Comparison, Row, adjusted, as_document, compare
from loadtests.judging.plan_differences import differences
from loadtests.judging.resampling import cells_of, edges_of, memory_cells, quantiles_of, weights_of
from loadtests.plan import Constant, Plan, Slo, Stage, Target, Tenant, Workload
from loadtests.records.gaps import bucket_of
from loadtests.records.run import About, Run
from loadtests.records.sample import Sample
from tests.unit.loadtests.test_judging_figures import asked, failed, run_of, stage


def queued(seed: int, slower: float = 1.0, seconds: int = 240, rate: int = 10, spread: float = 0.4) -> list[Sample]:
    """Requests whose waiting is an autoregressive queue: neighbours are slow together, for about 3 s."""
    draw = np.random.default_rng(seed)
    # The arrivals are the plan's, and the same in every run.
    at_s = np.sort(np.random.default_rng(0).uniform(0, seconds, rate * seconds))
    queue, waits = 0.0, []
    for gap_s in np.diff(at_s, prepend=0.0):
        memory = math.exp(-gap_s / 3.0)
        queue = memory * queue + math.sqrt(1 - memory**2) * draw.normal()
        waits.append(0.2 * math.exp(spread * queue) * slower)
    own = draw.lognormal(0.0, 0.2, len(waits))
    tpot = draw.normal(0.05, 0.005, len(waits)) * slower
    return [
        asked(float(at), ttft_s=float(wait * mine), tpot_s=float(per), e2e_s=float(wait * mine + 10 * per))
        for at, wait, mine, per in zip(at_s, waits, own, tpot, strict=True)
    ]


def queue_run(seed: int, slower: float = 1.0, seconds: int = 240, spread: float = 0.4) -> Run:
    return run_of(queued(seed, slower, seconds, spread=spread), stage("steady", seconds))


def row(comparison: Comparison, name: str) -> Row:
    return next(row for row in comparison.rows if row.name == name)


def test_two_runs_of_the_same_are_rarely_called_different() -> None:
    # Of 300 such pairs (120, 240 and 600 s long) 15 were, 5.0 %.
    wrong = 0
    for seed in range(25):
        found = {
            one.finding for one in compare(queue_run(2 * seed, seconds=120), queue_run(2 * seed + 1, seconds=120)).rows
        }
        wrong += bool(found & {"better", "worse", "different"})
    assert wrong <= 4


def test_a_fifth_more_is_found() -> None:
    for seed in range(5):
        comparison = compare(queue_run(100 + seed, spread=0.1), queue_run(200 + seed, 1.2, spread=0.1))
        for name in ("ttft_p50_s", "ttft_p95_s", "first_p50_s", "tpot_p50_s", "tpot_p99_s", "e2e_p50_s"):
            found = row(comparison, name)
            assert found.finding == "worse", name
            assert found.relative == pytest.approx(0.2, abs=0.1)
            assert found.low is not None
            assert found.low > 0
        assert comparison.is_worse
        assert "worse" in comparison.sentences[0]


def test_faster_is_better_and_no_reason_to_fail() -> None:
    comparison = compare(queue_run(1), queue_run(2, 0.5))
    assert row(comparison, "tpot_p50_s").finding == "better"
    assert not comparison.is_worse


def test_drawing_requests_one_by_one_would_promise_too_much() -> None:
    # The same queue with blocks of 5 s and with blocks as short as can be: neighbours share their luck.
    values = np.array([one.ttft_s for one in queued(5)])
    at_s = np.array([one.at_s for one in queued(5)])
    cells = cells_of(0, 240)
    edges = edges_of(values)
    spread = [
        float(quantiles_of(weights_of(cells.count, block, 0), cells.of(at_s), values, edges, (0.5,))[0].std())
        for block in (10, 1)
    ]
    assert spread[0] > 1.3 * spread[1]


def test_a_queue_that_remembers_for_long_is_drawn_in_long_pieces() -> None:
    draw = np.random.default_rng(1)
    at_s = np.linspace(0.5, 599.5, 600)
    cells = cells_of(0, 600)
    independent = draw.normal(size=600)
    slow = np.convolve(draw.normal(size=640), np.ones(41), "valid").astype(np.float64)
    assert memory_cells(at_s, independent, cells) <= 3
    assert 20 <= memory_cells(at_s, slow, cells) <= 60


def test_drawn_quantiles_lie_around_that_of_the_run() -> None:
    draw = np.random.default_rng(2)
    values = draw.lognormal(size=20_000)
    at_s = draw.uniform(0, 300, 20_000)
    cells = cells_of(0, 300)
    weights = weights_of(cells.count, 5, 0)
    assert (weights.sum(axis=1) == cells.count).all()
    for level in (0.5, 0.95, 0.99):
        (drawn,) = quantiles_of(weights, cells.of(at_s), values, edges_of(values), (level,))
        assert float(drawn.mean()) == pytest.approx(float(np.quantile(values, level)), rel=0.02)


def test_a_day_is_drawn_in_wider_cells() -> None:
    cells = cells_of(0, 86_400)
    assert cells.count <= 2000
    assert cells.count * cells.width_s >= 86_400


def test_the_same_runs_give_the_same_verdicts() -> None:
    a, b = queue_run(1, seconds=60), queue_run(2, seconds=60)
    assert compare(a, b) == compare(a, b)


def test_a_run_against_itself_has_no_difference() -> None:
    one = queue_run(1, seconds=60)
    assert {found.finding for found in compare(one, one).rows} <= {"no difference seen", "too few"}


def test_too_few_requests_are_said_to_be_too_few() -> None:
    few = run_of([asked(float(at_s) * 4) for at_s in range(15)], stage("steady", 60))
    comparison = compare(few, few)
    assert {found.finding for found in comparison.rows} == {"too few"}
    assert comparison.sentences == ("There are too few requests, or too little time, to tell B from A.",)
    a, b = queue_run(1, seconds=60), queue_run(2, 1.3, seconds=60)
    assert row(compare(a, b), "ttft_p50_s").finding != "too few"
    assert row(compare(a, b), "ttft_p99_s").finding == "too few"


def test_too_little_time_is_too_few() -> None:
    short = queue_run(1, seconds=8)
    assert {found.finding for found in compare(short, short).rows} == {"too few"}


def test_a_difference_below_one_percent_is_none_to_anybody() -> None:
    a = [asked(i * 0.05, tpot_s=0.05) for i in range(1200)]
    b = [one._replace(tpot_s=0.0502) for one in a]
    found = row(compare(run_of(a, stage("steady", 60)), run_of(b, stage("steady", 60))), "tpot_p50_s")
    assert found.p == pytest.approx(0)
    assert found.finding == "no difference seen"


def test_errors_and_broken_promises_are_worse() -> None:
    a = [asked(i * 0.05) for i in range(2400)]
    b = [failed(one.at_s) if i % 20 == 0 else one for i, one in enumerate(a)]
    comparison = compare(run_of(a, stage("steady", 120)), run_of(b, stage("steady", 120)))
    for name in ("error_ratio", "met_ratio", "goodput_rps", "completed_rps"):
        assert row(comparison, name).finding == "worse", name
    assert row(comparison, "ttft_p50_s").finding == "no difference seen"


def test_one_error_among_thousands_is_chance() -> None:
    a = [asked(i * 0.05) for i in range(2400)]
    b = [*a[:-1], failed(a[-1].at_s)]
    comparison = compare(run_of(a, stage("steady", 120)), run_of(b, stage("steady", 120)))
    assert row(comparison, "error_ratio").finding == "no difference seen"


def test_right_answers_are_compared_where_they_are_marked() -> None:
    draw = np.random.default_rng(4)
    at_s = np.arange(0, 120, 0.2)
    a = [asked(float(at), is_right=bool(draw.random() < 0.9)) for at in at_s]
    b = [asked(float(at), is_right=bool(draw.random() < 0.6)) for at in at_s]
    found = row(compare(run_of(a, stage("q", 120)), run_of(b, stage("q", 120))), "right_ratio")
    assert found.finding == "worse"
    assert "right_ratio" not in {one.name for one in compare(queue_run(1), queue_run(2)).rows}


def test_longer_answers_are_different_and_neither_better_nor_worse() -> None:
    a = [asked(i * 0.05) for i in range(2400)]
    b = [one._replace(completion_tokens=22) for one in a]
    comparison = compare(run_of(a, stage("steady", 120)), run_of(b, stage("steady", 120)))
    assert row(comparison, "answer_tokens").finding == "different"
    # Twice the tokens for that reason are no merit.
    assert row(comparison, "output_tokens_per_s").finding == "different"
    assert not comparison.is_worse


def test_gaps_without_a_time_are_shown_and_not_judged() -> None:
    gaps = {(0, "small"): {bucket_of(0.05): 1000}}
    slow = {(0, "small"): {bucket_of(0.5): 1000}}
    a, b = queue_run(1), queue_run(2)
    comparison = compare(dataclasses.replace(a, gaps=gaps), dataclasses.replace(b, gaps=slow))
    found = row(comparison, "itl_p99_s")
    assert (found.finding, found.low, found.p) == ("not judged", None, None)
    assert found.relative == pytest.approx(9, rel=0.05)


def plan(**changes: object) -> Plan:
    return Plan.model_validate({"stages": (stage("steady", 240),), "slo": Slo(ttft_s=0.5), **changes})


def test_runs_of_different_plans_are_refused_by_what_differs() -> None:
    a = queue_run(1)
    other = (Stage(name="steady", seconds=240, arrivals=Constant(rate_per_s=3)),)
    b = dataclasses.replace(queue_run(2), plan=plan(stages=other))
    with pytest.raises(UserError, match=r"stages\.0\.arrivals\.rate_per_s: 1\.0 against 3\.0; --allow-different"):
        compare(a, b)
    allowed = compare(a, b, allow_different=True)
    assert not allowed.is_paired
    assert "The plans differ in stages.0.arrivals.rate_per_s: 1.0 against 3.0." in allowed.notes


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"name": "other"}, []),
        ({"target": Target(url="http://there", model="large")}, []),
        ({"stages": (stage("another-name", 240),)}, []),
        ({"workload": Workload(tenants=(Tenant(name="hotline", api_key_env="KEY"),))}, []),
        ({"workload": Workload(max_tokens=64)}, ["workload.max_tokens: 128 against 64"]),
        ({"slo": Slo(ttft_s=1)}, ["slo.ttft_s: 0.5 against 1.0"]),
        ({"faults": ("kill-engine:small@30s",)}, ["faults: 0 against 1 of them"]),
        ({"stages": (stage("a", 120), stage("b", 120))}, ["stages: 1 against 2 of them"]),
    ],
)
def test_plans_differ_in_what_decides_the_figures(changes: dict[str, object], said: list[str]) -> None:
    assert differences(plan(), plan(**changes)) == said


def test_both_are_held_to_one_promise() -> None:
    a = queue_run(1)
    b = dataclasses.replace(queue_run(1), plan=plan(slo=Slo(ttft_s=0.1)))
    comparison = compare(a, b, allow_different=True)
    assert row(comparison, "met_ratio").difference == 0
    assert "Both runs are judged by A's SLO." in comparison.notes


def test_what_else_differs_is_noted() -> None:
    about = About(started_unix_s=0.0, outcome="finished", target_url="http://here", tested="", machine={"cores": "2"})
    later = about.model_copy(update={"machine": {"cores": "4"}, "outcome": "interrupted", "message": "stopped by hand"})
    a = dataclasses.replace(queue_run(1), about=about)
    b = dataclasses.replace(queue_run(2), about=later, plan=plan(seed=8, target=Target(model="large")))
    notes = compare(a, b).notes
    assert "Another machine: cores is 2 in A and 4 in B." in notes
    assert "Run B did not get to its end: stopped by hand." in notes
    assert "A asked for the model auto, B for large." in notes
    assert any("seeds differ" in note for note in notes)


def test_a_run_without_requests_is_refused() -> None:
    with pytest.raises(UserError, match="run B holds no request that counts"):
        compare(queue_run(1), run_of([], stage("steady", 240)))


def test_chances_are_adjusted_as_benjamini_and_hochberg_have_it() -> None:
    # Their own example, section 4 of the paper: four of fifteen are found.
    chances = [
        0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344, 0.0459, 0.3240, 0.4262, 0.5719, 0.6528, 0.7590,
        1.0,
    ]  # fmt: skip
    found = adjusted(chances)
    assert [chance <= 0.05 for chance in found] == [True] * 4 + [False] * 11
    assert adjusted(chances[::-1]) == found[::-1]
    assert adjusted([]) == []


def test_the_document_holds_what_the_page_shows() -> None:
    comparison = compare(queue_run(1), queue_run(2, 1.5))
    document = as_document(comparison)
    assert document["is_worse"] is True
    assert document["is_paired"] is True
    assert [one["name"] for one in document["rows"]] == [one.name for one in comparison.rows]
    assert document["sentences"] == list(comparison.sentences)
