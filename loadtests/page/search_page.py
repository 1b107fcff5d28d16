"""The report of a search for people: which load is safe, how latency and goodput go with load, and what lies beyond."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from loadtests.judging.columns import Columns
from loadtests.judging.windows import windows_from
from loadtests.page import words
from loadtests.page.page import rendered, window_s_of
from loadtests.page.tables import plan_text
from loadtests.page.verdict import Banner, Tile, promise_zh
from loadtests.page.words import NONE, clock, count, duration, number, percent
from loadtests.records.run import Run
from loadtests.search.report import Beyond, SearchReport
from registry.disk import write_durably

_WHY: Final[Mapping[str, str]] = {
    "start": "起点 start", "up": "加倍 up", "down": "减半 down", "between": "逼近 between", "again": "延长重试 again",
    "confirm": "复核 confirm", "curve": "补点 curve",
}  # fmt: skip


def write_search_page(path: Path, report: SearchReport, runs: Mapping[str, Run]) -> None:
    """Write the page, whole or not at all. `runs` by the names of their folders, as far as they are there."""
    write_durably(path, search_page_of(report, runs))


def search_page_of(report: SearchReport, runs: Mapping[str, Run]) -> str:
    """The page's HTML."""
    # Imported late: matplotlib takes half a second.
    from loadtests.page.search_charts import search_charts
    from loadtests.page.time_chart import time_chart

    beyond_run = runs.get(report.beyond_run or "")
    beyond_chart = None
    if beyond_run is not None and beyond_run.samples:
        columns = Columns.of(beyond_run.samples)
        windows = windows_from(columns, window_s_of(beyond_run), beyond_run.plan.slo)
        beyond_chart = time_chart(beyond_run, windows)
    any_run = next(iter(runs.values()), None)
    return rendered(
        "search.html",
        report=report,
        banner=safe_banner(report),
        tiles=_tiles(report),
        why=_WHY,
        charts_of=search_charts(report),
        beyond_chart=beyond_chart,
        machine=list((any_run.about.machine | any_run.about.versions).items()) if any_run else [],
        settings=plan_text(any_run.plan) if any_run else "",
        definitions=words.DEFINITIONS,
    )


def safe_banner(report: SearchReport) -> Banner:
    """Which load is safe, with its colour."""
    promise = f"承诺：{promise_zh(report.slo)}。"
    said = report.sentences[0] if report.sentences else "Nothing is known yet."
    if report.safe_per_s is None:
        zh = "没有找到安全负载" if report.ending == "nothing_holds" else "尚无结论"
        tone, en = ("bad", "No safe load") if report.ending == "nothing_holds" else ("unsure", "No safe load found yet")
        return Banner("bad" if tone == "bad" else "unsure", zh, en, promise, said)
    safe = f"{number(report.safe_per_s)}/s"
    least_zh, least = ("至少 ", "at least ") if report.is_at_least else ("", "")
    is_certain = report.is_sure and report.is_confirmed and not report.is_at_least
    doubt = "" if report.is_sure else "样本不足，仅为大概。"
    once = "" if report.is_confirmed or not report.is_sure else "只在一次探测中成立，未经复核。"
    return Banner(
        "good" if is_certain else "unsure",
        f"安全负载 {least_zh}{safe}", f"Safe load: {least}{safe}", f"{promise}{doubt}{once}", said,
    )  # fmt: skip


def _tiles(report: SearchReport) -> list[Tile]:
    tiles = []
    if report.safe_per_s is not None:
        how = "confirmed" if report.is_confirmed else "seen once"
        tiles.append(Tile("安全负载", "Safe", number(report.safe_per_s), "/s", how, "good"))
        tiles.append(Tile("有效吞吐", "Goodput there", number(report.goodput_rps), "/s", "requests that meet the SLO"))
    if report.failed_per_s is not None:
        tiles.append(Tile("已破", "Broken at", number(report.failed_per_s), "/s", "the lowest rate that failed", "bad"))
    for zh, en, found in (("拐点", "Knee", report.knee), ("崩溃点", "Collapse", report.collapse)):
        unit = "/s" if found.rate_per_s is not None else ""
        more = "see below" if found.rate_per_s is not None else "none seen"
        tiles.append(Tile(zh, en, number(found.rate_per_s), unit, more))
    tiles += [_recovery(one) for one in report.beyond]
    tiles.append(Tile("探测", "Probes", count(len(report.probes)), "", f"in {clock(report.took_s)}"))
    return tiles


def _recovery(one: Beyond) -> Tile:
    zh, en = f"{one.times:g} 倍后恢复", f"Recovery from {one.times:g}x"
    met = f"{percent(one.met_ratio)} met meanwhile, p50 {duration(one.first_p50_s)}"
    if one.recovery_s is None:
        return Tile(zh, en, NONE, f"not in {one.watched_s:.0f} s", met, "bad")
    return Tile(zh, en, f"{one.recovery_s:.0f}", "s", met)
