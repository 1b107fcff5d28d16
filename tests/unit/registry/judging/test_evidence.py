import json
import math
from collections.abc import Iterable
from dataclasses import replace
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.errors import OurFault
from cluster.outcomes import Outcome
from cluster.release_settings import Thresholds
from registry.judging.evidence import MOST_KINDS, WAIT_S, Evidence
from registry.judging.groups import MOST_GROUPS
from registry.verdict import Finding, Verdict
from tests.unit.registry.judging.answers import BROKEN, CANARY, PLAIN, pairs

THRESHOLDS = Thresholds()


def judged(batches: Iterable[list[Outcome]], thresholds: Thresholds = THRESHOLDS) -> Verdict:
    """The verdict on all of it, or the first rollback."""
    evidence = Evidence(thresholds)
    verdict = evidence.verdict(0.0)
    for moment, batch in enumerate(batches):
        evidence.take(batch)
        if moment % 10 == 9:
            verdict = evidence.verdict(float(moment))
            if verdict.answer == "roll_back":
                return verdict
    return evidence.verdict(1e6) if verdict.answer != "roll_back" else verdict


def finding(verdict: Verdict, metric: str) -> Finding:
    return next(one for one in verdict.findings if one.metric == metric)


def test_nothing_asked_is_held() -> None:
    verdict = Evidence(THRESHOLDS).verdict(5.0)
    assert (verdict.answer, verdict.reason, verdict.at_s) == ("hold", "Nothing has been asked yet.", 5.0)
    assert all(one.says == "unknown" and one.p_value == 1 for one in verdict.findings)


def test_a_version_that_only_errs_is_rolled_back_within_six_requests() -> None:
    evidence = Evidence(THRESHOLDS)
    for _ in range(6):
        evidence.take([PLAIN, BROKEN])
    verdict = evidence.verdict(0.0)
    assert verdict.answer == "roll_back"
    assert "errors in 6 of 6 (100.0%), in stable's 0 of 6 (0.0%)" in verdict.reason
    assert finding(verdict, "errors").says == "worse"


@pytest.mark.parametrize(
    ("canary", "metric"),
    [
        (replace(BROKEN, fault="timeout"), "timeouts"),
        (replace(CANARY, is_empty=True, output_tokens=0), "empty"),
        (replace(CANARY, is_malformed=True), "malformed"),
    ],
)
def test_each_kind_of_fault_is_caught_within_ten_requests(canary: Outcome, metric: str) -> None:
    evidence = Evidence(THRESHOLDS)
    for _ in range(10):
        evidence.take([replace(PLAIN, is_malformed=False), canary])
    verdict = evidence.verdict(0.0)
    assert verdict.answer == "roll_back"
    assert min(verdict.findings, key=lambda one: one.p_value).metric == metric


@pytest.mark.parametrize(
    ("canary", "slow", "metrics"),
    [
        (CANARY, 3.0, {"ttft_p50", "ttft_p95", "tpot_p50", "tpot_p95"}),
        (replace(CANARY, is_refused=True), 1.0, {"refused"}),
        (replace(CANARY, is_truncated=True), 1.0, {"truncated"}),
        (replace(CANARY, has_escalated=True), 1.0, {"escalated"}),
        (replace(CANARY, output_tokens=400), 1.0, {"longer"}),
        (replace(CANARY, output_tokens=4), 1.0, {"shorter"}),
        (replace(CANARY, cost=80.0), 1.0, {"cost"}),
        (replace(CANARY, quality=0.0), 1.0, {"quality"}),
    ],
)
def test_each_other_harm_is_caught_within_a_hundred_requests(canary: Outcome, slow: float, metrics: set[str]) -> None:
    verdict = judged(pairs(100, 1, canary, slow=slow))
    assert verdict.answer == "roll_back"
    assert min(verdict.findings, key=lambda one: one.p_value).metric in metrics


def test_the_same_version_is_promoted_once_enough_is_known_and_not_before() -> None:
    evidence = Evidence(THRESHOLDS)
    for requests, batch in enumerate(pairs(600, 2), start=1):
        evidence.take(batch)
        verdict = evidence.verdict(float(requests))
        assert verdict.answer != "roll_back"
        if verdict.answer == "promote":
            break
    assert THRESHOLDS.min_requests <= requests < 600
    assert all(one.says == "no worse" for one in verdict.findings if one.canary is not None)
    assert "No harm in" in verdict.reason


