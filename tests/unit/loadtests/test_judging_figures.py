import dataclasses
import random
from typing import Any

import numpy as np
import pytest

from loadtests.judging.columns import Columns
from loadtests.judging.figures import figures_of, spread_of_gaps
from loadtests.judging.slices import slices_of, whole
from loadtests.judging.slo import meets, verdict, verdict_on
from loadtests.judging.windows import width_s_of, windows_of
from loadtests.plan import Constant, People, Plan, Slo, Stage, Workload
from loadtests.records.gaps import bucket_of
from loadtests.records.run import About, Run
from loadtests.records.sample import Sample

SLO = Slo(ttft_s=0.5)


def asked(at_s: float = 0.0, **changes: Any) -> Sample:
    """One stream of 11 tokens: 0.2 s to the first, then one each 0.05 s, unless said otherwise."""
    usual = Sample(
        at_s=at_s, lag_s=0.001, stage=0, worker=0, kind="stream", turn=0, person=0, question="q", language="zh",
        difficulty="easy", tenant="hotline", level="blue", asked="auto", answered_by="small", reason="", status=200,
        error="", ttft_s=0.2, tpot_s=0.05, e2e_s=0.7, max_itl_s=0.06, prompt_tokens=20, completion_tokens=11,
        cached_tokens=None, finish="stop", tool_calls=0, is_right=None,
    )  # fmt: skip
    return usual._replace(**changes)


def failed(at_s: float = 0.0, error: str = "http_503", **changes: Any) -> Sample:
    nothing = {"status": 0, "answered_by": "", "ttft_s": None, "tpot_s": None, "e2e_s": None, "completion_tokens": 0}
    return asked(at_s, error=error, **{**nothing, **changes})


def run_of(samples: list[Sample], *stages: Stage, **changes: Any) -> Run:
    """Of one stage of 10 s unless said otherwise."""
    plan = Plan(stages=stages or (stage("steady", 10),), slo=SLO, **changes.pop("plan", {}))
    about = About(started_unix_s=0.0, outcome="finished", target_url="http://here", tested="")
    return dataclasses.replace(Run(plan, about, tuple(samples)), **changes)


def stage(name: str, seconds: float, **changes: Any) -> Stage:
    return Stage(name=name, seconds=seconds, **{"arrivals": Constant(rate_per_s=1), **changes})


def test_rates_are_over_the_time_of_the_load_and_throughput_also_over_its_tail() -> None:
    samples = [asked(float(at_s)) for at_s in range(10)]
    quick = figures_of(samples, SLO, 10.0)
    assert (quick.offered_rps, quick.completed_rps, quick.goodput_rps) == (1.0, 1.0, 1.0)
    samples[-1] = asked(9.0, e2e_s=11.0, lag_s=0.0)
    slow = figures_of(samples, SLO, 10.0)
    assert slow.offered_rps == 1.0
    assert slow.completed_rps == pytest.approx(10 / 20)
    assert slow.output_tokens_per_s == pytest.approx(110 / 20)


def test_a_batch_has_the_throughput_that_vllm_would_tell() -> None:
    # vLLM divides by the time from the first request to the last answer.
    draw = random.Random(3)
    samples = [asked(5 + i * 0.1, e2e_s=draw.uniform(1, 9), lag_s=0.0) for i in range(50)]
    duration_s = max(one.at_s + (one.e2e_s or 0) for one in samples) - 5
    done = whole(run_of(samples, stage("all", 600), plan={"workload": Workload(in_order=True)}))
    assert done.completed_rps == pytest.approx(50 / duration_s)
    assert done.output_tokens_per_s == pytest.approx(550 / duration_s)
    assert done.seconds == pytest.approx(4.9)


def test_percentiles_are_numpys_and_of_requests_without_an_error() -> None:
    times = [0.01 * i for i in range(1, 101)]
    samples = [asked(ttft_s=ttft_s, lag_s=0.0) for ttft_s in times]
    samples.append(failed(ttft_s=99.0, error="timeout"))
    spread = figures_of(samples, SLO, 10.0).ttft
    assert spread is not None
    assert spread.count == 100
    assert (spread.p50_s, spread.p99_s) == pytest.approx(np.percentile(times, (50, 99)))
    assert spread.max_s == 1.0


def test_what_callers_feel_includes_what_the_generator_was_late_by() -> None:
    done = figures_of([asked(lag_s=0.4, ttft_s=0.2)], SLO, 1.0)
    assert done.ttft is not None
    assert done.first is not None
    assert done.ttft.p50_s == pytest.approx(0.2)
    assert done.first.p50_s == pytest.approx(0.6)
    assert done.met_ratio == 0.0


