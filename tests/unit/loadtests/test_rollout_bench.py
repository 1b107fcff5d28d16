import json
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import mannwhitneyu

from cluster.outcomes import Outcome
from cluster.release_settings import Thresholds
from loadtests.rollout_bench.__main__ import add, main
from loadtests.rollout_bench.judges import interval
from loadtests.rollout_bench.many import Many, Minute
from loadtests.rollout_bench.rivals import LEAST_MINUTES, FixedHorizon, MannWhitney, fixed_size, z_scores
from loadtests.rollout_bench.streams import KINDS, Pairs, day
from registry.judging.evidence import Evidence


def outcomes(minute: Minute, run: int, kind: int) -> list[Outcome]:
    found = []
    for side in (0, 1):
        for at in np.flatnonzero(minute.is_there[run, side]):
            is_error = bool(minute.is_error[run, side, at])
            ttft_s, tpot_s, tokens, cost = (float(value) for value in minute.numbers[run, side, at])
            found.append(
                Outcome(
                    name="small",
                    rollout_id="r",
                    version=1,
                    is_canary=bool(side),
                    is_shadow=False,
                    stratum=str(kind),
                    group="",
                    fault="error" if is_error else "",
                    is_empty=False,
                    is_truncated=bool(minute.is_cut_off[run, side, at]),
                    is_refused=bool(minute.is_refused[run, side, at]),
                    is_malformed=None,
                    ttft_s=ttft_s,
                    tpot_s=tpot_s,
                    output_tokens=int(tokens),
                    has_escalated=False,
                    cost=cost,
                )
            )
    return found


def test_the_simulated_judge_and_the_real_one_come_to_the_same_e_values() -> None:
    runs, thresholds = 3, Thresholds()
    many, singles = Many(thresholds, runs, len(KINDS)), [Evidence(thresholds) for _ in range(runs)]
    for minute, kind, answers in day(Pairs(runs, (0.01, 0.1), 3.0, 0.4), np.random.default_rng(4)):
        if minute == 60:
            break
        many.take(answers, kind)
        for run, evidence in enumerate(singles):
            evidence.take(outcomes(answers, run, kind))
    real = np.array([json.loads(evidence.dump())["log_e"] for evidence in singles])
    assert np.abs(real).max() > 10
    np.testing.assert_allclose(many.harm.log_e, real, rtol=1e-9, atol=1e-9)


def test_the_streams_are_what_they_say() -> None:
    there, errors = np.zeros(2), np.zeros(2)
    for minute, _, answers in day(Pairs(50, (0.01,), 2.0, 0.0), np.random.default_rng(1)):
        if minute == 60:
            break
        there += answers.is_there.sum(axis=(0, 2))
        errors += (answers.is_there & answers.is_error).sum(axis=(0, 2))
    assert there / (50 * 60) == pytest.approx([30, 30], rel=0.02)
    assert errors / there == pytest.approx([0.01, 0.02], rel=0.1)


def test_mann_whitney_scores_as_scipy_does() -> None:
    rng = np.random.default_rng(2)
    minutes = 70
    n = np.full((minutes, 1, 2), 40.0)
    k = rng.binomial(40, [0.1, 0.14], (minutes, 1, 2)).astype(float)
    judge = MannWhitney(1)
    for at in range(minutes):
        judge.alarms(n[at], k[at])
    expected = mannwhitneyu(k[:, 0, 1], k[:, 0, 0], method="asymptotic", alternative="greater")
    score = float(judge._score(np.zeros(1))[0])
    assert 0.5 * (1 - float(np.vectorize(__import__("math").erf)(score / 2**0.5))) == pytest.approx(expected.pvalue)
    differences = np.subtract.outer(np.rint(k[:, 0, 1] * 5), np.rint(k[:, 0, 0] * 5))
    assert float(judge._estimate()[0]) == pytest.approx(np.median(differences), abs=1)


def test_mann_whitney_says_nothing_of_too_few_minutes_or_of_equal_ones() -> None:
    judge = MannWhitney(1)
    for _ in range(LEAST_MINUTES - 1):
        assert not judge.alarms(np.array([[30.0, 30.0]]), np.array([[0.0, 20.0]])).any()
    assert judge.alarms(np.array([[30.0, 30.0]]), np.array([[0.0, 20.0]])).all()
    same = MannWhitney(1)
    for _ in range(2 * LEAST_MINUTES):
        assert not same.alarms(np.array([[30.0, 30.0]]), np.zeros((1, 2))).any()


def test_a_test_of_fixed_size_looks_once() -> None:
    size = fixed_size(0.01, 0.02, 0.01, 0.95)
    assert size == 4653
    judge = FixedHorizon(size, 0.01, 1)
    assert not judge.alarms(np.array([[100.0, 100.0]]), np.array([[0.0, 90.0]])).any()
    assert not judge.alarms(np.array([[5000.0, 5000.0]]), np.array([[50.0, 50.0]])).any()
    assert not judge.alarms(np.array([[6000.0, 6000.0]]), np.array([[50.0, 900.0]])).any()
    assert judge.naive_alarms(np.array([[100.0, 100.0]]), np.array([[0.0, 90.0]])).all()
    assert z_scores(np.zeros((1, 2)), np.zeros((1, 2))) == 0


def test_an_interval_of_a_share_lies_around_it() -> None:
    assert interval(0.0, 1000)[0] == 0
    low, high = interval(0.5, 100)
    assert [low, high] == pytest.approx([0.404, 0.596], abs=0.001)


def test_a_part_of_the_report_leaves_the_others(tmp_path: Path) -> None:
    report = tmp_path / "bench" / "rollout.json"
    add(report, "judge", {"a": 1})
    add(report, "broken_versions", [])
    add(report, "judge", {"a": 2})
    assert json.loads(report.read_text()) == {"judge": {"a": 2}, "broken_versions": []}


def test_the_command_says_what_parts_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    assert "judge" in capsys.readouterr().out
