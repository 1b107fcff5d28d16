import json
from typing import Any

import orjson
import pytest

from loadtests.judging.columns import Columns
from loadtests.judging.document import document_of
from loadtests.judging.fault_effects import Effect, effects_of
from loadtests.judging.generator_limits import generator_limits
from loadtests.plan import Slo, Target, Tenant, Workload
from loadtests.records.run import EngineReading, EnginesSeen, EngineTotals, Mark, Run
from loadtests.records.sample import Sample
from loadtests.records.tick import Tick
from tests.unit.loadtests.test_judging_figures import asked, failed, run_of, stage

KILL = Mark(at_s=60.0, until_s=80.0, kind="kill-engine", text="the engine of small was killed")


def tick(at_s: int, cpu_ratio: float = 0.3) -> Tick:
    return Tick(at_s, 10, 10, 10, 0, 3, 0.001, cpu_ratio, 100)


def broken(from_s: float, to_s: float, seconds: int = 180, mark: Mark = KILL) -> Effect:
    """Ten requests a second, all of which fail within a span."""
    moments = [i * 0.1 for i in range(10 * seconds)]
    samples = [failed(at_s) if from_s <= at_s < to_s else asked(at_s) for at_s in moments]
    (effect,) = effects(samples, seconds, mark)
    return effect


def effects(samples: list[Sample], seconds: int, *marks: Mark) -> list[Effect]:
    run = run_of(samples, stage("steady", seconds), marks=marks)
    return effects_of(run, Columns.of(run.samples))


def test_a_fault_is_told_with_what_was_before_during_and_after_it() -> None:
    effect = broken(60, 85)
    assert effect.before is not None
    assert effect.during is not None
    assert effect.after is not None
    assert (effect.before.requests, effect.before.met_ratio) == (300, 1.0)
    assert (effect.during.requests, effect.during.met_ratio) == (200, 0.0)
    assert effect.after.errors == {"http_503": 50}
    assert effect.during.offered_rps == pytest.approx(10)


def test_the_time_to_recover_ends_when_as_many_are_served_as_before() -> None:
    effect = broken(60, 85)
    assert effect.outcome == "recovered"
    assert effect.recovered_after_s == pytest.approx(25, abs=1)


def test_a_fault_that_is_felt_late_has_recovered_late() -> None:
    effect = broken(66, 85)
    assert effect.outcome == "recovered"
    assert effect.recovered_after_s == pytest.approx(25, abs=1)


def test_what_never_gets_well_has_not_recovered() -> None:
    effect = broken(60, 999)
    assert (effect.outcome, effect.recovered_after_s) == ("not_recovered", None)
    assert effect.watched_s == pytest.approx(120)


def test_a_fault_that_nobody_noticed_had_no_effect() -> None:
    assert broken(999, 999).outcome == "none"


def test_a_fault_that_could_not_be_done_has_no_effect_to_look_for() -> None:
    assert broken(60, 85, mark=KILL.model_copy(update={"is_done": False})).outcome == "not_done"


def test_too_few_requests_before_a_fault_tell_nothing() -> None:
    assert broken(60, 85, mark=KILL.model_copy(update={"at_s": 0.5})).outcome == "unknown"


def test_a_server_that_kept_half_its_promise_before_need_not_do_better_afterwards() -> None:
    moments = [i * 0.1 for i in range(1800)]
    samples = [asked(at_s, ttft_s=0.1 if i % 2 else 0.9) for i, at_s in enumerate(moments)]
    samples = [failed(one.at_s) if 60 <= one.at_s < 85 else one for one in samples]
    (effect,) = effects(samples, 180, KILL)
    assert effect.outcome == "recovered"


def test_two_faults_do_not_count_each_others_time() -> None:
    later = Mark(at_s=100.0, kind="slow-link", text="200 ms added")
    samples = [failed(i * 0.1) if 60 <= i * 0.1 < 200 else asked(i * 0.1) for i in range(2000)]
    first, second = effects(samples, 200, KILL, later)
    assert first.outcome == "not_recovered"
    assert first.watched_s == pytest.approx(40)
    assert second.before is not None
    # From the end of the first fault on.
    assert second.before.requests == pytest.approx(200, abs=1)


def test_a_generator_in_time_is_said_to_have_kept_up() -> None:
    limits = generator_limits(Columns.of([asked(i * 0.1, lag_s=0.001) for i in range(100)]), [tick(0), tick(1)])
    assert not limits.is_limit
    assert limits.lag_p99_s == pytest.approx(0.001)
    assert "kept up" in limits.sentence


def test_a_late_generator_is_the_limit_and_the_sentence_says_beyond_which_rate() -> None:
    good = [asked(i * 0.01, lag_s=0.001) for i in range(1000)]
    late = [asked(10 + i * 0.001, lag_s=0.02) for i in range(5000)]
    limits = generator_limits(Columns.of(good + late), [])
    assert limits.is_limit
    assert limits.good_rps == pytest.approx(100)
    assert limits.sentence.startswith("The generator is the limit: 1 in 100 requests left 20 ms or more after")
    assert "nothing about the server beyond 100 requests/s" in limits.sentence


def test_a_busy_processor_is_the_limit_if_it_stays_busy() -> None:
    columns = Columns.of([asked(lag_s=0.0)])
    assert not generator_limits(columns, [tick(0), tick(1, 1.0), *(tick(at_s) for at_s in range(2, 9))]).is_limit
    busy = generator_limits(columns, [tick(at_s, 0.95) for at_s in range(9)])
    assert busy.is_limit
    assert busy.lag_p99_s is None
    assert "95 % of a core" in busy.sentence