def test_a_new_step_needs_evidence_of_its_own() -> None:
    evidence = Evidence(THRESHOLDS)
    for batch in pairs(600, 2):
        evidence.take(batch)
    assert evidence.verdict(0.0).answer == "promote"
    evidence.begin_step()
    verdict = evidence.verdict(1.0)
    assert verdict.answer == "hold"
    assert verdict.canary_requests == 600


def test_harm_counts_over_all_steps() -> None:
    evidence = Evidence(THRESHOLDS)
    for _ in range(5):
        evidence.take([PLAIN, BROKEN])
        evidence.begin_step()
    assert evidence.verdict(0.0).answer == "hold"
    evidence.take([PLAIN, BROKEN])
    assert evidence.verdict(0.0).answer == "roll_back"


def test_a_rollback_stays_one_whatever_comes_later() -> None:
    evidence = Evidence(THRESHOLDS)
    for _ in range(10):
        evidence.take([PLAIN, BROKEN])
    for batch in pairs(400, 4):
        evidence.take(batch)
    assert evidence.verdict(0.0).answer == "roll_back"


def test_times_longer_by_three_per_cent_are_no_harm() -> None:
    assert judged(pairs(700, 5, slow=1.03)).answer == "promote"


def test_a_shift_in_the_mix_of_questions_is_no_harm() -> None:
    """Long questions err more and take longer on both sides; the canary gets more and more of them."""
    random = Random(6)
    evidence = Evidence(THRESHOLDS)
    for moment in range(1500):
        batch = []
        for side, share in ((PLAIN, 0.1), (CANARY, 0.1 + 0.8 * moment / 1500)):
            is_long = random.random() < share
            errs = random.random() < (0.3 if is_long else 0.01)
            outcome = replace(
                side,
                stratum="long/documents" if is_long else "short/chat",
                ttft_s=(4.0 if is_long else 0.2) * random.lognormvariate(0, 0.5),
            )
            batch.append(replace(outcome, fault="error", ttft_s=None, tpot_s=None) if errs else outcome)
        evidence.take(batch)
    verdict = evidence.verdict(0.0)
    assert verdict.answer != "roll_back"
    assert finding(verdict, "errors").canary > 2 * finding(verdict, "errors").stable  # type: ignore[operator]


def test_kinds_of_questions_that_only_one_side_has_are_not_compared() -> None:
    evidence = Evidence(THRESHOLDS)
    for _ in range(500):
        evidence.take([PLAIN, replace(BROKEN, stratum="long/chat")])
    verdict = evidence.verdict(0.0)
    assert verdict.answer == "hold"
    assert "0 requests to the canary and 0 like them" in verdict.reason


def test_answers_are_not_compared_with_those_of_another_hour() -> None:
    evidence = Evidence(THRESHOLDS)
    evidence.take([BROKEN] * 50)
    evidence.verdict(0.0)
    evidence.verdict(WAIT_S + 1)
    evidence.take([PLAIN] * 50)
    verdict = evidence.verdict(WAIT_S + 2)
    assert verdict.answer == "hold"
    assert finding(verdict, "errors").canary_n == 0


def test_both_sides_timing_out_alike_rolls_nothing_back_and_promotes_nothing_unseen() -> None:
    late = replace(PLAIN, fault="timeout", ttft_s=None, tpot_s=None)
    verdict = judged([late, replace(late, is_canary=True)] for _ in range(400))
    assert verdict.answer != "roll_back"
    assert finding(verdict, "timeouts").canary == 1.0


def test_numbers_that_are_none_change_nothing() -> None:
    evidence = Evidence(THRESHOLDS)
    odd = replace(CANARY, ttft_s=math.nan, tpot_s=math.inf, cost=-1.0, quality=math.nan)
    for _ in range(50):
        evidence.take([PLAIN, odd])
    verdict = evidence.verdict(0.0)
    assert finding(verdict, "ttft_p50").canary is None
    assert finding(verdict, "quality").canary_n == 0
    json.loads(evidence.dump())


def test_quality_is_waited_for_where_pairs_are_judged_and_keeps_over_steps() -> None:
    evidence = Evidence(THRESHOLDS)
    as_good = replace(CANARY, is_shadow=True, quality=0.5)
    for moment, batch in enumerate(pairs(500, 11, as_good)):
        evidence.take([batch[0], batch[1] if moment % 10 == 0 else replace(batch[1], quality=None)])
    verdict = evidence.verdict(0.0)
    assert verdict.answer == "hold"
    assert "quality (as good in" in verdict.reason
    for batch in pairs(100, 12, as_good):
        evidence.take(batch)
    assert evidence.verdict(1.0).answer == "promote"
    evidence.begin_step()
    for batch in pairs(500, 13):
        evidence.take(batch)
    verdict = evidence.verdict(2.0)
    assert verdict.answer == "promote"
    assert finding(verdict, "quality").says == "no worse"
    assert finding(verdict, "quality").canary_n == 150


