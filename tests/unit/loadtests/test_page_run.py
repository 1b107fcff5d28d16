"""The page of one run: what it shows, what it never shows, and that odd runs have one, too."""

import dataclasses
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest

from loadtests.judging.document import document_of
from loadtests.page.page import page_of, write_page
from loadtests.plan import Target
from loadtests.records.run import EnginesSeen, Mark, Run
from loadtests.records.run_folder import RunFolder
from tests.fakes.load_runs import all_refused, closed_loop, empty_run, load_run, search_of, unstreamed


@pytest.fixture(scope="module")
def run() -> Run:
    return load_run()


@pytest.fixture(scope="module")
def page(run: Run) -> str:
    return made(run)


def made(run: Run) -> str:
    return page_of(run, document_of(run))


class Outline(HTMLParser):
    """What a page is made of."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs


def without(run: Run, **changes: object) -> Run:
    return dataclasses.replace(run, **changes)  # type: ignore[arg-type]  # The tests name fields that are there.


def test_the_verdict_stands_first_in_both_languages(page: str) -> None:
    body = page[page.index("<main>") :]
    verdict = body.index("未达标 SLO not met")
    assert verdict < body.index('class="tiles"') < body.index('class="chart"')
    assert "承诺：95 % 的请求首字在 0.5 秒内、每词在 0.2 秒内。" in body


def test_each_part_stands_where_there_is_something_to_say(page: str) -> None:
    charts = "时间进程", "首字时间", "完整回答时间", "TPOT", "ITL", "负载与延迟", "负载与有效吞吐", "发送延迟"
    splits = "按阶段", "按模型", "按紧急程度", "按租户", "按方式", "按语言", "按难度"
    others = "故障", "分流", "答案质量", "失败", "引擎", "路由器", "发压端", "环境", "设置", "定义"
    for title in (*charts, *splits, *others):
        assert title in page, title
    assert "the connection broke before the answer was whole" in page
    assert "killed engine small-1, back after 12 s" in page
    assert "AMD EPYC 7B13" in page


def test_parts_without_anything_to_say_are_left_out(run: Run) -> None:
    small = [sample for sample in run.samples if sample.answered_by == "small" and not sample.error]
    samples = tuple(
        sample._replace(tenant="hotline", level="blue", is_right=None, language="zh", difficulty="") for sample in small
    )
    page = made(without(run, samples=samples, marks=(), engines=EnginesSeen(), gaps={}))
    splits = "按租户", "按紧急程度", "按语言", "按难度"
    for title in (*splits, "<h2>故障", "分流", "答案质量", "<h2>失败", "<h2>引擎", "路由器", "ITL</b>"):
        assert title not in page, title
    assert "按模型" in page


def test_the_page_asks_nothing_of_any_other(page: str) -> None:
    outline = Outline(page)
    assert not {"script", "link", "img", "iframe", "object", "form", "base"} & set(outline.tags)
    assert not [name for name, _ in outline.attributes if name.startswith("on") or name in ("src", "srcset")]
    linked = [value for name, value in outline.attributes if name in ("href", "xlink:href")]
    assert all(value is not None and value.startswith("#") for value in linked)
    assert not re.findall(r"https?://(?!127\.0\.0\.1:8080)", page)
    assert "url(" not in re.sub(r"url\(#\w+\)", "", page)
    assert "default-src 'none'; style-src 'unsafe-inline'" in page


def test_what_servers_and_people_say_is_never_markup(run: Run) -> None:
    evil = "<script>alert(1)</script>"
    samples = tuple(
        sample._replace(
            answered_by=evil, reason=evil, tenant=evil, level=evil, language=evil, error=evil if place % 50 == 0 else ""
        )
        for place, sample in enumerate(run.samples[:1000])
    )
    about = run.about.model_copy(
        update={"message": evil, "tested": evil, "machine": {evil: evil}, "versions": {evil: evil}, "target_url": evil}
    )
    engines = run.engines.model_copy(
        update={
            "notes": (evil,),
            "router": {evil: 1.0},
            "readings": tuple(one.model_copy(update={"engine": evil}) for one in run.engines.readings),
            "totals": tuple(one.model_copy(update={"engine": evil, "model": evil}) for one in run.engines.totals),
        }
    )
    mark = Mark(at_s=40, until_s=52, kind=evil, text=evil, is_done=False)
    gaps = {(stage, evil): gaps for (stage, _), gaps in run.gaps.items()}
    page = made(without(run, samples=samples, about=about, engines=engines, marks=(mark,), gaps=gaps))
    assert "script" not in Outline(page).tags
    assert "&lt;script&gt;" in page


def test_no_secret_gets_into_the_page(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FENZHEN_KEY", "sk-very-secret")
    target = Target(
        url="http://me:hunter2@127.0.0.1:8080/v1?token=t0k3n", api_key_env="FENZHEN_KEY",
        engine_urls=("http://me:hunter2@127.0.0.1:8000",),
    )  # fmt: skip
    page = made(without(run, plan=run.plan.model_copy(update={"target": target})))
    assert "FENZHEN_KEY" in page
    for secret in ("sk-very-secret", "hunter2", "t0k3n"):
        assert secret not in page


def test_the_same_run_makes_the_same_bytes(run: Run, page: str) -> None:
    assert made(run) == page


def test_the_page_is_small_and_draws_no_point_a_sample(run: Run, page: str) -> None:
    many = without(run, samples=tuple(sample for sample in run.samples for _ in range(10)))
    assert len(page) < 400_000
    assert len(made(many)) < 1.5 * len(page)


@pytest.mark.parametrize("odd", [all_refused, closed_loop, unstreamed])
def test_an_odd_run_has_a_page(run: Run, odd: Callable[[Run], Run]) -> None:
    assert "</html>" in made(odd(run))


def test_a_run_without_any_request_has_a_page() -> None:
    page = made(empty_run())
    assert "没有请求 No requests" in page
    assert "The test did not get to its end. nothing answered." in page


def test_a_run_of_one_request_has_a_page_and_claims_nothing(run: Run) -> None:
    page = made(without(run, samples=run.samples[300:301], ticks=(), gaps={}, marks=(), engines=EnginesSeen()))
    assert "样本太少，无法判断 Too few requests to tell" in page


def test_a_run_of_warm_ups_alone_has_a_page(run: Run) -> None:
    stages = tuple(stage.model_copy(update={"is_warm_up": True}) for stage in run.plan.stages)
    assert "No requests" in made(without(run, plan=run.plan.model_copy(update={"stages": stages})))


def test_a_closed_loop_has_no_lag_to_speak_of(run: Run) -> None:
    page = made(closed_loop(run))
    assert "closed loop: nothing can be late" in page
    assert "发送延迟 p99" not in page


def test_a_late_generator_is_said_to_be_the_limit(page: str) -> None:
    late = made(load_run(lag_s=0.05))
    assert "⚠ 发压端是瓶颈" in late
    assert "The generator is the limit" in late
    assert "发压端是瓶颈" not in page


def test_a_fault_that_could_not_be_done_is_told_first(run: Run) -> None:
    mark = Mark(at_s=40, kind="kill-engine", text="there is no engine small-9", is_done=False)
    page = made(without(run, marks=(mark,)))
    assert page.index("⚠ 故障未生效") < page.index('class="tiles"')
    assert "it could not be done" in page


def test_a_run_that_ended_early_says_so_and_where(run: Run) -> None:
    about = run.about.model_copy(
        update={"outcome": "saturated", "message": "The queue only grows: ended at 110 s.", "saturated_at_s": 110.0}
    )
    page = made(without(run, about=about))
    assert "Ended early: the queue only grew. The queue only grows: ended at 110 s." in page
    assert "from here the queue only grew" in page


def test_percentiles_of_few_requests_are_marked_as_such(run: Run) -> None:
    assert 'class="few"' in made(without(run, samples=run.samples[200:260]))


def test_a_run_of_a_search_says_what_the_search_found(run: Run) -> None:
    report, _ = search_of()
    assert report.sentences[0] in page_of(run, document_of(run), report)


def test_the_page_is_written_whole(run: Run, page: str, tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.page.write_text("old", encoding="utf-8")
    write_page(folder, run, document_of(run))
    assert folder.page.read_text(encoding="utf-8") == page
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]
