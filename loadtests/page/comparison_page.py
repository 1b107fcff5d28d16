"""Two runs beside each other for people: what is better or worse outside noise, and what else differs between them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import numpy as np

from loadtests.judging.columns import Columns, Numbers
from loadtests.judging.comparison import Comparison, Row, shown
from loadtests.judging.slices import measured
from loadtests.page import words
from loadtests.page.page import rendered
from loadtests.page.verdict import Banner, promise_zh
from loadtests.records.run import Run
from registry.disk import write_durably

_FINDINGS: Final = {
    "better": ("▲ 变好", "good-text"), "worse": ("▼ 变差", "bad-text"), "different": ("◆ 不同", ""),
    "no difference seen": ("≈ 无差异", "dim"), "too few": ("? 样本太少", "dim"), "not judged": ("– 不判断", "dim"),
}  # fmt: skip
# The forest's axis ends where one more step would only serve a row that nothing is known of.
_WIDEST_RATIO: Final = 1.0
_NARROWEST_RATIO: Final = 0.05
_STEPS: Final = (0.05, 0.1, 0.2, 0.3, 0.5, 1.0)


@dataclass(frozen=True, slots=True)
class Line:
    """One row as the page shows it."""

    title: str
    name: str
    a: str
    b: str
    difference: str
    interval: str
    finding_zh: str
    finding: str
    tone: str
    low: float | None
    """Of the forest's axis, -1 to 1; None where there is no interval."""
    middle: float | None
    high: float | None
    is_cut: bool
    """It goes on beyond the axis."""


def write_comparison(path: Path, comparison: Comparison, a: Run, b: Run) -> None:
    """Write the page, whole or not at all."""
    write_durably(path, comparison_page_of(comparison, a, b))


def comparison_page_of(comparison: Comparison, a: Run, b: Run) -> str:
    """The page's HTML."""
    # Imported late: matplotlib takes half a second.
    from loadtests.page.distribution_charts import curves_chart, pair_of_curves

    columns = measured(a), measured(b)
    slo = a.plan.slo

    def both(values: Literal["first_s", "tpot_s", "e2e_s"]) -> list[Numbers]:
        return [_answered(one, values) for one in columns]

    charts = [
        curves_chart("首字时间", "First token, as callers feel it", pair_of_curves(both("first_s")), slo.ttft_s),
        curves_chart("完整回答时间", "Whole answer", pair_of_curves(both("e2e_s")), slo.e2e_s),
        curves_chart("每个词的时间 TPOT", "Time per output token", pair_of_curves(both("tpot_s")), slo.tpot_s),
    ]
    reach = _reach(comparison.rows)
    return rendered(
        "comparison.html",
        a=a,
        b=b,
        banner=banner_of(comparison, a),
        comparison=comparison,
        lines=[_line(row, reach) for row in comparison.rows],
        reach=reach,
        charts_of=[chart for chart in charts if chart is not None],
        facts=_facts(a, b),
        definitions=words.DEFINITIONS,
    )


def banner_of(comparison: Comparison, a: Run) -> Banner:
    """The result with its colour."""
    found = {row.finding for row in comparison.rows}
    promise = f"按 A 的承诺判断：{promise_zh(a.plan.slo)}。"
    said = comparison.sentences[0]
    if "worse" in found and "better" in found:
        return Banner("unsure", "有好有坏", "Some better, some worse", promise, said)
    if "worse" in found:
        return Banner("bad", "变差", "B is worse", promise, said)
    if "better" in found:
        return Banner("good", "变好", "B is better", promise, said)
    if found & {"no difference seen", "different"}:
        return Banner("", "差异未超出噪声", "Nothing outside noise", promise, said)
    return Banner("unsure", "样本太少，无法判断", "Too few requests to tell", promise, said)


def _line(row: Row, reach: float) -> Line:
    scale = _scale(row)
    has_interval = row.low is not None and row.high is not None and scale is not None
    ends = [(end or 0.0) * (scale or 0.0) / reach for end in (row.low, row.difference, row.high)]
    low, middle, high = (max(-1.0, min(1.0, end)) if has_interval else None for end in ends)
    zh, tone = _FINDINGS[row.finding]
    difference = words.NONE if row.difference is None else shown(row.difference, row.unit, sign=True)
    if row.relative is not None and row.unit != "ratio":
        difference = f"{100 * row.relative:+.1f} %"
    interval = f"{shown(row.low, row.unit, sign=True)} … {shown(row.high, row.unit, sign=True)}"
    return Line(
        title=row.title,
        name=row.name,
        a=shown(row.a, row.unit),
        b=shown(row.b, row.unit),
        difference=difference,
        interval=interval if row.low is not None else "",
        finding_zh=zh,
        finding=row.finding,
        tone=tone,
        low=low,
        middle=middle,
        high=high,
        is_cut=any(abs(end) > 1 for end in ends),
    )


def _scale(row: Row) -> float | None:
    """What makes a difference a part of A; shares are parts already."""
    if row.unit == "ratio":
        return 1.0
    return 1 / abs(row.a) if row.a else None


def _reach(rows: tuple[Row, ...]) -> float:
    """Where the forest's axis ends: most intervals fit."""
    ends = [
        max(abs(row.low), abs(row.high)) * scale
        for row in rows
        if row.low is not None and row.high is not None and (scale := _scale(row)) is not None
    ]
    wanted = float(np.quantile(ends, 0.6)) if ends else _NARROWEST_RATIO
    return next((step for step in _STEPS if step >= wanted), _WIDEST_RATIO)


def _answered(columns: Columns, name: Literal["first_s", "tpot_s", "e2e_s"]) -> Numbers:
    answered = columns.where(columns.is_answered)
    return {"first_s": answered.first_s, "tpot_s": answered.tpot_s, "e2e_s": answered.e2e_s}[name]


def _facts(a: Run, b: Run) -> list[tuple[str, str, str]]:
    """What was run, on what, with what: beside each other."""
    first, second = (
        {
            "计划 plan": run.plan.name,
            "开始 began": words.moment(run.about.started_unix_s),
            "结束 outcome": run.about.outcome,
            "目标 target": run.about.target_url,
            "被测 tested": run.about.tested,
            "模型 model asked for": run.plan.target.model,
            "种子 seed": str(run.plan.seed),
            "请求 requests": words.count(len(run.samples)),
            "发压进程 generator processes": str(run.about.processes),
        }
        | run.about.machine
        | run.about.versions
        for run in (a, b)
    )
    names = [*first, *(name for name in second if name not in first)]
    return [(name, first.get(name, words.NONE), second.get(name, words.NONE)) for name in names]
