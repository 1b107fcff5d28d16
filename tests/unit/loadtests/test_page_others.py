"""The pages of a search, of two runs, and of what routing buys."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import pytest

from cluster.errors import UserError
from loadtests.judging.comparison import Comparison, Row, compare
from loadtests.page.comparison_page import banner_of, comparison_page_of, write_comparison
from loadtests.page.routing_page import routing_page_of, write_routing_page
from loadtests.page.search_page import safe_banner, search_page_of, write_search_page
from loadtests.records.run import Run
from loadtests.search.report import SearchReport
from tests.fakes.load_runs import all_refused, load_run, search_of, unstreamed


@pytest.fixture(scope="module")
def found() -> tuple[SearchReport, Mapping[str, Run]]:
    return search_of()


def slower(run: Run, times: float) -> Run:
    samples = tuple(
        one._replace(ttft_s=(one.ttft_s or 0.0) * times, e2e_s=(one.e2e_s or 0.0) * times) if not one.error else one
        for one in run.samples
    )
    return dataclasses.replace(run, samples=samples)


def test_a_search_says_first_which_load_is_safe(found: tuple[SearchReport, Mapping[str, Run]]) -> None:
    report, runs = found
    page = search_page_of(report, runs)
    assert report.safe_per_s == 24
    assert page.index("安全负载 24/s Safe load: 24/s") < page.index('class="tiles"') < page.index("<svg")
    assert all(sentence in page for sentence in report.sentences if "%" not in sentence)
    assert "times-1.5" in page
    assert all(probe.name in page for probe in report.probes)
    assert page == search_page_of(report, runs)


def test_a_search_that_was_cut_short_claims_no_more_than_it_knows(
    found: tuple[SearchReport, Mapping[str, Run]],
) -> None:
    report, _ = found
    guess = report.model_copy(update={"is_sure": False, "is_at_least": True, "beyond": (), "beyond_run": None})
    assert safe_banner(guess).tone == "unsure"
    assert "至少 24/s" in search_page_of(guess, {})
    none = report.model_copy(update={"safe_per_s": None, "ending": "nothing_holds"})
    assert safe_banner(none).tone == "bad"
    nothing = none.model_copy(update={"probes": (), "beyond": (), "sentences": (), "ending": "interrupted"})
    assert "尚无结论" in search_page_of(nothing, {})


def test_a_search_is_written(found: tuple[SearchReport, Mapping[str, Run]], tmp_path: Path) -> None:
    write_search_page(tmp_path / "search.html", *found)
    assert (tmp_path / "search.html").read_text(encoding="utf-8").endswith("</html>\n")


def test_two_equal_runs_show_no_difference() -> None:
    run = load_run(has_fault=False)
    page = comparison_page_of(compare(run, run), run, run)
    assert "差异未超出噪声 Nothing outside noise" in page
    assert "<mark>" not in page


def test_a_slower_run_is_worse_and_what_else_differs_is_marked(tmp_path: Path) -> None:
    a = load_run(has_fault=False, rate_per_s=6)
    b = slower(a, 1.8)
    b = dataclasses.replace(b, about=b.about.model_copy(update={"versions": {"vllm": "<b>0.33</b>"}}))
    write_comparison(tmp_path / "c.html", compare(a, b), a, b)
    page = (tmp_path / "c.html").read_text(encoding="utf-8")
    assert "变差 B is worse" in page
    assert "<mark>&lt;b&gt;0.33&lt;/b&gt;</mark>" in page
    assert page.count('<svg class="chart"') == 3
    assert page.count('<svg class="forest') == page.count("</svg>") - 3


def test_a_row_without_an_interval_has_no_bar() -> None:
    run = load_run(has_fault=False)
    row = Row("ttft_p99_s", "TTFT p99", "s", 0.1, None, None, None, None, None, None, "too few")
    sure = Row("x", "errors", "ratio", 0.0, 0.2, 0.2, 0.15, 0.25, None, 0.001, "worse")
    comparison = Comparison((row, sure), (), ("said",), is_paired=False, block_s=1.0, blocks=10)
    assert banner_of(comparison, run).tone == "bad"
    assert comparison_page_of(comparison, run, run).count("<circle") == 1


def test_odd_runs_can_be_compared() -> None:
    run = load_run(has_fault=False)
    for other in (all_refused(run), unstreamed(run)):
        assert "</html>" in comparison_page_of(compare(run, other, allow_different=True), run, other)


def test_routing_is_held_against_the_others(tmp_path: Path) -> None:
    runs = {name: load_run(has_fault=False, rate_per_s=3, asked=name) for name in ("auto", "large", "small")}
    write_routing_page(tmp_path / "r.html", runs)
    page = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert "auto beside large: " in page
    assert "times its goodput" in page
    assert page.count('<svg class="chart"') == 2
    assert page == routing_page_of(runs)


def test_routing_runs_that_do_not_compare_say_so() -> None:
    runs = {"auto": load_run(has_fault=False, rate_per_s=3), "late": load_run(has_fault=False, rate_per_s=4, lag_s=0.1)}
    page = routing_page_of(runs)
    assert "late ran by another plan" in page
    assert "late: The generator is the limit" in page


def test_routing_runs_without_answers_have_a_page() -> None:
    assert "nothing was marked" in routing_page_of({"auto": all_refused(load_run())})
    with pytest.raises(UserError, match="at least one run"):
        routing_page_of({})
