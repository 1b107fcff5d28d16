"""What stands on the first screen: the verdict, what must be known before one trusts it, and the figures that count."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from loadtests.judging.figures import Figures, Spread
from loadtests.judging.generator_limits import LAG_LIMIT_S, GeneratorLimits
from loadtests.judging.slo import Verdict
from loadtests.page.words import count, duration, number, percent
from loadtests.plan import Slo
from loadtests.records.run import Run

Tone = Literal["good", "bad", "unsure", ""]

_OUTCOMES: Final = {
    "saturated": ("提前结束：排队只增不减", "Ended early: the queue only grew"),
    "interrupted": ("被中断", "Interrupted"),
    "failed": ("测试未能完成", "The test did not get to its end"),
}


_VERDICTS: Final[Mapping[bool | None, tuple[Tone, str, str]]] = {
    True: ("good", "达标", "SLO met"),
    False: ("bad", "未达标", "SLO not met"),
    None: ("unsure", "样本太少，无法判断", "Too few requests to tell"),
}


@dataclass(frozen=True, slots=True)
class Banner:
    """One statement with its colour."""

    tone: Tone
    zh: str
    en: str
    sentence_zh: str
    sentence: str


@dataclass(frozen=True, slots=True)
class Tile:
    """One key figure."""

    name_zh: str
    name: str
    value: str
    unit: str
    more: str
    tone: Tone = ""


def verdict_of(verdict: Verdict, slo: Slo) -> Banner:
    """The SLO's verdict as a banner."""
    zh = f"承诺：{promise_zh(slo)}。"
    if not verdict.requests:
        return Banner("unsure", "没有请求", "No requests", f"{zh}没有计入的请求，无法判断。", verdict.sentence)
    kept = (
        f"实际：{count(verdict.requests)} 个请求中 {percent(verdict.met_ratio)} 达标"
        f"（95 % 区间 {percent(verdict.low_ratio)} 至 {percent(verdict.high_ratio)}）。"
    )
    return Banner(*_VERDICTS[verdict.is_met], zh + kept, verdict.sentence)


def warnings_of(run: Run, limits: GeneratorLimits) -> list[tuple[str, str]]:
    """What must be known before one trusts the figures, Chinese and English."""
    about = run.about
    found = []
    if about.outcome in _OUTCOMES:
        zh, en = _OUTCOMES[about.outcome]
        found.append((zh, f"{en}. {about.message}".rstrip(". ") + "."))
    elif about.message:
        found.append(("提示", about.message))
    notes = [*about.generator_notes, *([limits.sentence] if limits.is_limit else [])]
    found += [("发压端是瓶颈", note) for note in notes]
    found += [("故障未生效", f"{mark.kind}: {mark.text}") for mark in run.marks if not mark.is_done]
    found += [("读不到引擎指标", note) for note in run.engines.notes]
    return found


def tiles_of(run: Run, whole: Figures) -> list[Tile]:
    """The figures that count; those that the run does not have are left out."""
    offered, failed = number(whole.offered_rps), whole.requests - whole.answered
    is_open = any(stage.arrivals is not None for stage in run.plan.stages)
    first, tpot, lag = whole.first, whole.tpot, whole.lag
    good = f"{percent(whole.met_ratio)} meet the SLO" if whole.requests else "nothing was asked"
    tiles = [
        Tile(
            "到达率",
            "Offered" if is_open else "Asked",
            offered,
            "/s",
            f"{count(whole.requests)} requests in {whole.seconds:.0f} s",
        ),
        Tile(
            "有效吞吐",
            "Goodput",
            number(whole.goodput_rps),
            "/s",
            good,
        ),
        _split("首字 p50", "First token", first.p50_s if first else None, _mean(first)),
        _split("首字 p99", "First token", first.p99_s if first else None, _most(first)),
    ]
    if tpot is not None:
        tiles.append(_split("每词 p50", "TPOT", tpot.p50_s, f"p99 {duration(tpot.p99_s)}"))
    share = f"{percent(failed / whole.requests)} of the requests" if whole.requests else "nothing was asked"
    tiles.append(Tile("失败", "Errors", count(failed), "", share, "bad" if failed else ""))
    tokens = f"{count(whole.completion_tokens)} tokens"
    tiles.append(Tile("输出词元", "Output tokens", number(whole.output_tokens_per_s), "/s", tokens))
    if lag is not None:
        is_late = lag.p99_s > LAG_LIMIT_S
        more = "the generator is the limit" if is_late else f"p50 {duration(lag.p50_s)}: small enough"
        tiles.append(_split("发送延迟 p99", "Lag", lag.p99_s, more, "bad" if is_late else ""))
    if whole.right is not None:
        right = whole.right
        more = f"{percent(right.low_ratio)} to {percent(right.high_ratio)}, {count(right.marked)} marked"
        tiles.append(Tile("答对", "Right answers", percent(right.right / right.marked), "", more))
    return tiles


def promise_zh(slo: Slo) -> str:
    """What was promised, in Chinese."""
    limits = [
        f"{words} {limit:g} 秒内"
        for words, limit in (("首字在", slo.ttft_s), ("每词在", slo.tpot_s), ("完整回答在", slo.e2e_s))
        if limit is not None
    ]
    return f"{100 * slo.share_ratio:g} % 的请求{'、'.join(limits) or '没有错误'}"


def _split(zh: str, en: str, value_s: float | None, more: str, tone: Tone = "") -> Tile:
    shown, _, unit = duration(value_s).partition(" ")
    return Tile(zh, en, shown, unit, more, tone)


def _mean(spread: Spread | None) -> str:
    return "nothing was answered" if spread is None else f"as felt; mean {duration(spread.mean_s)}"


def _most(spread: Spread | None) -> str:
    return "nothing was answered" if spread is None else f"as felt; slowest {duration(spread.max_s)}"