def test_an_answer_in_one_piece_has_no_ttft_of_its_own_but_is_felt() -> None:
    done = figures_of([asked(kind="chat", ttft_s=0.7, tpot_s=None)], SLO, 1.0)
    assert done.ttft is None
    assert done.tpot is None
    assert done.first is not None


def test_errors_count_as_requests_and_are_told_by_kind() -> None:
    samples = [asked(), failed(error="timeout"), failed(error="not_sent"), failed(error="timeout")]
    done = figures_of(samples, SLO, 2.0)
    assert (done.requests, done.answered) == (4, 1)
    assert list(done.errors.items()) == [("timeout", 2), ("not_sent", 1)]
    assert done.met_ratio == 0.25


def test_nothing_at_all_has_figures_without_durations() -> None:
    done = figures_of([], SLO, 10.0)
    assert (done.requests, done.offered_rps, done.met_ratio) == (0, 0.0, 0.0)
    assert (done.ttft, done.e2e, done.lag, done.right, done.cached_ratio, done.moved_ratio) == (None,) * 6


def test_a_closed_loop_has_no_lag() -> None:
    people = stage("people", 10, arrivals=None, people=People(count=3))
    assert whole(run_of([asked(lag_s=0.0)], people)).lag is None
    assert whole(run_of([asked(lag_s=0.002)])).lag is not None


def test_the_cache_counts_only_where_the_engine_says_it() -> None:
    samples = [asked(prompt_tokens=100, cached_tokens=80), asked(prompt_tokens=100), asked(cached_tokens=None)]
    assert figures_of(samples, SLO, 1.0).cached_ratio == pytest.approx(0.8)


def test_a_conversation_that_goes_on_with_another_model_has_moved() -> None:
    samples = [
        asked(2, person=1, turn=1, answered_by="large"),
        asked(1, person=1, turn=0, answered_by="small"),
        asked(3, person=1, turn=2, answered_by="large"),
        # Another worker's person of the same number is somebody else.
        asked(3, person=1, turn=1, worker=1, answered_by="small"),
        asked(4, person=2, turn=0, answered_by="small"),
        failed(5, person=2, turn=1),
        asked(6, person=2, turn=2, answered_by="large"),
    ]
    assert figures_of(samples, SLO, 10.0).moved_ratio == pytest.approx(0.5)


def test_marks_have_their_interval() -> None:
    done = figures_of([asked(is_right=True)] * 8 + [asked(is_right=False)] * 2 + [asked()], SLO, 1.0)
    assert done.right is not None
    assert (done.right.right, done.right.marked) == (8, 10)
    assert done.right.low_ratio == pytest.approx(0.490, abs=0.001)


def test_gaps_in_buckets_are_read_within_one_percent() -> None:
    gaps: dict[int, int] = {}
    for i in range(1000):
        bucket = bucket_of(0.001 * (i + 1))
        gaps[bucket] = gaps.get(bucket, 0) + 1
    spread = spread_of_gaps(gaps)
    assert spread is not None
    assert spread.count == 1000
    assert spread.p50_s == pytest.approx(0.5, rel=0.011)
    assert spread.mean_s == pytest.approx(0.5005, rel=0.011)


def test_a_warm_up_counts_nowhere() -> None:
    stages = (stage("warm-up", 5, is_warm_up=True), stage("steady", 10))
    samples = [asked(1.0, ttft_s=9.0), asked(6.0, stage=1)]
    run = run_of(samples, *stages, gaps={(0, "small"): {10: 5}, (1, "small"): {20: 7}})
    done = whole(run)
    assert (done.requests, done.seconds) == (1, 10.0)
    assert done.itl is not None
    assert done.itl.count == 7
    assert list(slices_of(run)["stage"]) == ["steady"]


def test_a_turn_after_one_in_the_warm_up_is_known_to_have_moved() -> None:
    stages = (stage("warm-up", 5, is_warm_up=True), stage("steady", 10))
    samples = [asked(1.0, turn=0), asked(6.0, stage=1, turn=1, answered_by="large")]
    assert whole(run_of(samples, *stages)).moved_ratio == 1.0


def test_slices_add_up_to_the_whole() -> None:
    draw = random.Random(5)
    samples = [
        asked(
            draw.uniform(0, 10), answered_by=draw.choice(("small", "large")), level=draw.choice(("red", "blue")),
            e2e_s=draw.uniform(0.5, 6), tenant=draw.choice(("a", "b", "c")), language=draw.choice(("zh", "en")),
        )
        for _ in range(200)
    ] + [failed(3.0), failed(4.0)]  # fmt: skip
    run = run_of(samples)
    done, slices = whole(run), slices_of(run)
    assert set(slices) == {"model", "level", "tenant", "kind", "language", "difficulty", "stage"}
    for parts in slices.values():
        assert sum(part.requests for part in parts.values()) == done.requests
        assert sum(part.completed_rps for part in parts.values()) == pytest.approx(done.completed_rps)
    assert slices["model"]["none"].requests == 2
    assert done.shares == pytest.approx({name: slices["model"][name].answered / 200 for name in ("small", "large")})