def test_a_copy_that_nobody_waits_for_is_not_blamed_for_its_times() -> None:
    assert judged(pairs(200, 7, replace(CANARY, is_shadow=True), slow=20.0)).answer == "promote"


def test_a_group_that_fares_far_worse_asks_for_a_person() -> None:
    def batches() -> Iterable[list[Outcome]]:
        for moment, (stable, canary) in enumerate(pairs(600, 8)):
            group = ("north", "south", "east", "deaf")[moment % 4]
            is_refused = group == "deaf" and moment % 8 == 3
            yield [
                replace(stable, group=group, is_refused=is_refused),
                replace(canary, group=group, is_refused=is_refused),
            ]

    verdict = judged(batches())
    assert verdict.answer == "review"
    assert "to the group 'deaf' 50% of 150 are good, of all 88%: -43%" in verdict.reason
    assert "stable gives it 50% of 150" in verdict.reason
    assert verdict.groups[0].group == "deaf"


def test_a_group_of_three_bad_answers_is_chance() -> None:
    def batches() -> Iterable[list[Outcome]]:
        for moment, (stable, canary) in enumerate(pairs(500, 9)):
            yield [stable, replace(canary, group="small" if moment < 3 else "large", is_refused=moment == 1)]

    assert judged(batches()).answer == "promote"


def test_any_names_of_groups_and_kinds_take_bounded_memory() -> None:
    evidence = Evidence(THRESHOLDS)
    evidence.take([replace(PLAIN, group=f"group {i}", stratum=f"kind {i}") for i in range(5000)])
    stored = json.loads(evidence.dump())
    assert len(stored["groups"]) == MOST_GROUPS + 1
    assert sum(counts[0] for counts in stored["groups"].values()) == 5000
    assert len(stored["kinds"]) == MOST_KINDS
    assert len(evidence.dump()) < 200_000


OUTCOMES = st.builds(
    replace,
    st.just(PLAIN),
    is_canary=st.booleans(),
    stratum=st.sampled_from(["a", "b"]),
    group=st.sampled_from(["", "x", "y"]),
    fault=st.sampled_from(["", "", "error", "timeout"]),
    is_malformed=st.sampled_from([None, True, False]),
    ttft_s=st.one_of(st.none(), st.floats(0, 100)),
    output_tokens=st.integers(0, 10_000),
    quality=st.one_of(st.none(), st.floats(0, 1)),
)


BATCHES = st.lists(st.lists(OUTCOMES, max_size=12), max_size=8)


@settings(max_examples=30, deadline=None)
@given(
    before=st.lists(st.lists(OUTCOMES, max_size=12), max_size=8),
    after=st.lists(st.lists(OUTCOMES, max_size=12), max_size=8),
)
def test_after_a_restart_it_goes_on_as_if_there_had_been_none(
    before: list[list[Outcome]], after: list[list[Outcome]]
) -> None:
    evidence = Evidence(THRESHOLDS)
    for batch in before:
        evidence.take(batch)
    restarted = Evidence.load(evidence.dump(), THRESHOLDS)
    assert restarted.dump() == evidence.dump()
    for batch in after:
        evidence.take(batch)
        restarted.take(batch)
    assert restarted.dump() == evidence.dump()
    assert restarted.verdict(7.0) == evidence.verdict(7.0)


@settings(max_examples=25, deadline=None)
@given(batch=st.lists(OUTCOMES, min_size=2, max_size=30), seed=st.integers(0, 99))
def test_the_order_within_a_batch_does_not_matter(batch: list[Outcome], seed: int) -> None:
    batch = [replace(outcome, quality=None) for outcome in batch]
    turned = Random(seed).sample(batch, len(batch))
    one, other = Evidence(THRESHOLDS), Evidence(THRESHOLDS)
    for _ in range(3):
        one.take(batch)
        other.take(turned)
    assert one.verdict(0.0).findings == other.verdict(0.0).findings
    assert one.verdict(0.0).answer == other.verdict(0.0).answer


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b'{"format":0}', b"\xff"])
def test_evidence_that_cannot_be_read_is_said_plainly(data: bytes) -> None:
    with pytest.raises(OurFault, match="cannot be read"):
        Evidence.load(data, THRESHOLDS)