def test_one_hiccup_among_few_requests_is_no_limit() -> None:
    few = [asked(float(i), lag_s=0.001) for i in range(20)]
    assert not generator_limits(Columns.of([*few, asked(20.0, lag_s=0.05)]), []).is_limit
    assert generator_limits(Columns.of([asked(float(i), lag_s=0.05) for i in range(20)]), []).is_limit


def test_what_was_not_sent_has_no_lag() -> None:
    columns = Columns.of([asked(lag_s=0.001), failed(error="not_sent", lag_s=9.0)])
    assert generator_limits(columns, []).lag_p99_s == pytest.approx(0.001)


def test_without_requests_and_ticks_nothing_is_claimed() -> None:
    limits = generator_limits(Columns.of([]), [])
    assert (limits.is_limit, limits.sentence) == (False, "")


def full_run() -> Run:
    engines = EnginesSeen(
        readings=(EngineReading(at_s=1, engine="small 1", running=3, waiting=2, kv_used_ratio=0.4),),
        totals=(
            EngineTotals(
                engine="small 1", model="small", queue_count=30, queue_sum_s=3, queue_p50_s=0.05, queue_p99_s=0.4,
                prefix_hit_tokens=60, prefix_asked_tokens=100, preemptions=1,
            ),
            EngineTotals(
                engine="small 2", model="small", queue_count=10, queue_sum_s=5, queue_p50_s=0.3, queue_p99_s=0.9,
                prefix_hit_tokens=0, prefix_asked_tokens=100,
            ),
            EngineTotals(engine="large 1", model="large"),
        ),
        router={
            'fenzhen_relieved_total{from="small",to="large"}': 4.0,
            'fenzhen_relieved_total{from="large",to="small"}': 1.0,
            'fenzhen_retries_total{model="small"}': 2.0,
        },
    )  # fmt: skip
    samples = [asked(i * 0.5, is_right=True, cached_tokens=3) for i in range(20)]
    samples += [failed(9.5), asked(0.2, kind="chat", answered_by="large", tpot_s=None)]
    plan: dict[str, Any] = {
        "target": Target(url="http://user:secret@here:8000", model="auto"),
        "workload": Workload(tenants=(Tenant(name="hotline", api_key_env="OUR_KEY"),)),
    }
    mark = Mark(at_s=5.0, kind="kill-engine", text="killed")
    return run_of(samples, plan=plan, engines=engines, ticks=(tick(0), tick(1)), marks=(mark,))


def test_the_document_is_plain_json_with_all_that_ci_may_ask() -> None:
    document = document_of(full_run())
    assert json.loads(orjson.dumps(document)) == json.loads(json.dumps(document, allow_nan=False))
    assert document["format"] == 1
    assert list(document) == [
        "format", "about", "plan", "verdict", "generator", "figures", "slices", "windows", "engines", "router",
        "agreement", "marks",
    ]  # fmt: skip
    assert document["figures"]["requests"] == 22
    assert document["figures"]["errors"] == {"http_503": 1}
    assert document["slices"]["model"]["large"]["requests"] == 1
    assert document["verdict"]["is_met"] is None
    assert document["generator"]["lag_p99_ms"] == pytest.approx(1.0)
    assert sum(window["count"] for window in document["windows"]["windows"]) == 22
    assert document["marks"][0]["kind"] == "kill-engine"
    assert document["marks"][0]["before"]["requests"] == 11


def test_the_engines_queue_is_told_for_each_and_for_all() -> None:
    engines = document_of(full_run())["engines"]
    assert engines["queue"] == {"count": 40, "mean_s": 0.2, "worst_p50_s": 0.3, "worst_p99_s": 0.9}
    assert engines["by_engine"]["small 1"]["queue"]["mean_s"] == pytest.approx(0.1)
    assert engines["by_engine"]["large 1"]["queue"]["mean_s"] is None
    assert engines["prefix_hit_ratio"] == pytest.approx(0.3)
    assert engines["most_waiting"] == 2


def test_what_the_router_did_is_counted_over_all_models() -> None:
    router = document_of(full_run())["router"]
    assert (router["relieved"], router["retries"], router["fallbacks"]) == (5.0, 2.0, 0)
    assert len(router["counters"]) == 3
    assert document_of(run_of([asked()]))["router"] == {}


def test_no_address_with_a_password_and_no_key_is_in_it() -> None:
    text = orjson.dumps(document_of(full_run())).decode()
    assert "secret" not in text
    assert "OUR_KEY" not in text


def test_a_run_without_requests_has_a_document_too() -> None:
    document = document_of(run_of([]))
    assert document["figures"]["requests"] == 0
    assert document["windows"]["windows"] == []
    assert json.dumps(document, allow_nan=False)


def test_stages_are_told_with_when_they_began() -> None:
    run = run_of([], stage("warm-up", 5, is_warm_up=True), stage("steady", 10))
    stages = document_of(run)["plan"]["stages"]
    assert [(one["begins_s"], one["ends_s"], one["is_warm_up"]) for one in stages] == [(0, 5, True), (5, 15, False)]
    assert document_of(run)["plan"]["slo"] == Slo(ttft_s=0.5).model_dump(mode="json")