def test_gaps_are_told_by_model_and_stage_and_nowhere_else() -> None:
    run = run_of([asked(answered_by="small"), asked(answered_by="large")], gaps={(0, "small"): {30: 3}})
    slices = slices_of(run)
    assert slices["model"]["small"].itl is not None
    assert slices["model"]["large"].itl is None
    assert slices["stage"]["steady"].itl is not None
    assert slices["level"]["blue"].itl is None


def test_a_run_that_ended_early_is_no_slower_for_it() -> None:
    about = About(started_unix_s=0.0, outcome="interrupted", target_url="http://here", tested="")
    samples = [asked(float(at_s)) for at_s in range(6)]
    done = whole(run_of(samples, stage("long", 100), about=about))
    assert done.seconds == 5.0
    assert done.offered_rps == pytest.approx(1.2)


def test_two_stages_of_one_name_stay_apart() -> None:
    run = run_of([asked(1.0), asked(11.0, stage=1)], stage("step", 10), stage("step", 10))
    assert {name: one.requests for name, one in slices_of(run)["stage"].items()} == {"step": 1, "step 2": 1}


@pytest.mark.parametrize(
    ("sample", "is_met"),
    [
        (asked(), True),
        (asked(lag_s=0.31), False),
        (asked(ttft_s=None), False),
        (asked(tpot_s=0.2), False),
        (asked(tpot_s=None), True),
        (asked(e2e_s=3.0), False),
        (asked(e2e_s=None), False),
        (asked(kind="chat", ttft_s=0.7, tpot_s=None), False),
        (failed(error="not_sent"), False),
        (failed(ttft_s=0.1, e2e_s=0.1, error="stream_error"), False),
    ],
)
def test_a_request_meets_every_limit_or_does_not_meet(sample: Sample, is_met: bool) -> None:
    slo = Slo(ttft_s=0.5, tpot_s=0.1, e2e_s=2.0)
    assert meets(sample, slo) is is_met
    assert Columns.of([sample]).met(slo).tolist() == [is_met]


def test_the_verdict_is_open_until_the_interval_leaves_the_promise() -> None:
    assert verdict_on(100, 100, SLO).is_met is None
    assert verdict_on(400, 400, SLO).is_met is True
    assert verdict_on(380, 400, SLO).is_met is False
    assert verdict_on(0, 0, SLO).is_met is None
    assert verdict([asked(), failed()], SLO).met_ratio == 0.5


def test_the_sentence_says_what_was_promised_and_never_rounds_up_to_all() -> None:
    sentence = verdict_on(99_999, 100_000, SLO).sentence
    assert "99 % of the requests have their first token" in sentence
    assert "within 0.5 s" in sentence
    assert "99.99 % of 100,000" in sentence
    assert sentence.endswith(": met.")
    assert "too few requests to tell" in verdict_on(99, 100, SLO).sentence
    assert "NOT met" in verdict_on(10, 100, SLO).sentence
    assert "without an error" in verdict_on(1, 1, Slo(ttft_s=None)).sentence


def test_windows_have_no_holes_and_count_by_due_time_and_by_completion() -> None:
    samples = [asked(0.5), asked(0.7, e2e_s=4.0), failed(1.0), asked(4.2, ttft_s=0.9)]
    windows = windows_of(samples, 1.0, SLO)
    assert [window.at_s for window in windows] == [0.0, 1.0, 2.0, 3.0, 4.0]
    assert [window.count for window in windows] == [2, 1, 0, 0, 1]
    assert [window.errors for window in windows] == [0, 1, 0, 0, 0]
    assert [window.completed for window in windows] == [0, 1, 0, 0, 2]
    assert [window.completed_tokens for window in windows] == [0, 11, 0, 0, 22]
    assert [window.met_ratio for window in windows] == [1.0, 0.0, None, None, 0.0]
    assert windows[2].first_p50_s is None
    assert windows_of([], 1.0) == []
    assert windows_of(samples, 1.0)[0].met_ratio is None


def test_the_width_of_windows_is_round_and_leaves_few_of_them() -> None:
    assert [width_s_of(seconds) for seconds in (30, 60, 600, 86_400)] == [1.0, 1.0, 5.0, 3600.0]
